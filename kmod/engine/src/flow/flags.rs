// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Sets of flags, each of a type of its own: a flag of one set cannot be looked for in another.

/// Defines sets of flags that one byte holds, each with its flags as constants beside it.
macro_rules! flags {
    ($(#[$attribute:meta])* $visible:vis $name:ident {
        $($(#[$doc:meta])* $flag:ident = $bit:literal,)*
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $visible struct $name(u8);

        $($(#[$doc])* $visible const $flag: $name = $name($bit);)*

        impl $name {
            /// Whether a flag of `flags` is in the set.
            #[inline]
            $visible const fn intersects(self, flags: Self) -> bool {
                self.0 & flags.0 != 0
            }

            /// The set as a byte.
            $visible const fn bits(self) -> u8 {
                self.0
            }

            /// The set that a byte says; `None` where a bit of it is no flag.
            $visible const fn of_bits(bits: u8) -> Option<Self> {
                let known: u8 = 0 $(| $bit)*;
                if bits | known == known {
                    Some(Self(bits))
                } else {
                    None
                }
            }

            /// The set without some flags.
            #[inline]
            $visible const fn difference(self, flags: Self) -> Self {
                Self(self.0 & !flags.0)
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;

            /// What is in one of both.
            #[inline]
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl core::ops::BitOrAssign for $name {
            #[inline]
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }

        impl core::ops::BitAnd for $name {
            type Output = Self;

            /// What is in both.
            #[inline]
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }
    };
}

pub(super) use flags;
