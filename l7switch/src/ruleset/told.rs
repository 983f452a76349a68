// SPDX-License-Identifier: MIT
//! What administrators have told of services, in place of what the rule file says.

use std::collections::BTreeMap;

use l7switch_rules::model::Maintenance;
use l7switch_rules::model::Model;

/// By the names of services.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What the rule file says.
    ruled: BTreeMap<String, Maintenance>,
    /// What an administrator has told. Kept where a service is gone: it may come back.
    told: BTreeMap<String, Maintenance>,
}

impl Told {
    /// Notes what a rule file says.
    pub fn learn(&mut self, model: &Model) {
        let services = model.services.iter();
        self.ruled = services
            .map(|service| (service.name.clone(), service.maintenance.clone()))
            .collect();
    }

    /// Notes what an administrator tells of a service; `None`: what the rule file says counts.
    pub fn tell(&mut self, service: &str, maintenance: Option<Maintenance>) {
        match maintenance {
            Some(maintenance) => {
                self.told.insert(service.to_owned(), maintenance);
            }
            None => {
                self.told.remove(service);
            }
        }
    }

    /// Whether an administrator has told something of a service.
    pub fn has_told(&self, service: &str) -> bool {
        self.told.contains_key(service)
    }

    /// Puts all of it into a model. Gives whether that changed anything.
    pub fn apply(&self, model: &mut Model) -> bool {
        let mut changed = false;
        for service in &mut model.services {
            let name = &service.name;
            let Some(wanted) = self.told.get(name).or_else(|| self.ruled.get(name)) else {
                continue;
            };
            // There is nobody to whom a connection that is not HTTP could say it.
            if service.protocol.is_http() && service.maintenance != *wanted {
                service.maintenance.clone_from(wanted);
                changed = true;
            }
        }
        changed
    }
}
