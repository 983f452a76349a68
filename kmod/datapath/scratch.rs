// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Room to read requests in, what was decided about them, and routes to clients: for every CPU its own.
#![forbid(unsafe_code)]

use kernel::cpu::nr_cpu_ids;
use kernel::cpu::CpuId;
use kernel::prelude::*;

use l7switch_engine::decisions::Entry;
use l7switch_engine::flow::HOLD_MAX;
use l7switch_engine::uri::MAX_HOST;

use super::answered::Answered;
use crate::shell::sync::try_lock::Taken;
use crate::shell::sync::try_lock::TryLock;

/// Bytes of a request's start that are looked at: what is held, and a segment behind it.
const LEN: usize = 2 * HOLD_MAX as usize;

/// Decisions that are remembered; a power of two.
const DECISIONS: usize = 512;

/// Room for one request.
pub(super) struct Scratch {
    /// Its bytes in one piece, where they do not lie so.
    pub(super) bytes: KVVec<u8>,
    /// Its path in comparison form.
    pub(super) path: KVVec<u8>,
    /// Its host in comparison form.
    pub(super) host: [u8; MAX_HOST],
    /// What was decided about requests not long ago.
    pub(super) decisions: KVVec<Entry>,
    /// Where those are whose SYN was answered not long ago.
    pub(super) answered: Answered,
}

/// Of every CPU.
pub(super) struct Scratches(KVec<KBox<TryLock<Scratch>>>);

impl Scratches {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let count = nr_cpu_ids() as usize;
        let mut all = KVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            let bytes = KVVec::from_elem(0, LEN, GFP_KERNEL_ACCOUNT)?;
            let path = KVVec::from_elem(0, LEN, GFP_KERNEL_ACCOUNT)?;
            let decisions = KVVec::from_elem(Entry::NONE, DECISIONS, GFP_KERNEL_ACCOUNT)?;
            let scratch = Scratch {
                bytes,
                path,
                host: [0; MAX_HOST],
                decisions,
                answered: Answered::new()?,
            };
            let scratch = KBox::new(TryLock::new(scratch), GFP_KERNEL_ACCOUNT)?;
            all.push_within_capacity(scratch).map_err(|_| ENOMEM)?;
        }
        Ok(Self(all))
    }

    /// This CPU's. With softirqs off: there nobody else has it.
    #[inline]
    pub(super) fn take(&self) -> Option<Taken<'_, Scratch>> {
        self.0.get(CpuId::current().as_u32() as usize)?.take()
    }
}
