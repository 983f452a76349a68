// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Routes to clients whose SYN was answered: their first data need the same ones, and soon, mostly.
#![forbid(unsafe_code)]

use kernel::prelude::*;

use l7switch_engine::endpoint::Endpoint;

use crate::shell::net::fast_path::CachedRoute;
use crate::shell::net::route::Vrf;

/// Routes that are remembered; a power of two.
const ROUTES: usize = 512;

/// All that a route is found by.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) client: Endpoint,
    pub(super) service: Endpoint,
    pub(super) vrf: Vrf,
}

/// The routes, each where its connection's hash says: a later one takes an earlier one's place.
pub(super) struct Answered(KVVec<(Ends, CachedRoute)>);

impl Answered {
    /// Remembers none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let mut all = KVVec::with_capacity(ROUTES, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..ROUTES {
            all.push_within_capacity((Ends::default(), CachedRoute::unknown()))
                .map_err(|_| ENOMEM)?;
        }
        Ok(Self(all))
    }

    fn place(&mut self, hash: u64) -> Option<&mut (Ends, CachedRoute)> {
        self.0.get_mut(hash as usize & (ROUTES - 1))
    }

    /// The route of a connection, known or not, that is remembered from then on.
    pub(super) fn remember(&mut self, hash: u64, ends: &Ends) -> Option<&mut CachedRoute> {
        let (of, route) = self.place(hash)?;
        if of != ends {
            route.forget();
            *of = *ends;
        }
        Some(route)
    }

    /// The route that is remembered of a connection, which has it from then on.
    pub(super) fn take(&mut self, hash: u64, ends: &Ends) -> Option<CachedRoute> {
        let (of, route) = self.place(hash)?;
        (of == ends).then(|| core::mem::replace(route, CachedRoute::unknown()))
    }
}
