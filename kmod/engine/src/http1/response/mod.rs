// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Response heads: where a response ends, and whether another may follow it (RFC 9112).
//!
//! The bytes of a response are passed on at once and never held, so nothing of a head is kept but
//! what says how its message is framed. A head that two readers could frame differently is an error:
//! behind it nobody knows whose response a byte is.

mod error;
mod head;
mod parser;

pub use error::ResponseError;
pub use head::RequestKind;
pub use head::ResponseBody;
pub use head::ResponseHead;
pub use parser::ResponseParser;
pub use parser::ResponseProgress;
pub use parser::RESPONSE_HEAD_MAX;
