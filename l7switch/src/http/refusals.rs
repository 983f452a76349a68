// SPDX-License-Identifier: MIT
//! Why content is refused.

use http::StatusCode;

use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// The refusal of content that ends early.
pub(super) fn broken_off() -> Refusal {
    Refusal::new(
        Reason::BodyBroken,
        StatusCode::BAD_REQUEST,
        "the content of the request broke off",
    )
}

/// The refusal of content that is longer than it may be.
pub(super) fn too_long() -> Refusal {
    Refusal::new(
        Reason::BodyTooLarge,
        StatusCode::PAYLOAD_TOO_LARGE,
        "the content of the request is too long",
    )
}
