// SPDX-License-Identifier: MIT
//! What routes have answered, in the text formats of Prometheus and OpenMetrics.

use super::generation::Generation;
use crate::observe::exposition::Format;
use crate::observe::exposition::Text;
use crate::observe::stats::CLASSES;

/// Responses of each route by class.
pub fn route_responses(generation: &Generation, format: Format) -> String {
    let mut out = Text::new(format);
    let name = "route_responses_total";
    out.family(name, "counter", "Responses by route and class.");
    let services = generation.rules.model.services.iter();
    for (model, service) in services.zip(&generation.services) {
        for route in &service.routes {
            for (class, count) in CLASSES.into_iter().zip(route.stats.responses.counts()) {
                let labels = [
                    ("service", model.name.as_str()),
                    ("route", &route.label),
                    ("class", class),
                ];
                out.sample(name, &labels, count);
            }
        }
    }
    out.into_string()
}
