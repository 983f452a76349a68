// SPDX-License-Identifier: MIT
//! Locks that wait for one another: a guest with two processors that run at the same time, on both of which packets are
//! switched, while the kernel's tracer writes down every lock that is not free where it is wanted.

pub(crate) mod contention;
pub(super) mod guest;
mod report;
pub(crate) mod trace;

pub(crate) use report::page;

use std::time::Duration;
use std::time::Instant;

use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;

use super::case::Case;
use super::contender::Contender;
use super::guest::Order;
use super::guest::What;
use super::host;
use super::rig::Rig;
use contention::Found;

/// Processors of the guest.
pub(crate) const PROCESSORS: u8 = 2;

/// The cases.
pub(crate) const CASES: [&str; 3] = ["keepalive-128B", "connection-128B", "body-100KiB"];

/// Who is measured.
pub(crate) const CONTENDERS: [Contender; 3] =
    [Contender::Direct, Contender::IpvsNat, Contender::ModuleNat];

/// For what part of the time the machine may do something else than the guest.
const BUSY: f64 = 0.25;

/// For how many seconds nothing else has to have run before a boot.
const QUIET: u32 = 2;

/// How long that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often a guest is booted for a measurement at most. Processors that are emulated at the same time may still run code that
/// another has just patched, of which a kernel dies now and then (seen with QEMU 7.2).
const BOOTS: u32 = 6;

/// What was found of a contender in a case.
#[derive(Debug)]
pub(crate) struct Row {
    /// Who.
    pub contender: Contender,
    /// In which case.
    pub case: &'static Case,
    /// What.
    pub found: Found,
    /// For what part of the time each of the guest's processors had none of the machine's.
    pub waited: f64,
}

/// Measures each of these contenders in each of these cases; tells too of those that could not be, and why.
pub(crate) fn all(
    rig: &Rig,
    contenders: &[Contender],
    cases: &[&'static Case],
) -> (Vec<Row>, Vec<Error>) {
    let mut rows = Vec::new();
    let mut refused = Vec::new();
    for &case in cases {
        for &contender in contenders {
            match one(rig, contender, case) {
                Ok(row) => rows.push(row),
                Err(error) => refused.push(error),
            }
        }
    }
    (rows, refused)
}

fn one(rig: &Rig, contender: Contender, case: &'static Case) -> Result<Row> {
    let order = Order {
        contender,
        case: case.name.to_owned(),
        what: What::Locks,
    };
    let mut boot = 1;
    loop {
        wait_for_the_machine()?;
        let objection = match rig.locks(&order) {
            Ok((found, waited)) => {
                let row = Row {
                    contender,
                    case,
                    found,
                    waited,
                };
                tool::say(&format!("{}: {}", order.name(), row.summary()));
                match row.objection() {
                    None => return Ok(row),
                    Some(objection) => Error::Message(format!("{}: {objection}", order.name())),
                }
            }
            Err(error @ Error::Guest { .. }) => error,
            Err(error) => return Err(error),
        };
        if boot == BOOTS {
            return Err(objection);
        }
        tool::say(&format!("once more: {objection}"));
        boot += 1;
    }
}

/// Waits until nothing else runs on the machine.
fn wait_for_the_machine() -> Result<()> {
    let begin = Instant::now();
    let mut quiet = 0;
    while quiet < QUIET {
        quiet = match host::idle()? {
            idle if idle > 1.0 - BUSY => quiet + 1,
            _ => 0,
        };
        if begin.elapsed() > PATIENCE {
            return Err(Error::Message(
                "the machine is busy with something else".to_owned(),
            ));
        }
    }
    Ok(())
}

impl Row {
    fn summary(&self) -> String {
        format!(
            "{} requests, {} waits for locks, packets by processor {:?}, {:.0} % slower by the tracer, the machine busy for \
             {:.1} % of the time",
            self.found.requests,
            self.found.contention.all.count,
            self.found.packets,
            100.0 * self.found.slower,
            100.0 * self.waited
        )
    }

    /// Why it says nothing, if so.
    fn objection(&self) -> Option<String> {
        if self.waited > BUSY {
            // Who has a lock then has it for as long as the machine does something else.
            return Some(format!(
                "the guest's processors waited for the machine's for {:.0} % of the time",
                100.0 * self.waited
            ));
        }
        self.found.objection()
    }
}

/// What the names of a contender's functions in the kernel have in them.
fn module_of(contender: Contender) -> Option<&'static str> {
    match contender {
        Contender::ModuleNat | Contender::ModuleFullnat => Some("[l7switch]"),
        Contender::IpvsNat => Some("[ip_vs"),
        _ => None,
    }
}
