// SPDX-License-Identifier: MIT
//! Many measurements, several guests at a time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::suite;
use l7switch_qemu_tests::host::tool;

use super::case::Case;
use super::contender::Contender;
use super::guest::Order;
use super::guest::What;
use super::record::Entry;
use super::rig::Rig;

/// The part of the time that a processor may be idle: beyond it a rate is no count of instructions.
const IDLE: f64 = 0.01;

/// Measures each of these contenders in each of these cases.
///
/// # Errors
///
/// The first thing that goes wrong; the other measurements are not begun then.
pub(crate) fn all(rig: &Rig, contenders: &[Contender], cases: &[&Case]) -> Result<Vec<Entry>> {
    let orders = cases.iter().flat_map(|case| {
        let asked = contenders
            .iter()
            .filter(|&&contender| case.is_for(contender));
        asked.map(|&contender| Order {
            contender,
            case: case.name.to_owned(),
            what: What::Bench,
        })
    });
    let orders = Mutex::new(orders.collect::<Vec<_>>().into_iter());
    let next = || orders.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        while let Some(order) = next() {
            let measured = one(rig, &order);
            if measured.is_err() {
                while next().is_some() {}
            }
            entries.push(measured?);
        }
        Ok(entries)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..suite::guests()).map(|_| scope.spawn(work)).collect();
        let mut entries = Vec::new();
        for worker in workers {
            let measured = worker.join();
            entries.extend(measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(entries)
    })
}

fn one(rig: &Rig, order: &Order) -> Result<Entry> {
    let measured = rig.measure(order)?;
    tool::say(&format!(
        "{} {}: {:.2} requests per second, {:.1} % idle",
        order.contender,
        order.case,
        measured.rate,
        100.0 * measured.idle
    ));
    if measured.idle > IDLE {
        return Err(Error::Message(format!(
            "{}: the processor was idle for {:.1} % of the time, so the rate is no count of instructions",
            order.name(),
            100.0 * measured.idle
        )));
    }
    Ok(Entry {
        contender: order.contender,
        case: order.case.clone(),
        rate: measured.rate,
        added: 0.0,
        kernel: rig.kernel().to_owned(),
        version: measured.version,
    })
}
