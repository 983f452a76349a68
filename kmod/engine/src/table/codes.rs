// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the numbers in a table's records mean, for who writes and who reads them.
//!
//! [`Protocol`], [`Datapath`] and [`Action`] are the same in the netlink contract, [`Kind`](crate::sched::Kind) is the
//! scheduler's.

use crate::numbered::numbered;

pub use crate::netlink::Action;
pub use crate::netlink::Datapath;
pub use crate::netlink::Protocol;

numbered! {
    /// What a hashing scheduler places requests by ([`PoolRecord::key`](super::format::PoolRecord::key)).
    HashKey: u32 {
        /// The client's address.
        Source = 0 "source",
        /// The path in comparison form.
        Path = 1 "path",
        /// The host in comparison form.
        Host = 2 "host",
        /// A header field.
        Field = 3 "header",
        /// A cookie.
        Cookie = 4 "cookie",
    }
    /// What has a token bucket of its own ([`RateRecord::key`](super::format::RateRecord::key)).
    RateKey: u32 {
        /// The client's address.
        Source = 0 "source",
        /// The route: all requests share one.
        Route = 1 "route",
    }
    /// A version of the PROXY protocol ([`PoolRecord::send_proxy`](super::format::PoolRecord::send_proxy)).
    ProxyVersion: u32 {
        /// A line of text.
        V1 = 1 "v1",
        /// In binary.
        V2 = 2 "v2",
    }
    /// How packets get to a pool's servers ([`PoolRecord::forward`](super::format::PoolRecord::forward)).
    Forwarding: u32 {
        /// From the client's address.
        Nat = 0 "nat",
        /// From an address and port of the switch's.
        Fullnat = 1 "fullnat",
    }
    /// What a condition looks at (lower 8 bits of
    /// [`ConditionRecord::kind_test`](super::format::ConditionRecord::kind_test)).
    ConditionOn: u32 {
        /// A header field.
        Field = 0 "header",
        /// A parameter of the query.
        Query = 1 "query",
        /// A cookie.
        Cookie = 2 "cookie",
        /// The host, in comparison form; of TLS the server name. Its condition has no name.
        Host = 3 "host",
    }
    /// What a condition asks for (the bits above).
    ConditionTest: u32 {
        /// One of its values.
        AnyOf = 0 "any of",
        /// That it is there.
        Present = 1 "present",
        /// That it is not.
        Absent = 2 "absent",
        /// That it is not there, or is none of its values.
        NoneOf = 3 "none of",
    }
    /// How a value is compared ([`ValueRecord::kind`](super::format::ValueRecord::kind)).
    ValueKind: u32 {
        /// Byte by byte.
        Exact = 0 "exact",
        /// By a regular expression.
        Regex = 1 "regex",
    }
}

impl ConditionOn {
    /// The word of a record that has this and a test.
    pub const fn with(self, test: ConditionTest) -> u32 {
        (test.number() << 8) | self.number()
    }

    /// Both, of a record's word.
    pub const fn of(word: u32) -> Option<(Self, ConditionTest)> {
        match (
            Self::from_number(word & 0xff),
            ConditionTest::from_number(word >> 8),
        ) {
            (Some(on), Some(test)) => Some((on, test)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conditions_word_is_read_as_it_was_written() {
        for &on in ConditionOn::ALL {
            for &test in ConditionTest::ALL {
                assert_eq!(ConditionOn::of(on.with(test)), Some((on, test)));
            }
        }
        for word in [4, 0x400, 0x1_0000, u32::MAX] {
            assert_eq!(ConditionOn::of(word), None);
        }
    }
}
