// SPDX-License-Identifier: MIT
//! The rules in force: the checked model, and the table that is matched.

use http::HeaderMap;
use l7switch_engine::table::Fields;
use l7switch_engine::table::Request;
use l7switch_engine::table::Table;
use l7switch_rules::RuleSet;
use l7switch_rules::explain::Explanation;
use l7switch_rules::explain::Question;
use l7switch_rules::explain::QuestionError;
use l7switch_rules::explain::explain;
use l7switch_rules::model::Model;

/// A rule set that has been verified.
#[derive(Debug)]
pub struct Rules {
    /// What the rule file says.
    pub model: Model,
    table: Table<Vec<u8>>,
    kernel_table: Option<Table<Vec<u8>>>,
}

impl From<RuleSet> for Rules {
    fn from(rules: RuleSet) -> Self {
        Self {
            model: rules.model,
            table: rules.table,
            kernel_table: rules.kernel_table,
        }
    }
}

impl Rules {
    /// The route that takes a request, by its position in `model.services[service].routes`.
    pub fn route<F: Fields + ?Sized>(
        &self,
        service: usize,
        request: &Request<'_, F>,
    ) -> Option<usize> {
        let route = self.table.route(u32::try_from(service).ok()?, request)?;
        usize::try_from(route).ok()
    }

    /// What happens to a request.
    ///
    /// # Errors
    ///
    /// The question makes no sense, or leads to no service.
    pub fn explain(&self, question: &Question) -> Result<Explanation, QuestionError> {
        explain(&self.model, &self.table, question)
    }

    /// The table that the kernel matches against.
    pub fn table(&self) -> &[u8] {
        self.kernel_table.as_ref().unwrap_or(&self.table).as_bytes()
    }

    /// The number of a service.
    pub fn service(&self, name: &str) -> Option<usize> {
        // Services are sorted by name.
        self.model
            .services
            .binary_search_by(|service| service.name.as_str().cmp(name))
            .ok()
    }
}

/// Header fields as the matcher reads them.
pub struct HeaderFields<'a>(pub &'a HeaderMap);

impl Fields for HeaderFields<'_> {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }
}
