// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is counted in a namespace, by name.
#![forbid(unsafe_code)]

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something counted.
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            /// Every counter, in the order of its index.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many there are.
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// Where it is counted.
            pub(crate) const fn index(self) -> usize {
                self as usize
            }

            /// Its name in `l7ctl kernel status` and in metrics.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

counters! {
    /// A table was put in force.
    TablesLoaded = "tables_loaded",
    /// A table did not stand up to verification.
    TablesRefused = "tables_refused",
    /// Whoever loaded was gone before commit.
    LoadsAbandoned = "loads_abandoned",
    /// A request was matched for an administrator.
    MatchesAsked = "matches_asked",
    /// A server's weight or state was set.
    ServersSet = "servers_set",
    /// A connection was not followed: the table of flows had no room.
    FlowsFull = "flows_full",
    /// A command was refused by what it said.
    CommandsRefused = "commands_refused",
}
