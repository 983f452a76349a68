// SPDX-License-Identifier: MIT
//! Why requests are refused whatever the rules say.

use http::StatusCode;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::Target;

use super::fields::Fields;
use crate::http::headers::Present;
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

/// Requests that no rule can allow.
pub(super) fn unwanted(head: &Head<'_>, fields: &Fields, bytes: &[u8]) -> Option<Refusal> {
    if matches!(head.target(), Target::Authority(_)) {
        return Some(Refusal::new(
            Reason::NotImplemented,
            StatusCode::NOT_IMPLEMENTED,
            "the switch opens no tunnels",
        ));
    }
    let mut expectations = fields.values(bytes, Present::EXPECT);
    (fields.present().has(Present::EXPECT)
        && expectations.any(|value| !value.eq_ignore_ascii_case(b"100-continue")))
    .then(|| {
        Refusal::new(
            Reason::BadRequest,
            StatusCode::EXPECTATION_FAILED,
            "the only expectation that can be met is 100-continue (RFC 9110, 10.1.1)",
        )
    })
}
