// SPDX-License-Identifier: MIT
//! Buffers of an exchange. A connection has none between two exchanges: idle ones are many.

use std::cell::RefCell;

use bytes::BytesMut;

use super::fields::Fields;

/// A buffer that has become larger is not kept.
const LARGEST: usize = 16 * 1024;

/// So many are kept by each thread, which is as many exchanges as began there at a time, up to this.
const SPARE: usize = 1024;

thread_local! {
    static ROOMS: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

/// Room for an exchange. It holds what was there before, or nothing.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) fields: Fields,
    /// A head that is being made.
    pub(super) out: Vec<u8>,
    /// What came from the server.
    pub(super) from_server: BytesMut,
}

impl Room {
    /// One that another exchange has left, or a new one.
    pub(super) fn take() -> Self {
        ROOMS
            .try_with(|rooms| rooms.try_borrow_mut().ok()?.pop())
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Leaves it to another exchange.
    pub(super) fn leave(mut self) {
        if self.from_server.capacity() > LARGEST {
            return;
        }
        self.from_server.clear();
        // A thread that ends has no rooms any more.
        let _ = ROOMS.try_with(|rooms| {
            if let Ok(mut rooms) = rooms.try_borrow_mut()
                && rooms.len() < SPARE
            {
                rooms.push(self);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_unless_they_are_large() {
        let mut room = Room::take();
        room.from_server.extend_from_slice(&[1; 3000]);
        let place = room.from_server.as_ptr();
        room.leave();
        let mut room = Room::take();
        assert_eq!(room.from_server.as_ptr(), place);
        assert!(room.from_server.is_empty());
        room.from_server.reserve(LARGEST + 1);
        room.leave();
        assert_eq!(Room::take().from_server.capacity(), 0);
    }
}
