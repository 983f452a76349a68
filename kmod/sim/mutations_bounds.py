# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The faults of the mutation check that concern bounds of servers: see mutations.py."""

from mutations_list import CHOOSING, ENVIRONMENT, LEG, POLICY, Fault

CANDIDATES = "kmod/engine/src/sched/candidates.rs"
SERVER = "kmod/engine/src/sched/server.rs"

BOUNDS = [
    Fault(
        "bound-not-looked-at",
        CANDIDATES,
        "let eligible = weight > 0 && server.available() && !server.is_full() && !(self.skip)(index);",
        "let eligible = weight > 0 && server.available() && !(self.skip)(index);",
        "Schedulers pick servers that are full.",
    ),
    Fault(
        "bound-not-held",
        SERVER,
        "active.checked_add(1).filter(|&active| active <= bound)",
        "active.checked_add(1).filter(|&active| active <= bound.saturating_add(1))",
        "Of many at the same time, one more starts than may.",
    ),
    Fault(
        "place-not-left",
        CHOOSING,
        "if core::mem::take(&mut self.state.has_place) {",
        "if self.state.has_place && ask.last && core::mem::take(&mut self.state.has_place) {",
        "A request that waits has a place meanwhile.",
    ),
    Fault(
        "place-counted-twice",
        ENVIRONMENT,
        "if !has_place {",
        "if !has_place || self.state.chosen.is_none() {",
        "What stays at its server counts twice there.",
    ),
    Fault(
        "place-not-given-back-by-leg",
        ENVIRONMENT,
        "if core::mem::take(&mut self.state.has_place) {",
        "if core::mem::take(&mut self.state.has_place) && bound.pool > 0 {",
        "A server whose addresses are taken keeps the place of a request that it never gets.",
    ),
    Fault(
        "place-at-anothers",
        CHOOSING,
        "if has_place && self.is_behind_anothers(ask, &bound) {",
        "if has_place && ask.last && self.is_behind_anothers(ask, &bound) {",
        "A request counts at another pool's server than the one that was chosen.",
    ),
    Fault(
        "full-is-nobody",
        POLICY,
        "return has_full(pool.members, skip).then_some(Forward::Full);",
        "return None;",
        "What no server may have is the front's to send on.",
    ),
    Fault(
        "full-is-limited",
        LEG,
        "Some(Refusal::Full) => FULL,",
        "Some(Refusal::Full) => LIMITED,",
        "The front is told of another reason.",
    ),
]
