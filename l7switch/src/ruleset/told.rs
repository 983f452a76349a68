// SPDX-License-Identifier: MIT
//! What administrators have told of services, in place of what the rule file says.

use std::collections::BTreeMap;

use l7switch_admin_api as api;
use l7switch_rules::model::Maintenance;
use l7switch_rules::model::Model;

use crate::handover::state::maintenance_of;

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

    /// All that administrators have told, by service.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Maintenance)> {
        self.told
            .iter()
            .map(|(service, told)| (service.as_str(), told))
    }

    /// What an administrator has told of a service.
    pub fn get(&self, service: &str) -> Option<&Maintenance> {
        self.told.get(service)
    }

    /// Notes what was told to another process. What is not understood is passed over, with a line in the log.
    pub fn remember(&mut self, told: BTreeMap<String, api::Maintenance>) {
        for (service, maintenance) in told {
            match maintenance_of(maintenance) {
                Ok(maintenance) => self.tell(&service, Some(maintenance)),
                Err(text) => tracing::warn!(
                    service,
                    "maintenance is passed over: `{text}` is not an address or prefix"
                ),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(services: &[(&str, &str)]) -> Model {
        let services = services.iter().zip(1..).map(|((name, keys), port)| {
            format!(
                "[service.{name}]\nlisten = \"127.0.0.1:{port}\"\n{keys}\n[[service.{name}.route]]\npool = \"p\"\n"
            )
        });
        let text = services.collect::<String>() + "[pool.p]\nservers = \"127.0.0.1:80\"\n";
        l7switch_rules::load_text("test.toml", &text).unwrap().model
    }

    fn closed(model: &Model) -> Vec<bool> {
        let services = model.services.iter();
        services
            .map(|service| service.maintenance != Maintenance::Off)
            .collect()
    }

    #[test]
    fn what_was_told_of_a_service_that_is_gone_counts_when_it_is_back() {
        let both = [("shop", ""), ("wiki", "maintenance = true")];
        let mut told = Told::default();
        told.learn(&model(&both));
        told.tell("shop", Some(Maintenance::Except(Vec::new())));
        told.tell("wiki", Some(Maintenance::Off));
        let mut rules = model(&both);
        assert!(told.apply(&mut rules));
        assert_eq!(closed(&rules), [true, false]);
        // It is nobody else's meanwhile.
        let mut without = model(&[("other", "")]);
        told.learn(&without);
        assert!(!told.apply(&mut without));
        assert_eq!(closed(&without), [false]);
        assert!(told.has_told("shop") && !told.has_told("other"));
        let mut again = model(&both);
        told.learn(&again);
        assert!(told.apply(&mut again));
        assert_eq!(closed(&again), [true, false]);
        // And what the rule file says counts where an administrator takes it back.
        told.tell("shop", None);
        told.tell("wiki", None);
        assert!(told.apply(&mut again));
        assert_eq!(closed(&again), [false, true]);
        assert!(!told.has_told("shop"));
    }

    /// There is nobody to whom it could be said.
    #[test]
    fn a_service_that_is_not_http_is_not_closed() {
        let mut told = Told::default();
        told.tell("raw", Some(Maintenance::Except(Vec::new())));
        let mut rules = model(&[("raw", "protocol = \"tcp\"")]);
        assert!(!told.apply(&mut rules));
    }
}
