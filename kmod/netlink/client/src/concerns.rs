// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an administrator has to set right on this host, as the module's counters tell.

use crate::types::Module;

/// Something that keeps the module from serving as it could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The counter that tells of it.
    pub counter: &'static str,
    /// What it is, and what to do.
    pub text: String,
}

/// Hooks of netfilter, with the counters of what rules dropped there.
const HOOKS: [(&str, &str); 4] = [
    ("filtered_prerouting", "prerouting"),
    ("filtered_input", "input"),
    ("filtered_forward", "forward"),
    ("filtered_postrouting", "postrouting"),
];

impl Module {
    /// What has to be set right on this host, since the counters were set to 0.
    #[must_use]
    pub fn concerns(&self) -> Vec<Concern> {
        let is_counted = |name: &str| self.counter(name).is_some_and(|count| count > 0);
        let mut concerns = Vec::new();
        if is_counted("forwarding_off") {
            concerns.push(Concern {
                counter: "forwarding_off",
                text: "this host does not forward packets (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding): requests go \
                       through the front"
                    .to_owned(),
            });
        }
        if is_counted("filtered_behind") {
            let hooks = HOOKS.iter().filter(|(counter, _)| is_counted(counter));
            let hooks: Vec<&str> = hooks.map(|(_, hook)| *hook).collect();
            // Where both of them have rules, it is not known which dropped a packet.
            let at = match hooks.is_empty() {
                true => "forward or postrouting".to_owned(),
                false => hooks.join(", "),
            };
            concerns.push(Concern {
                counter: "filtered_behind",
                text: format!(
                    "netfilter rules on this host (at {at}) drop packets of connections: docs/datapath.md, \"Firewalls\", \
                     shows what to allow"
                ),
            });
        }
        concerns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::types::Counter;
    use crate::types::Histogram;

    #[test]
    fn counters_tell_what_to_set_right_and_where() {
        let of = |counters: &[(&str, u64)]| {
            let counter = |&(name, value): &(&str, u64)| Counter {
                name: name.to_owned(),
                value,
            };
            let module = Module {
                version: String::new(),
                table_layout: 1,
                generation: 1,
                table_len: None,
                services: 0,
                routes: 0,
                pools: 0,
                servers: 0,
                loading: None,
                max_table_len: 0,
                max_chunk_len: 0,
                flows: 0,
                max_flows: 0,
                counters: counters.iter().map(counter).collect(),
                first_byte: Histogram::default(),
                flow_counts: Vec::new(),
            };
            module.concerns()
        };
        assert_eq!(of(&[("requests", 7), ("forwarding_off", 0)]), []);
        let [forwarding, filtered] = &of(&[
            ("forwarding_off", 1),
            ("filtered_behind", 9),
            ("filtered_prerouting", 0),
            ("filtered_forward", 3),
            ("filtered_postrouting", 1),
        ])[..] else {
            panic!("two concerns")
        };
        assert_eq!(forwarding.counter, "forwarding_off");
        let at = "(at forward, postrouting) drop";
        assert!(filtered.text.contains(at), "{}", filtered.text);
        let unsure = of(&[("filtered_behind", 1)]);
        let at = "(at forward or postrouting) drop";
        assert!(unsure[0].text.contains(at), "{}", unsure[0].text);
    }
}
