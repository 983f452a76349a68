// SPDX-License-Identifier: MIT
//! What came of a crossing, as the guest prints it and the page shows it.

use serde::Deserialize;
use serde::Serialize;

use super::CASES;
use super::Crossing;
use super::Family;
use super::Forward;
use super::Place;
use crate::printed::Printed;

/// Which way requests went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// The module passed them on.
    Kernel,
    /// The front, or another local program, answered them, or the stack passed them on.
    Stack,
    /// They were not answered as they should be.
    Fails,
    /// This kernel, or its programs, cannot make the crossing.
    Missing,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// By which family of addresses.
    pub(crate) family: Family,
    /// By which forwarding method.
    pub(crate) forward: Forward,
    /// What came of it.
    pub(crate) way: Way,
    /// What is to be known of that.
    pub(crate) detail: String,
    /// Packets of connections that the module saw.
    pub(crate) packets: u64,
    /// Those of them that were not taken at ingress.
    pub(crate) ingress_missed: u64,
}

/// What came of a crossing in a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The crossing's name.
    pub(crate) name: String,
    /// Where.
    pub(crate) place: Place,
    /// Why it could not be made: there are no cases then.
    pub(crate) missing: Option<String>,
    /// Why it says nothing of the module: its proof failed, or its servers cannot be asked directly either.
    pub(crate) unproved: Option<String>,
    /// What came of each case.
    pub(crate) cases: Vec<Case>,
}

impl Printed for Outcome {
    const PREFIX: &'static str = "CROSSED ";
}

impl Outcome {
    /// What is not as the table expects it, a sentence each.
    pub(crate) fn surprises(&self, crossing: &Crossing) -> Vec<String> {
        let (name, place) = (&self.name, self.place);
        let mut found = Vec::new();
        if let Some(why) = &self.unproved {
            found.push(format!(
                "{name}, {place}: it says nothing of the module: {why}"
            ));
        }
        for case in CASES {
            let (wanted, _) = crossing.expected(case);
            let (way, detail) = self.came_to(case);
            if way != wanted {
                found.push(format!(
                    "{name}, {place}, {case:?}: {way:?} where {wanted:?} is expected: {detail}"
                ));
            }
        }
        found
    }

    /// Which way a case went, and what is to be known of that.
    pub(crate) fn came_to(&self, (family, forward): (Family, Forward)) -> (Way, &str) {
        let mut cases = self.cases.iter();
        match (
            &self.missing,
            cases.find(|case| (case.family, case.forward) == (family, forward)),
        ) {
            (Some(why), _) => (Way::Missing, why),
            (None, Some(case)) => (case.way, &case.detail),
            (None, None) => (Way::Fails, "it was not asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::But;
    use super::super::PLAIN;
    use super::*;

    const ONE: Crossing = Crossing {
        name: "one",
        but: &[But::all(Way::Stack, "why").with(Forward::Nat)],
        ..PLAIN
    };

    fn outcome(nat: Way, fullnat: Way) -> Outcome {
        let case = |(family, forward)| Case {
            family,
            forward,
            way: if forward == Forward::Nat {
                nat
            } else {
                fullnat
            },
            detail: "detail".to_owned(),
            packets: 1,
            ingress_missed: 1,
        };
        Outcome {
            name: "one".to_owned(),
            place: Place::Egress,
            missing: None,
            unproved: None,
            cases: CASES.into_iter().map(case).collect(),
        }
    }

    #[test]
    fn what_is_not_as_expected_is_told() {
        let surprises = |nat, fullnat| outcome(nat, fullnat).surprises(&ONE).len();
        assert_eq!(surprises(Way::Stack, Way::Kernel), 0);
        // Better than expected is no less a surprise.
        assert_eq!(surprises(Way::Kernel, Way::Kernel), 2);
        assert_eq!(surprises(Way::Stack, Way::Fails), 2);
        assert_eq!(surprises(Way::Fails, Way::Stack), 4);
        let mut silent = outcome(Way::Stack, Way::Kernel);
        silent.cases.pop();
        assert_eq!(silent.surprises(&ONE).len(), 1);
        silent.unproved = Some("nothing".to_owned());
        assert_eq!(silent.surprises(&ONE).len(), 2);
        silent.missing = Some("no such device".to_owned());
        assert_eq!(silent.surprises(&ONE).len(), 5);
    }

    #[test]
    fn what_is_printed_is_read() {
        let outcome = outcome(Way::Fails, Way::Fails);
        assert_eq!(
            Outcome::find(&format!("x\n{}\n", outcome.line())),
            Some(outcome)
        );
    }
}
