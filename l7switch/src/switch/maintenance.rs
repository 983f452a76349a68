// SPDX-License-Identifier: MIT
//! Services that administrators close and open.

use std::sync::PoisonError;

use l7switch_rules::RuleSet;
use l7switch_rules::model::Maintenance;
use l7switch_rules::text::diagnostic::Report;

use super::SetError;
use super::Source;
use super::Switch;
use super::blocking;
use super::compiled;
use crate::observe::events::Kind;
use crate::ruleset::told::Told;

impl Switch {
    /// Closes a service for maintenance, or opens it, whatever the rules say; `None`: as they say. It stays so over reloads.
    ///
    /// `who` does it, such as `by an administrator`.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub async fn maintain(
        &self,
        service: &str,
        maintenance: Option<Maintenance>,
        who: &str,
    ) -> Result<(), SetError> {
        let _one = self.reloading.lock().await;
        if self.core.shutdown.is_draining() {
            return Err(SetError::Draining);
        }
        let mut told = self.told();
        let told_words = maintenance.as_ref().map(|wanted| match wanted {
            Maintenance::Off => "opened",
            Maintenance::Except(_) => "closed",
        });
        told.tell(service, maintenance);
        let mut model = self.generation().rules.model.clone();
        if !told.apply(&mut model) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
            self.has_changed();
            return Ok(());
        }
        let rules = blocking(move || compiled(model, Report::default()));
        self.put_told(rules.await?, Source::Renewed, told).await?;
        self.has_changed();
        tracing::info!(service, "maintenance changed {who}");
        let text = match told_words {
            Some(words) => format!("service `{service}`: {words} {who}"),
            None => format!("service `{service}`: as the rule file says"),
        };
        self.core.events.add(Kind::Maintenance, text);
        Ok(())
    }

    /// What administrators have told.
    pub fn told(&self) -> Told {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Puts rules in force that follow from what administrators have told.
    pub(super) async fn put_told(
        &self,
        rules: RuleSet,
        source: Source,
        told: Told,
    ) -> Result<Vec<String>, SetError> {
        let warnings = self.put(rules, source).await?;
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(warnings)
    }
}
