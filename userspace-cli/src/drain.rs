// SPDX-License-Identifier: MIT
//! `l7ctl drain --wait`: until the servers that were drained have no request any more.

use std::collections::BTreeMap;
use std::io;
use std::io::IsTerminal as _;
use std::time::Duration;
use std::time::Instant;

use l7switch_admin_api::KernelNumbers;
use l7switch_admin_api::KernelState;
use l7switch_admin_api::ServerState;
use l7switch_admin_api::Servers;

use crate::Outcome;
use crate::closed;
use crate::print;

/// Time between two readings.
const PAUSE: Duration = Duration::from_millis(500);

/// Readings in a row that may fail, as while another front takes the place of the running one.
const FAILURES: u32 = 20;

/// What is left, or that nobody knows now.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// Requests, and connections of what is not HTTP, in front and kernel module.
    Known(u64),
    /// The kernel module has the rules, and does not say what it has.
    Unknown,
}

/// What the drained servers have left.
///
/// # Errors
///
/// One of them is not drained any more.
fn left(drained: &Servers, now: &Servers, kernel: &KernelNumbers) -> Result<Left, String> {
    let at: BTreeMap<(&str, &str), _> = (now.servers.iter())
        .map(|server| ((&*server.pool, &*server.address), server))
        .collect();
    let mut sum: u64 = 0;
    for server in &drained.servers {
        // One that is not in the rules any more gets nothing new.
        let Some(now) = at.get(&(&*server.pool, &*server.address)) else {
            continue;
        };
        if now.state != ServerState::Draining {
            let (pool, address, state) = (&now.pool, &now.address, now.state.as_str());
            return Err(format!(
                "{pool}/{address} is not drained any more: it is {state}"
            ));
        }
        sum = sum.saturating_add(now.active);
    }
    match &kernel.counted {
        Some(counted) => {
            let of_these = counted.servers.iter().filter(|server| {
                let mut drained = drained.servers.iter();
                drained.any(|one| one.pool == server.pool && one.address == server.address)
            });
            let in_kernel: u64 = of_these.map(|server| server.active).sum();
            Ok(Left::Known(sum.saturating_add(in_kernel)))
        }
        None if kernel.status.state == KernelState::Loaded => Ok(Left::Unknown),
        None => Ok(Left::Known(sum)),
    }
}

/// Waits, and says how many are left. Whether none is, before `patience` is over.
pub(crate) fn wait(
    drained: &Servers,
    patience: Option<Duration>,
    mut read: impl FnMut() -> Result<(Servers, KernelNumbers), String>,
    out: &mut impl io::Write,
) -> Outcome {
    let is_terminal = io::stdout().is_terminal();
    let began = Instant::now();
    let (mut failures, mut shown) = (0, None);
    loop {
        let known = match read() {
            Ok((servers, kernel)) => {
                failures = 0;
                left(drained, &servers, &kernel)?
            }
            Err(error) => {
                failures = u32::saturating_add(failures, 1);
                if failures >= FAILURES {
                    return Err(error);
                }
                Left::Unknown
            }
        };
        let is_over = patience.is_some_and(|patience| began.elapsed() >= patience);
        let text = match known {
            Left::Known(0) => "nothing is left".to_owned(),
            Left::Known(1) => "1 request is left".to_owned(),
            Left::Known(count) => format!("{count} requests are left"),
            Left::Unknown => "how many are left is not known now".to_owned(),
        };
        let is_done = known == Left::Known(0);
        if shown.as_ref() != Some(&text) || is_over {
            let line = match (is_terminal, is_done || is_over) {
                (true, true) => format!("\r{text}\x1b[K\n"),
                (true, false) => format!("\r{text}\x1b[K"),
                (false, _) => format!("{text}\n"),
            };
            print(out, &line)?;
            if let Err(error) = out.flush() {
                return closed(&error).map(|()| is_done);
            }
            shown = Some(text);
        }
        if is_done || is_over {
            return Ok(is_done);
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use l7switch_admin_api::KernelCounted;
    use l7switch_admin_api::KernelServer;
    use serde_json::json;

    use super::*;

    fn servers(of: &[(&str, &str, u64)]) -> Servers {
        let all = of.iter().map(|(pool, state, active)| {
            json!({
                "pool": pool, "address": "10.0.0.1:80", "name": null, "weight": 1, "effective_weight": 0,
                "backup": false, "state": state, "health": null, "active": active, "total": 9, "failures": 0,
                "surplus": 0, "idle": 0, "ewma_ms": 0.0
            })
        });
        serde_json::from_value(json!({ "servers": all.collect::<Vec<_>>() })).unwrap()
    }

    fn kernel(state: KernelState, active: Option<u64>) -> KernelNumbers {
        let mut numbers = KernelNumbers::default();
        numbers.status.state = state;
        numbers.counted = active.map(|active| KernelCounted {
            servers: ["a", "b"]
                .map(|pool| KernelServer {
                    pool: pool.to_owned(),
                    address: "10.0.0.1:80".to_owned(),
                    active,
                    ..KernelServer::default()
                })
                .to_vec(),
            ..KernelCounted::default()
        });
        numbers
    }

    #[test]
    fn front_and_kernel_count_and_nothing_else() {
        let drained = servers(&[("a", "draining", 0)]);
        let now = servers(&[("a", "draining", 3), ("b", "up", 50)]);
        let off = kernel(KernelState::Off, None);
        assert_eq!(left(&drained, &now, &off), Ok(Left::Known(3)));
        let loaded = kernel(KernelState::Loaded, Some(4));
        assert_eq!(left(&drained, &now, &loaded), Ok(Left::Known(7)));
        let silent = kernel(KernelState::Loaded, None);
        assert_eq!(left(&drained, &now, &silent), Ok(Left::Unknown));
        // It has left the rules, or somebody has put it back.
        let gone = servers(&[("b", "up", 50)]);
        assert_eq!(left(&drained, &gone, &off), Ok(Left::Known(0)));
        let back = servers(&[("a", "up", 3)]);
        assert!(
            left(&drained, &back, &off)
                .unwrap_err()
                .contains("not drained any more: it is up")
        );
    }

    #[test]
    fn the_wait_ends_when_nothing_is_left_or_patience_is_over() {
        let drained = servers(&[("a", "draining", 0)]);
        let run = |patience: Option<Duration>, actives: &[Option<u64>]| {
            let mut actives = actives.iter();
            let mut last = None;
            let read = || {
                last = *actives.next().unwrap_or(&last);
                let active = last.ok_or_else(|| "it is gone".to_owned())?;
                let off = kernel(KernelState::Off, None);
                Ok((servers(&[("a", "draining", active)]), off))
            };
            let mut out = Vec::new();
            let ended = wait(&drained, patience, read, &mut out);
            (ended, String::from_utf8(out).unwrap())
        };
        let said = "2 requests are left\n1 request is left\nhow many are left is not known now\nnothing is left\n";
        let (ended, text) = run(None, &[Some(2), Some(1), Some(1), None, Some(0)]);
        assert_eq!((ended, text.as_str()), (Ok(true), said));
        let (ended, text) = run(Some(Duration::ZERO), &[Some(2)]);
        assert_eq!((ended, text.as_str()), (Ok(false), "2 requests are left\n"));
    }
}
