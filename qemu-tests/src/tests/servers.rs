// SPDX-License-Identifier: MIT
//! Real servers: what is set of them outlives tables, and whom the schedulers then pick.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Client;
use l7switch_netlink::Event;
use l7switch_netlink::Events;
use l7switch_netlink::MatchRequest;
use l7switch_netlink::ServerChange;
use l7switch_netlink::WeightChange;

use super::requests::rules;
use crate::kit::Module;

/// Rules with these servers in pools `one` and `two`.
fn pools(one: &str, two: &str) -> l7switch_rules::RuleSet {
    rules(&format!(
        "[service.web]\nlisten = \"10.0.1.100:80\"\nprotocol = \"http\"\n\
         [[service.web.route]]\npath = {{ prefix = \"/a\" }}\npool = \"one\"\n\
         [[service.web.route]]\npool = \"two\"\n\
         [pool.one]\nservers = [{one}]\n[pool.two]\nservers = [{two}]\n"
    ))
}

fn load(client: &mut Client, one: &str, two: &str) {
    client.load(pools(one, two).table.as_bytes()).unwrap();
}

fn server(last: u8) -> SocketAddr {
    ([10, 0, 2, last], 80).into()
}

/// State, weight in force, and the table's of a server.
fn standing(client: &mut Client, pool: &str, address: SocketAddr) -> (ServerState, u32, u32) {
    let servers = client.servers().unwrap();
    let server = servers
        .iter()
        .find(|server| server.pool == pool && server.address == address);
    let server = server.unwrap_or_else(|| panic!("{pool}/{address}: {servers:?}"));
    (server.state, server.weight, server.table_weight)
}

fn set(
    client: &mut Client,
    pool: Option<&str>,
    address: SocketAddr,
    state: Option<ServerState>,
    weight: Option<WeightChange>,
) -> u32 {
    let pool = pool.map(str::to_owned);
    let change = ServerChange {
        pool,
        address,
        state,
        weight,
    };
    client.set_server(&change).unwrap()
}

pub(super) fn what_is_set_of_servers_outlives_tables() {
    use ServerState::Down;
    use ServerState::Draining;
    use ServerState::Up;
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    load(
        &mut client,
        r#""10.0.2.2:80", { address = "10.0.2.3:80", weight = 3 }"#,
        r#""10.0.2.2:80", "10.0.2.4:80", "[fd00:2::2]:80""#,
    );
    let mut events = Events::open().unwrap();
    let own = client.port();
    // In one pool; in all; in one that has no other.
    assert_eq!(
        set(&mut client, Some("one"), server(2), Some(Draining), None),
        1
    );
    assert_eq!(
        set(
            &mut client,
            None,
            server(2),
            None,
            Some(WeightChange::To(9))
        ),
        2
    );
    assert_eq!(
        set(
            &mut client,
            None,
            server(4),
            Some(Down),
            Some(WeightChange::To(65_535))
        ),
        1
    );
    let six: SocketAddr = "[fd00:2::2]:80".parse().unwrap();
    assert_eq!(set(&mut client, None, six, Some(Draining), None), 1);
    let mut told = Vec::new();
    while let Some(event) = events.try_next().unwrap() {
        match event {
            Event::ServerChanged {
                pool,
                address,
                weight,
                state,
                by,
            } => {
                assert_eq!(by, own);
                told.push((pool, address, weight, state));
            }
            other => panic!("{other:?}"),
        }
    }
    let pool = |name: &str| name.to_owned();
    assert_eq!(
        told,
        [
            (pool("one"), server(2), 1, Draining),
            (pool("one"), server(2), 9, Draining),
            (pool("two"), server(2), 9, Up),
            (pool("two"), server(4), 65_535, Down),
            (pool("two"), six, 1, Draining),
        ]
    );

    // Another order, other weights, one new, one gone.
    load(
        &mut client,
        r#"{ address = "10.0.2.3:80", weight = 7 }, "10.0.2.3:81", { address = "10.0.2.2:80", weight = 5 }"#,
        r#""10.0.2.5:80", "[fd00:2::2]:80", { address = "10.0.2.4:80", weight = 2 }"#,
    );
    assert_eq!(standing(&mut client, "one", server(2)), (Draining, 9, 5));
    assert_eq!(
        standing(&mut client, "one", server(3)),
        (Up, 7, 7),
        "it follows the table"
    );
    assert_eq!(
        standing(&mut client, "one", ([10, 0, 2, 3], 81).into()),
        (Up, 1, 1),
        "another port is another server"
    );
    assert_eq!(standing(&mut client, "two", server(5)), (Up, 1, 1));
    assert_eq!(standing(&mut client, "two", server(4)), (Down, 65_535, 2));
    assert_eq!(standing(&mut client, "two", six), (Draining, 1, 1));

    // The table's weight again, and after that whatever the table says.
    set(
        &mut client,
        Some("one"),
        server(2),
        Some(Up),
        Some(WeightChange::Reset),
    );
    assert_eq!(standing(&mut client, "one", server(2)), (Up, 5, 5));
    load(
        &mut client,
        r#"{ address = "10.0.2.2:80", weight = 6 }"#,
        r#""10.0.2.2:80", { address = "10.0.2.4:80", weight = 3 }"#,
    );
    assert_eq!(standing(&mut client, "one", server(2)), (Up, 6, 6));
    // It had been set, and was gone for a table.
    assert_eq!(standing(&mut client, "two", server(2)), (Up, 1, 1));
    assert_eq!(standing(&mut client, "two", server(4)), (Down, 65_535, 3));

    // A load that is refused or given up changes nothing of them.
    let other = pools(
        r#"{ address = "10.0.2.2:80", weight = 50 }"#,
        r#""10.0.2.9:80""#,
    );
    let mut bad = other.table.as_bytes().to_vec();
    let middle = bad.len() / 2;
    bad.truncate(middle);
    let len = u32::try_from(bad.len()).unwrap();
    let begun = client.begin(len).unwrap();
    client.chunk(begun, 0, &bad).unwrap();
    client.commit(begun).unwrap_err();
    assert_eq!(standing(&mut client, "one", server(2)), (Up, 6, 6));

    // Without a table there are no servers: the next ones are new.
    client.unload().unwrap();
    assert_eq!(client.servers().unwrap(), []);
    load(&mut client, r#""10.0.2.2:80""#, r#""10.0.2.4:80""#);
    assert_eq!(standing(&mut client, "two", server(4)), (Up, 1, 1));
}

/// Whom the pools of the route that takes a path would pick.
fn picked(client: &mut Client, path: &str) -> BTreeMap<String, Option<SocketAddr>> {
    let found = client
        .match_request(&MatchRequest {
            service: Some("web".to_owned()),
            destination: None,
            source: Some([10, 1, 2, 3].into()),
            request: format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        })
        .unwrap();
    found
        .shares
        .into_iter()
        .map(|share| (share.pool, share.server))
        .collect()
}

pub(super) fn what_may_not_be_picked_is_not_picked() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    load(
        &mut client,
        r#""10.0.2.2:80", "10.0.2.3:80""#,
        r#""10.0.2.2:80""#,
    );
    for change in [
        (Some(ServerState::Down), None),
        (Some(ServerState::Draining), None),
        (None, Some(WeightChange::To(0))),
    ] {
        set(&mut client, None, server(2), change.0, change.1);
        assert_eq!(
            picked(&mut client, "/a")["one"],
            Some(server(3)),
            "{change:?}"
        );
        assert_eq!(picked(&mut client, "/b")["two"], None, "{change:?}");
        set(
            &mut client,
            None,
            server(2),
            Some(ServerState::Up),
            Some(WeightChange::Reset),
        );
        assert_eq!(picked(&mut client, "/b")["two"], Some(server(2)));
    }
}

/// Rules of pools that pick by the path's hash, with these servers.
fn hashing(servers: &[u8]) -> l7switch_rules::RuleSet {
    let servers: Vec<String> = servers
        .iter()
        .map(|last| format!("\"10.0.2.{last}:80\""))
        .collect();
    let servers = servers.join(", ");
    let pool = |name: &str| {
        format!(
            "[pool.{name}]\nscheduler = {{ name = \"{name}\", key = \"path\" }}\nservers = [{servers}]\n"
        )
    };
    rules(&format!(
        "[service.web]\nlisten = \"10.0.1.100:80\"\nprotocol = \"http\"\n\
         [[service.web.route]]\npools = [{{ name = \"mh\", weight = 1 }}, {{ name = \"ch\", weight = 1 }}]\n{}{}",
        pool("mh"),
        pool("ch")
    ))
}

pub(super) fn keys_stay_with_their_servers() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    client
        .load(hashing(&[2, 3, 4, 5, 6]).table.as_bytes())
        .unwrap();
    let paths: Vec<String> = (0..200).map(|number| format!("/item/{number}")).collect();
    let all = |client: &mut Client| -> Vec<BTreeMap<String, SocketAddr>> {
        let one = |path: &String| {
            let picked = picked(client, path).into_iter();
            picked
                .map(|(pool, server)| (pool, server.unwrap()))
                .collect()
        };
        paths.iter().map(one).collect()
    };
    let before = all(&mut client);
    for pool in ["mh", "ch"] {
        for last in 2..=6 {
            let keys = before
                .iter()
                .filter(|picked| picked[pool] == server(last))
                .count();
            println!("{pool}: {keys} keys for {}", server(last));
            assert!(keys > 10);
        }
    }
    // How many keys that `gone` did not have are elsewhere now; none may be at `gone`.
    let moved = |after: &[BTreeMap<String, SocketAddr>], pool: &str, gone: SocketAddr| {
        assert!(
            after.iter().all(|picked| picked[pool] != gone),
            "{pool} picks {gone}"
        );
        let stays = before
            .iter()
            .zip(after)
            .filter(|(before, _)| before[pool] != gone);
        stays
            .filter(|(before, after)| before[pool] != after[pool])
            .count()
    };
    let gone = server(4);
    for state in [ServerState::Draining, ServerState::Down] {
        assert_eq!(set(&mut client, None, gone, Some(state), None), 2);
        let after = all(&mut client);
        for pool in ["mh", "ch"] {
            assert_eq!(moved(&after, pool, gone), 0, "{pool}, {state:?}");
        }
        // They do not all go to one server.
        let heirs = |pool: &str| {
            let pairs = before
                .iter()
                .zip(&after)
                .filter(|(before, _)| before[pool] == gone);
            pairs
                .map(|(_, after)| after[pool])
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        assert!(heirs("mh") > 1 && heirs("ch") > 1);
        set(&mut client, None, gone, Some(ServerState::Up), None);
        assert_eq!(all(&mut client), before);
    }

    // The same servers in another order are the same.
    client
        .load(hashing(&[6, 4, 2, 5, 3]).table.as_bytes())
        .unwrap();
    let after = all(&mut client);
    for pool in ["mh", "ch"] {
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before[pool] != after[pool])
            .count();
        println!("{pool}: {moved} of 200 keys move with the order");
        assert_eq!(moved, 0, "{pool}");
    }

    // Out of the table, or of weight 0: a ring gives away only its keys, Maglev few others (NSDI 2016, 5.3).
    client
        .load(hashing(&[2, 3, 5, 6]).table.as_bytes())
        .unwrap();
    let after = all(&mut client);
    let (mh, ch) = (moved(&after, "mh", gone), moved(&after, "ch", gone));
    println!("out of the table: mh moves {mh} other keys, ch {ch}");
    assert!(mh < 20 && ch == 0, "{mh}, {ch}");
    client
        .load(hashing(&[2, 3, 4, 5, 6]).table.as_bytes())
        .unwrap();
    assert_eq!(all(&mut client), before);
    set(&mut client, None, gone, None, Some(WeightChange::To(0)));
    let after = all(&mut client);
    let (mh, ch) = (moved(&after, "mh", gone), moved(&after, "ch", gone));
    println!("of weight 0: mh moves {mh} other keys, ch {ch}");
    assert!(mh < 20 && ch == 0, "{mh}, {ch}");
    set(&mut client, None, gone, None, Some(WeightChange::Reset));
    assert_eq!(all(&mut client), before);
}
