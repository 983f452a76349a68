// SPDX-License-Identifier: MIT
//! Whether the module's price is still the one that is recorded.

use super::contender::Contender;
use super::record::Entry;
use super::record::Record;

/// What is compared.
pub(crate) const CONTENDERS: [Contender; 3] =
    [Contender::Direct, Contender::IpvsNat, Contender::ModuleNat];
/// In these cases; with what counts as no change at least, as a part of the whole price of a request: prices repeat no
/// better. New connections have new ports, and leave sockets in TIME_WAIT behind.
pub(crate) const CASES: [(&str, f64); 2] = [("keepalive-128B", 0.002), ("connection-128B", 0.006)];

/// How far what the module adds may be from the record, with the record's kernel. What a request costs in all is compared too,
/// and the nearer of both counts: a boot in which `direct` is cheaper or dearer for itself (by up to 250 instructions, from
/// where the kernel's memory comes to lie) changes what the module adds and not what its requests cost, and another client or
/// server program the other way round.
const BOUND: f64 = 0.02;
/// With another kernel: how far the ratio to IPVS may be from the record's. IPVS and forwarding change with kernels, and a
/// difference of two prices changes by more than either.
const BOUND_OF_RATIO: f64 = 0.15;

/// Compares the module's entry of a case of [`CASES`] with the record's; says what was found, as an error where it is too far off.
///
/// # Errors
///
/// What is too far off, in words.
pub(crate) fn compare(
    case: &str,
    noise: f64,
    now: &Record,
    recorded: &Record,
) -> Result<String, String> {
    let find = |record: &Record, contender| {
        record
            .find(contender, case)
            .cloned()
            .ok_or_else(|| format!("{case}: there is no entry of {contender}"))
    };
    let new = find(now, Contender::ModuleNat)?;
    let old = find(recorded, Contender::ModuleNat)?;
    if new.kernel == old.kernel {
        let allowed = (old.added.abs() * BOUND).max(old.instructions() * noise);
        let added = new.added - old.added;
        let whole = new.instructions() - old.instructions();
        return verdict(
            format!(
                "{case}: the module adds {:.0} instructions, {:.0} by the record ({added:+.0}); a request costs {:.0} in all, \
                 {:.0} by the record ({whole:+.0}); allowed {allowed:.0}",
                new.added,
                old.added,
                new.instructions(),
                old.instructions(),
            ),
            added.abs().min(whole.abs()) <= allowed,
        );
    }
    let ratio = |module: &Entry, ipvs: &Entry| module.added / ipvs.added;
    let new_ratio = ratio(&new, &find(now, Contender::IpvsNat)?);
    let old_ratio = ratio(&old, &find(recorded, Contender::IpvsNat)?);
    verdict(
        format!(
            "{case}: the module adds {new_ratio:.2} of what IPVS adds with {}, {old_ratio:.2} by the record with {} \
             (allowed: {BOUND_OF_RATIO:.2} more or less)",
            new.kernel, old.kernel
        ),
        (new_ratio - old_ratio).abs() <= BOUND_OF_RATIO,
    )
}

fn verdict(words: String, good: bool) -> Result<String, String> {
    if good { Ok(words) } else { Err(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kernel: &str, module: f64, ipvs: f64) -> Record {
        let mut record = Record::default();
        for (contender, instructions) in [
            (Contender::Direct, 70_000.0),
            (Contender::ModuleNat, 70_000.0 + module),
            (Contender::IpvsNat, 70_000.0 + ipvs),
        ] {
            record.put(Entry {
                contender,
                case: "a".to_owned(),
                rate: 1e9 / instructions,
                added: 0.0,
                kernel: kernel.to_owned(),
                version: String::new(),
            });
        }
        record.compare(["a"].into_iter());
        record
    }

    #[test]
    fn a_change_of_more_than_two_per_cent_is_told() {
        let recorded = record("1", 10_000.0, 3_000.0);
        assert!(compare("a", 0.002, &record("1", 10_150.0, 0.0), &recorded).is_ok());
        assert!(compare("a", 0.002, &record("1", 10_250.0, 0.0), &recorded).is_err());
        assert!(compare("a", 0.002, &record("1", 9_750.0, 0.0), &recorded).is_err());
    }

    #[test]
    fn what_direct_costs_in_one_boot_is_not_the_modules() {
        let recorded = record("1", 10_000.0, 3_000.0);
        let mut now = record("1", 10_000.0, 3_000.0);
        let mut direct = now.find(Contender::Direct, "a").unwrap().clone();
        direct.rate = 1e9 / 69_700.0;
        now.put(direct);
        now.compare(["a"].into_iter());
        assert_eq!(now.find(Contender::ModuleNat, "a").unwrap().added, 10_300.0);
        assert!(compare("a", 0.002, &now, &recorded).is_ok());
    }

    #[test]
    fn with_another_kernel_the_ratio_counts() {
        let recorded = record("1", 3_000.0, 3_000.0);
        assert!(compare("a", 0.002, &record("2", 4_000.0, 4_000.0), &recorded).is_ok());
        assert!(compare("a", 0.002, &record("2", 4_000.0, 3_000.0), &recorded).is_err());
    }
}
