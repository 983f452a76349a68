// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Enumerations whose numbers are a contract: of the rule table's layout, and of generic netlink.

/// Defines enumerations, each with the numbers that it is written and read by and the names that it is shown by.
macro_rules! numbered {
    ($($(#[$attribute:meta])* $name:ident: $number:ty {
        $($(#[$doc:meta])* $variant:ident = $value:literal $text:literal,)*
    })*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant = $value,)*
        }

        impl $name {
            /// Every one, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its number.
            #[inline]
            pub const fn number(self) -> $number {
                self as $number
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The one with a number.
            pub const fn from_number(number: $number) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    )*};
}

pub(crate) use numbered;
