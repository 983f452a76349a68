// SPDX-License-Identifier: MIT
//! Who may: with CAP_NET_ADMIN in the user namespace that owns the network namespace, and nobody else; and that network
//! namespaces are apart.

use std::fs;
use std::time::Duration;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::FAMILY;
use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::Event;
use l7switch_netlink::Events;
use l7switch_netlink::ServerChange;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use rustix::thread::set_capabilities;

use super::requests::RULES;
use super::requests::rules;
use super::tables::REQUESTS;
use super::tables::ask;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Origin;
use crate::kit::netlink::ACK;
use crate::kit::netlink::DUMP;
use crate::kit::netlink::Raw;
use crate::kit::network::Network;
use crate::kit::network::VIP;

/// Every command, with the flags that it is given with.
fn commands() -> Vec<(Command, u16)> {
    let commands = (1..=12).chain([Command::RouteGet.number()]);
    let commands = commands.filter_map(Command::from_number);
    commands
        .map(|command| match command {
            Command::ServiceGet | Command::ServerGet | Command::FlowGet | Command::RouteGet => {
                (command, DUMP)
            }
            _ => (command, ACK),
        })
        .collect()
}

/// Calls a function in a thread that may nothing.
fn without_rights<T: Send>(function: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            set_capabilities(None, sets).unwrap();
            function()
        });
        thread.join().unwrap()
    })
}

pub(super) fn without_cap_net_admin_nothing_is_told_or_done() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    client.load(rules(RULES).table.as_bytes()).unwrap();
    let before = client.module().unwrap();
    let refuse_all = |raw: &Raw| {
        let family = raw.family();
        for (command, flags) in commands() {
            for attributes in [&[][..], &[8, 0, 1, 0, 1, 0, 0, 0]] {
                assert_eq!(
                    raw.errno(family, flags, command, attributes),
                    Errno::PERM.raw_os_error(),
                    "{command:?}"
                );
            }
        }
    };
    // A socket that one without rights has opened is of no use to one with them, nor the other way round.
    let opened = without_rights(|| {
        let raw = Raw::open();
        refuse_all(&raw);
        assert!(matches!(Client::open(), Err(Error::NotPermitted)));
        let events = Events::open();
        assert!(matches!(events, Err(Error::NotPermitted)), "{events:?}");
        raw
    });
    refuse_all(&opened);
    let own = Raw::open();
    without_rights(|| refuse_all(&own));
    without_rights(|| {
        let error = client.unload().unwrap_err();
        assert!(matches!(error, Error::NotPermitted), "{error}");
        assert!(matches!(client.servers(), Err(Error::NotPermitted)));
    });

    // As programs: another user; root without the capability; root of another user namespace, in this network.
    let host = Host::new("other");
    host.run("l7ctl kernel load /l7/share/examples/quickstart.toml");
    let nobody =
        "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all";
    for who in [
        format!("{nobody} sh"),
        "capsh --drop=cap_net_admin --".to_owned(),
        "unshare --user --map-root-user sh".to_owned(),
        format!("{nobody} unshare --user --map-root-user sh"),
    ] {
        // One after the other by one shell: entering each for itself takes longer.
        let commands = [
            "status",
            "unload",
            "servers",
            "flows",
            "watch --count 1",
            "reset-counters",
        ];
        // What a command prints is printed; of its errors, whether they say what is missing.
        let lines = commands.map(|command| {
            format!(
                "{{ errors=$(l7ctl kernel {command} 2>&1 >&3) || echo code $?; }} 3>&1\n\
                 case $errors in *CAP_NET_ADMIN*) echo told ;; *) echo \"$errors\" ;; esac"
            )
        });
        fs::write("/tmp/commands", lines.join("\n")).unwrap();
        let attempt = host.attempt(&format!("{who} /tmp/commands"));
        assert_eq!(
            attempt.stdout,
            "code 2\ntold\n".repeat(commands.len()),
            "{who}: {attempt:?}"
        );
    }
    assert!(
        host.run("l7ctl kernel status").contains("quickstart")
            || host.run("l7ctl kernel servers").contains("127.0.0.1")
    );

    // Refusals for want of rights are not even counted.
    assert_eq!(client.module().unwrap(), before);
}

pub(super) fn a_user_may_load_a_table_in_a_namespace_of_his_own() {
    let module = Module::load();
    let mut client = Client::open().unwrap();
    client.load(rules(RULES).table.as_bytes()).unwrap();
    let before = client.module().unwrap();
    let host = Host::new("users");
    let printed = host.run(
        "setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user --map-root-user --net sh -euc '\
         ip link set lo up; \
         l7ctl kernel load /l7/share/examples/quickstart.toml; \
         l7ctl kernel set 127.0.0.1:9001 --state down; \
         l7ctl kernel match http://127.0.0.1:8080/img/x; \
         l7ctl kernel status; \
         l7ctl kernel reset-counters'",
    );
    assert!(printed.contains("static"), "{printed}");
    let after = client.module().unwrap();
    assert_eq!(
        (after.generation, after.table_len),
        (before.generation, before.table_len)
    );
    // The namespace that ended with a table holds nothing.
    client.unload().unwrap();
    drop(client);
    module.unload_soon();
}

pub(super) fn namespaces_are_apart() {
    let module = Module::load();
    let network = Network::with_servers(1);
    let _origin = Origin::start(&network.switch);
    let other = Host::new("other");
    let mut one = network.switch.inside(|| Client::open().unwrap());
    let mut two = other.inside(|| Client::open().unwrap());
    let mut events_one = network.switch.inside(|| Events::open().unwrap());
    let mut events_two = other.inside(|| Events::open().unwrap());
    let table = rules(RULES);
    let table = table.table.as_bytes();
    one.load(table).unwrap();
    let empty = two.module().unwrap();
    assert_eq!((empty.generation, empty.table_len), (0, None));
    assert_eq!(two.servers().unwrap(), []);
    assert_eq!(ask(&mut two, REQUESTS[0]).unwrap_err().errno(), Some(2));
    assert_eq!(events_two.try_next().unwrap(), None);
    assert!(matches!(
        events_one.try_next().unwrap(),
        Some(Event::TableReplaced { generation: 1, .. })
    ));

    // Two loads at once, each its own.
    let begun = one.begin(1000).unwrap();
    assert_eq!(two.module().unwrap().loading, None);
    assert_eq!(two.abort(begun).unwrap_err().errno(), Some(2));
    two.load(table).unwrap();
    one.abort(begun).unwrap();
    assert!(matches!(
        events_two.try_next().unwrap(),
        Some(Event::TableReplaced { generation: 1, .. })
    ));
    assert_eq!(events_one.try_next().unwrap(), None);

    // Servers and counters.
    let down = ServerChange {
        pool: None,
        address: ([10, 0, 2, 2], 80).into(),
        state: Some(ServerState::Down),
        weight: None,
    };
    assert_eq!(one.set_server(&down).unwrap(), 4);
    let states = |client: &mut Client| {
        let servers = client.servers().unwrap();
        servers
            .iter()
            .filter(|server| server.state == ServerState::Down)
            .count()
    };
    assert_eq!((states(&mut one), states(&mut two)), (4, 0));
    assert_eq!(
        events_two.wait(Some(Duration::from_millis(50))).unwrap(),
        None
    );
    let flows_before = two.flows().unwrap();
    network.client.get(&format!("http://{VIP}/"));
    assert_eq!(one.flows().unwrap().len(), 1);
    assert_eq!(two.flows().unwrap(), flows_before);
    assert_eq!(two.services().unwrap()[0].traffic.packets, 0);
    one.unload().unwrap();
    assert_eq!(ask(&mut two, REQUESTS[0]).unwrap().generation, 1);

    // A namespace that ends with a table and a load under way, and one whose table stays, leave nothing behind.
    two.begin(100_000).unwrap();
    drop((two, events_two));
    other.run("ip netns del other");
    drop((one, events_one, other));
    module.unload_soon();
    assert!(crate::kit::module::users(FAMILY).is_none());
}
