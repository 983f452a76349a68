// SPDX-License-Identifier: MIT
//! The buffers of an exchange. A connection has none between two exchanges: idle ones are many.

use std::cell::RefCell;

use bytes::BytesMut;

use super::fields::Fields;

/// A buffer that has become larger is not kept.
const LARGEST: usize = 16 * 1024;

/// So many are kept by each thread, which is as many exchanges as began there at a time, up to this.
const SPARE: usize = 1024;

thread_local! {
    static SPARE_ONES: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

/// Buffers for an exchange. They hold what was there before, or nothing.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) fields: Fields,
    /// The head for the server.
    pub(super) out: Vec<u8>,
    /// What came from the server.
    pub(super) from_server: BytesMut,
    /// What HTTP/1 sends to the client before content.
    pub(super) to_client: Vec<u8>,
}

impl Buffers {
    /// One that another exchange has left, or a new one.
    pub(super) fn take() -> Self {
        SPARE_ONES
            .try_with(|spare| spare.try_borrow_mut().ok()?.pop())
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Leaves it to another exchange.
    pub(super) fn leave(mut self) {
        if self.from_server.capacity().max(self.to_client.capacity()) > LARGEST {
            return;
        }
        self.from_server.clear();
        self.to_client.clear();
        // A thread that ends has none any more.
        let _ = SPARE_ONES.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < SPARE
            {
                spare.push(self);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_unless_they_are_large() {
        let mut buffers = Buffers::take();
        buffers.from_server.extend_from_slice(&[1; 3000]);
        let place = buffers.from_server.as_ptr();
        buffers.leave();
        let mut buffers = Buffers::take();
        assert_eq!(buffers.from_server.as_ptr(), place);
        assert!(buffers.from_server.is_empty());
        buffers.from_server.reserve(LARGEST + 1);
        buffers.leave();
        assert_eq!(Buffers::take().from_server.capacity(), 0);
    }
}
