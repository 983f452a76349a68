// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Maglev tables: that they are IPVS's, and the paper's properties.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::sched::tests::endpoint;
use crate::sched::tests::servers;
use crate::sched::tests::Bench;
use crate::sched::Ask;
use crate::sched::Kind;

fn filled(size: usize, servers: &[Server]) -> Vec<u16> {
    let mut table = vec![0; size];
    fill(
        &mut table,
        &mut vec![Turn::default(); servers.len()],
        servers,
    )
    .unwrap();
    table
}

/// How many slots each server has.
fn shares(table: &[u16], servers: usize) -> Vec<usize> {
    (0..servers)
        .map(|of| {
            table
                .iter()
                .filter(|&&slot| usize::from(slot) == of)
                .count()
        })
        .collect()
}

/// FNV-1a over the slots, so that a whole table fits a vector.
fn fingerprint(table: &[u16]) -> u64 {
    table
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &slot| {
            (hash ^ u64::from(slot)).wrapping_mul(0x100_0000_01b3)
        })
}

/// Tables that ip_vs_mh.c's algorithm fills for servers added in this order: size, weights of
/// 10.0.0.1, 10.0.0.2 …, port, fingerprint, slots of each.
#[test]
fn fills_the_table_of_ipvs() {
    type Vector = (usize, &'static [u32], u16, u64, &'static [usize]);
    let vectors: [Vector; 5] = [
        (251, &[1, 1, 1], 80, 0x0761_75f9_08ab_0c5d, &[84, 84, 83]),
        (
            4093,
            &[1, 1, 1],
            80,
            0x8bd4_6da7_dc88_17ff,
            &[1365, 1364, 1364],
        ),
        (
            4093,
            &[3, 1, 0, 2],
            8080,
            0xfad0_1975_b2cf_16c9,
            &[2047, 682, 0, 1364],
        ),
        (
            4093,
            &[1000, 999, 7],
            80,
            0xada1_8135_9e6a_3cc4,
            &[2046, 2015, 32],
        ),
        (
            131_071,
            &[1000, 999, 7],
            80,
            0xbc89_4122_dc78_009b,
            &[65571, 65238, 262],
        ),
    ];
    for (size, weights, port, print, slots) in vectors {
        let named = |(&weight, number): (&u32, usize)| {
            Server::new(
                Endpoint {
                    port,
                    ..endpoint(number)
                },
                weight,
            )
        };
        let servers: Vec<Server> = weights.iter().zip(1..).map(named).collect();
        let table = filled(size, &servers);
        assert_eq!(shares(&table, servers.len()), slots);
        assert_eq!(fingerprint(&table), print, "{size} {weights:?}");
    }
}

/// 2001:db8::1 to ::3, port 443.
#[test]
fn folds_ipv6_as_ipvs_does() {
    let servers = [1, 2, 3].map(|number| {
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number];
        Server::new(Endpoint { address, port: 443 }, u32::from(number) * 2)
    });
    let table = filled(DEFAULT_SIZE, &servers);
    assert_eq!(shares(&table, 3), [683, 1364, 2046]);
    assert_eq!(fingerprint(&table), 0xe66d_90d2_e803_1ae9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Every slot is taken. In each round a server takes as many slots as it has turns, and
    /// only the last round is cut: shares differ from the turns' proportion by less than a
    /// round.
    #[test]
    fn shares_are_proportional(weights in prop::collection::vec(1..16_u32, 1..30)) {
        let servers = servers(&weights);
        let shares = shares(&filled(DEFAULT_SIZE, &servers), servers.len());
        prop_assert_eq!(shares.iter().sum::<usize>(), DEFAULT_SIZE);
        let total: u32 = weights.iter().sum();
        for (share, weight) in shares.into_iter().zip(weights) {
            let fair = DEFAULT_SIZE * weight as usize / total as usize;
            prop_assert!(share.abs_diff(fair) <= weight as usize, "{} {}", share, fair);
        }
    }

    /// Two switches whose lists are in other orders send a key to the same server.
    #[test]
    fn the_order_of_the_list_changes_nothing(
        weights in prop::collection::vec(0..300_u32, 1..20),
        turn in 0..20_usize,
    ) {
        let mut numbers: Vec<usize> = (0..weights.len()).collect();
        let listed = servers(&weights);
        let one = filled(1021, &listed);
        numbers.rotate_left(turn % weights.len());
        numbers.reverse();
        let other: Vec<Server> = numbers
            .iter()
            .map(|&number| Server::new(listed[number].endpoint(), weights[number]))
            .collect();
        for (one, other) in one.into_iter().zip(filled(1021, &other)) {
            let other = numbers.get(usize::from(other)).map_or(EMPTY, |&number| number as u16);
            prop_assert_eq!(one, other);
        }
    }

    /// All weights have the same number of turns, as without weights in the paper: removing
    /// one of N moves its 1/N of slots, and of the others' no more than 5 % of the table.
    #[test]
    fn removing_one_disturbs_little(count in 2..40_usize, gone in 0..40_usize) {
        let gone = gone % count;
        let all = servers(&vec![1; count]);
        let rest: Vec<Server> = (0..count)
            .filter(|&index| index != gone)
            .map(|index| Server::new(all[index].endpoint(), 1))
            .collect();
        let before = filled(DEFAULT_SIZE, &all);
        let after = filled(DEFAULT_SIZE, &rest);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|&(&before, &after)| {
                let before = usize::from(before);
                let after = usize::from(after);
                before != after + usize::from(after >= gone)
            })
            .count();
        let bound = DEFAULT_SIZE.div_ceil(count) + DEFAULT_SIZE / 20;
        prop_assert!(moved <= bound, "{} of {} moved for 1/{}", moved, DEFAULT_SIZE, count);
    }
}

#[test]
fn an_unavailable_servers_keys_spread_and_others_stay() {
    let bench = Bench::new(Kind::Mh, &[1; 5]);
    let before = bench.picks(8000);
    bench.servers[2].set_available(false);
    let after = bench.picks(8000);
    let mut substitutes = [0; 5];
    for (&before, &after) in before.iter().zip(&after) {
        if before == 2 {
            substitutes[after] += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    // 1600 keys over four; 6 sigma are 104.
    assert_eq!(substitutes[2], 0);
    assert!(
        substitutes
            .iter()
            .filter(|&&count| (290..510).contains(&count))
            .count()
            == 4
    );
    // Whoever has found a substitute stays with it when another server goes.
    bench.servers[4].set_available(false);
    for (&before, later) in after.iter().zip(bench.picks(8000)) {
        assert!(before == later || before == 4);
    }
    bench.servers[4].set_available(true);
    bench.servers[2].set_available(true);
    assert_eq!(bench.picks(8000), before);
}

#[test]
fn refuses_buffers_that_do_not_fit() {
    let servers = servers(&[1, 1]);
    let turns = || vec![Turn::default(); 2];
    assert_eq!(
        fill(&mut [0; 250], &mut turns(), &servers),
        Err(FillError::Size)
    );
    assert_eq!(
        fill(&mut [0; 1], &mut turns(), &servers),
        Err(FillError::Servers)
    );
    assert_eq!(
        fill(&mut [0; 251], &mut turns()[..1], &servers),
        Err(FillError::Scratch)
    );
}

#[test]
fn without_a_weight_every_slot_is_empty() {
    assert!(filled(251, &servers(&[0, 0]))
        .iter()
        .all(|&slot| slot == EMPTY));
    let bench = Bench::new(Kind::Mh, &[0, 0]);
    let ask = Ask {
        hash: 1,
        random: 1,
        now_ns: 0,
    };
    assert_eq!(bench.pool().pick(&ask, |_| false), None);
}

#[test]
fn a_size_is_a_prime_with_a_hundred_slots_each() {
    assert!(SIZES.iter().all(|size| (2..*size)
        .take_while(|d| d * d <= *size)
        .all(|d| size % d != 0)));
    assert_eq!(
        [1, 40, 41, 128, 655, 656, 9999].map(size_for),
        [4093, 4093, 8191, 16381, 65521, 131_071, 131_071]
    );
}
