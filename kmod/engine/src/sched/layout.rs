// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a hashing scheduler looks keys up in, laid out in memory of whoever keeps the pool.

use core::borrow::Borrow;
use core::ops::DerefMut;

use super::maglev;
use super::ring;
use super::Kind;
use super::Lookup;
use super::Server;

/// Memory for lookup tables.
pub trait Memory {
    /// Values of one type, one after the other.
    type List<T>: DerefMut<Target = [T]>;
    /// Why there is no memory.
    type Error;

    /// So many copies of a value.
    ///
    /// # Errors
    ///
    /// Where memory is short.
    fn filled<T: Copy>(value: T, len: usize) -> Result<Self::List<T>, Self::Error>;
}

/// What the scheduler of a pool looks keys up in.
pub enum LookupTable<M: Memory> {
    /// Nothing: it looks none up, or there are no servers.
    None,
    /// Of [`Kind::Mh`].
    Maglev(M::List<u16>),
    /// Of [`Kind::Ch`].
    Ring(M::List<ring::Point>),
}

/// Why a table was not laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError<E> {
    /// Memory is short.
    Memory(E),
    /// There are more servers than a table has numbers for.
    Servers,
}

impl<M: Memory> LookupTable<M> {
    /// The table for servers with the weights that they have now.
    ///
    /// # Errors
    ///
    /// Where memory is short, or there are too many servers.
    pub fn lay_out<S: Borrow<Server>>(
        kind: Kind,
        servers: &[S],
    ) -> Result<Self, LayoutError<M::Error>> {
        match kind {
            _ if servers.is_empty() => Ok(Self::None),
            Kind::Mh => {
                let mut table = filled::<M, _>(0, maglev::size_for(servers.len()))?;
                let mut scratch = filled::<M, _>(maglev::Turn::default(), servers.len())?;
                maglev::fill(&mut table, &mut scratch, servers)
                    .map_err(|_| LayoutError::Servers)?;
                Ok(Self::Maglev(table))
            }
            Kind::Ch => {
                let points = ring::points_needed(servers);
                let mut points = filled::<M, _>(ring::Point::default(), points)?;
                ring::fill(&mut points, servers).map_err(|_| LayoutError::Servers)?;
                Ok(Self::Ring(points))
            }
            _ => Ok(Self::None),
        }
    }

    /// It, as a pick sees it.
    pub fn as_lookup(&self) -> Lookup<'_> {
        match self {
            Self::None => Lookup::None,
            Self::Maglev(table) => Lookup::Maglev(table),
            Self::Ring(points) => Lookup::Ring(points),
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Maglev(table) => size_of_val::<[u16]>(table),
            Self::Ring(points) => size_of_val::<[ring::Point]>(points),
        }
    }
}

fn filled<M: Memory, T: Copy>(value: T, len: usize) -> Result<M::List<T>, LayoutError<M::Error>> {
    M::filled(value, len).map_err(LayoutError::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec;
    use std::vec::Vec;

    use crate::endpoint::Endpoint;

    /// Has room for so many bytes.
    enum Short<const BYTES: usize> {}

    impl<const BYTES: usize> Memory for Short<BYTES> {
        type List<T> = Vec<T>;
        type Error = usize;

        fn filled<T: Copy>(value: T, len: usize) -> Result<Vec<T>, usize> {
            let wanted = len * size_of::<T>();
            match wanted <= BYTES {
                true => Ok(vec![value; len]),
                false => Err(wanted),
            }
        }
    }

    fn servers() -> Vec<Server> {
        let server = |port| {
            let address = [7; 16];
            Server::new(Endpoint { address, port }, 1)
        };
        (1..4).map(server).collect()
    }

    #[test]
    fn only_what_looks_keys_up_has_a_table() {
        let of = |kind, servers: &[Server]| LookupTable::<Short<100_000>>::lay_out(kind, servers);
        for (kind, servers, bytes) in [
            (Kind::Mh, servers(), maglev::size_for(3) * 2),
            (
                Kind::Ch,
                servers(),
                ring::points_needed(&servers()) * size_of::<ring::Point>(),
            ),
            (Kind::Mh, Vec::new(), 0),
            (Kind::Ch, Vec::new(), 0),
            (Kind::Rr, servers(), 0),
            (Kind::Sh, servers(), 0),
        ] {
            let table = of(kind, &servers).ok().unwrap();
            assert_eq!(table.memory(), bytes, "{kind:?}");
            let is_none = matches!(table.as_lookup(), Lookup::None);
            assert_eq!(is_none, bytes == 0, "{kind:?}");
        }
    }

    #[test]
    fn where_memory_is_short_there_is_none() {
        for kind in [Kind::Mh, Kind::Ch] {
            let table = LookupTable::<Short<16>>::lay_out(kind, &servers());
            assert!(matches!(table, Err(LayoutError::Memory(17..))), "{kind:?}");
        }
    }
}
