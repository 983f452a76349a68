// SPDX-License-Identifier: MIT
//! Source prefixes of a route as disjoint intervals, each with the longest prefix that holds it, so that an
//! address is found by binary search however many prefixes there are.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use l7switch_engine::table::format::IntervalRecord;
use l7switch_engine::table::format::SourcesRecord;
use l7switch_engine::table::format::V4_PREFIX;

use super::number_words;
use super::to_u32;
use super::writer::Writer;
use crate::model::address_bytes;

/// First address and length of a prefix, IPv4 as IPv4-mapped.
fn mapped(net: &IpNet) -> (u128, u32) {
    let start = u128::from_be_bytes(address_bytes(net.network()));
    let len = u32::from(net.prefix_len());
    (
        start,
        if net.addr().is_ipv4() {
            len + V4_PREFIX
        } else {
            len
        },
    )
}

/// First address behind a prefix; `None`: there is none.
fn end(start: u128, len: u32) -> Option<u128> {
    start.checked_add(1u128.checked_shl(128 - len)?)
}

/// Intervals of nested prefixes of one family: start and length + 1 of the longest prefix, or 0.
fn intervals(mut prefixes: Vec<(u128, u32)>) -> Vec<(u128, u32)> {
    prefixes.sort_unstable();
    prefixes.dedup();
    let mut out: Vec<(u128, u32)> = vec![(0, 0)];
    let mut emit = |start: u128, matched: u32| match out.last_mut() {
        Some(last) if last.0 == start => last.1 = matched,
        Some(last) if last.1 == matched => {}
        _ => out.push((start, matched)),
    };
    // Prefixes nest or are apart: a stack holds those that enclose the current address.
    let mut open: Vec<(Option<u128>, u32)> = Vec::new();
    let close_until = |limit: Option<u128>,
                       open: &mut Vec<(Option<u128>, u32)>,
                       emit: &mut dyn FnMut(u128, u32)| {
        while let Some(&(Some(end), _)) = open.last() {
            if limit.is_some_and(|limit| end > limit) {
                break;
            }
            open.pop();
            emit(end, open.last().map_or(0, |&(_, len)| len + 1));
        }
    };
    for (start, len) in prefixes {
        close_until(Some(start), &mut open, &mut emit);
        emit(start, len + 1);
        open.push((end(start, len), len));
    }
    close_until(None, &mut open, &mut emit);
    out
}

/// The value of intervals at an address.
fn at(intervals: &[(u128, u32)], address: u128) -> u32 {
    let after = intervals.partition_point(|&(start, _)| start <= address);
    intervals
        .get(after.wrapping_sub(1))
        .map_or(0, |&(_, matched)| matched)
}

/// Intervals of both families; an IPv6 prefix never holds an IPv4 client, `::/0` neither.
fn both(prefixes: &[IpNet]) -> Vec<(u128, u32)> {
    let of = |v4: bool| {
        intervals(
            prefixes
                .iter()
                .filter(|p| p.addr().is_ipv4() == v4)
                .map(mapped)
                .collect(),
        )
    };
    let (v4, v6) = (of(true), of(false));
    let mapped_start = u128::from_be_bytes(address_bytes(Ipv4Addr::UNSPECIFIED.into()));
    let mapped_end = mapped_start + (1 << 32);
    let inside = |address: u128| (mapped_start..mapped_end).contains(&address);
    let mut starts: Vec<u128> = v4
        .iter()
        .map(|&(start, _)| start)
        .filter(|&start| inside(start))
        .chain(
            v6.iter()
                .map(|&(start, _)| start)
                .filter(|&start| !inside(start)),
        )
        .chain([mapped_start, mapped_end])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let mut out: Vec<(u128, u32)> = Vec::with_capacity(starts.len());
    for start in starts {
        let matched = at(if inside(start) { &v4 } else { &v6 }, start);
        if out.last().is_none_or(|&(_, before)| before != matched) {
            out.push((start, matched));
        }
    }
    out
}

/// Intervals of prefixes, without the addresses that others hold.
fn without(prefixes: &[IpNet], others: &[IpNet]) -> Vec<(u128, u32)> {
    let (wanted, taken) = (both(prefixes), both(others));
    let mut starts: Vec<u128> = wanted
        .iter()
        .chain(&taken)
        .map(|&(start, _)| start)
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let mut out: Vec<(u128, u32)> = Vec::with_capacity(starts.len());
    for start in starts {
        let matched = match at(&taken, start) {
            0 => at(&wanted, start),
            _ => 0,
        };
        if out.last().is_none_or(|&(_, before)| before != matched) {
            out.push((start, matched));
        }
    }
    out
}

/// Writes a route's prefixes, without the addresses that others hold: index + 1 of its [`SourcesRecord`], or 0, and its longest prefix + 1, or 0.
pub(super) fn write(prefixes: &[IpNet], others: &[IpNet], writer: &mut Writer) -> (u32, u32) {
    if prefixes.is_empty() {
        return (0, 0);
    }
    let longest = prefixes.iter().map(|p| mapped(p).1 + 1).max().unwrap_or(0);
    let intervals = without(prefixes, others);
    let intervals_len = to_u32(intervals.len());
    let intervals = writer.extend(intervals.into_iter().map(|(start, matched)| {
        let [a0, a1, a2, a3] = number_words(start);
        IntervalRecord {
            a0,
            a1,
            a2,
            a3,
            matched,
        }
    }));
    (
        writer.push(SourcesRecord {
            intervals,
            intervals_len,
        }) + 1,
        longest,
    )
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn longest(prefixes: &[IpNet], address: IpAddr) -> u32 {
        prefixes
            .iter()
            .filter(|p| p.contains(&address))
            .map(|p| mapped(p).1 + 1)
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn intervals_find_the_longest_prefix(
            v4 in proptest::collection::vec((0u32..64, 24u8..=32), 0..8),
            v6 in proptest::collection::vec((0u128..64, 120u8..=128), 0..4),
            all in proptest::bool::ANY,
            not in proptest::collection::vec((0u32..64, 24u8..=32), 0..4),
            probe in 0u32..70,
        ) {
            let mut prefixes: Vec<IpNet> = v4.iter().map(|&(a, len)| {
                IpNet::new(Ipv4Addr::from(0x0a00_0000 + a).into(), len).unwrap().trunc()
            }).collect();
            prefixes.extend(v6.iter().map(|&(a, len)| {
                IpNet::new(std::net::Ipv6Addr::from((0x2001 << 112) + a).into(), len).unwrap().trunc()
            }));
            if all {
                prefixes.push("::/0".parse().unwrap());
            }
            let others: Vec<IpNet> = not.iter().map(|&(a, len)| {
                IpNet::new(Ipv4Addr::from(0x0a00_0000 + a).into(), len).unwrap().trunc()
            }).collect();
            let both = without(&prefixes, &others);
            for address in [
                IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + probe)),
                IpAddr::V4(Ipv4Addr::from(0x0a00_0000u32.wrapping_sub(probe))),
                IpAddr::V6(std::net::Ipv6Addr::from((0x2001u128 << 112) + u128::from(probe))),
                IpAddr::V4(Ipv4Addr::BROADCAST),
                IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            ] {
                let number = u128::from_be_bytes(address_bytes(address));
                let wanted = match longest(&others, address) {
                    0 => longest(&prefixes, address),
                    _ => 0,
                };
                prop_assert_eq!(at(&both, number), wanted, "{}", address);
            }
        }
    }
}
