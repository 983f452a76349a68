// SPDX-License-Identifier: MIT
//! A request's content as those see it who send the request.

use std::task::Context;
use std::task::Poll;

use super::Codec;
use super::upload::Upload;
use crate::observe::reason::Refusal;
use crate::upstream::Feed;
use crate::upstream::ServerStream;
use crate::upstream::WaitsFor;

/// An upload and where it comes from.
#[derive(Debug)]
pub(super) struct From<'a, C> {
    pub(super) codec: &'a mut C,
    pub(super) upload: &'a mut Upload,
}

impl<C: Codec> Feed for From<'_, C> {
    fn poll_feed(
        &mut self,
        server: &mut ServerStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        self.upload.poll(self.codec, server, cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.codec.poll_gone(cx)
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.codec.poll_ended(cx)
    }

    fn waits_for(&self) -> WaitsFor {
        self.upload.waits_for()
    }

    fn moved(&self) -> u64 {
        self.upload.moved()
    }

    fn is_untouched(&self) -> bool {
        !self.upload.was_streamed()
    }

    fn can_begin(&self) -> bool {
        self.upload.can_begin()
    }

    fn may_repeat(&self) -> bool {
        self.upload.may_repeat()
    }

    fn begin(&mut self) -> bool {
        let can_begin = self.upload.can_begin();
        if can_begin && self.upload.was_streamed() && !self.upload.is_fresh() {
            self.upload.repeat();
        }
        can_begin
    }
}
