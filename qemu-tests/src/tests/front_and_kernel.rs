// SPDX-License-Identifier: MIT
//! The front and the module beside it: in step as docs/front.md says, and the front alone where there is no module.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Client;
use serde_json::Value;

use super::tables::Done;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Origin;
use crate::kit::Process;
use crate::kit::network::VIP;
use crate::kit::process::Signal;
use crate::kit::wait_until;

/// The rule file.
const RULES: &str = "/tmp/rules.toml";

/// Rules with a pool of two servers; `pool` is more of it.
fn rules(pool: &str) -> String {
    format!(
        "[service.web]\nlisten = \"{VIP}:8080\"\nprotocol = \"http\"\n[[service.web.route]]\nname = \"all\"\npool = \"p\"\n\
         [pool.p]\nservers = [\"10.0.2.2:80\", \"10.0.2.3:80\"]\n{pool}\n"
    )
}

/// A network with a front on the switch.
struct Setup {
    network: Network,
    origins: Vec<Origin>,
    front: Process,
}

impl Setup {
    fn new(rules: &str, options: &str) -> Self {
        let network = Network::new();
        let origins = network.servers.iter().map(Origin::start).collect();
        fs::write(RULES, rules).unwrap();
        let front = Self::start(&network, options);
        Self {
            network,
            origins,
            front,
        }
    }

    fn start(network: &Network, options: &str) -> Process {
        let line = format!("l7switch {RULES} --admin /tmp/admin --no-watch {options}");
        let mut front = network.switch.start(&line);
        front.wait_for_output("ready,");
        front
    }

    fn ctl(&self, command: &str) -> String {
        self.network
            .switch
            .run(&format!("l7ctl --admin /tmp/admin {command}"))
    }

    /// The line of `l7ctl status` about the kernel.
    fn kernel_line(&self) -> String {
        let status = self.ctl("status");
        let line = status.lines().find(|line| line.starts_with("kernel: "));
        line.unwrap_or_else(|| panic!("{status}")).to_owned()
    }

    fn wait_for_kernel(&self, words: &str) {
        let mut line = String::new();
        wait_until(&format!("status says {words}"), || {
            let now = self.kernel_line();
            if now != line {
                println!("{now}");
                line = now;
            }
            line.contains(words)
        });
    }

    fn reload(&self, rules: &str) {
        fs::write(RULES, rules).unwrap();
        self.ctl("reload");
    }

    fn client(&self) -> Client {
        self.network.switch.inside(|| Client::open().unwrap())
    }

    /// State and weight of the first server in the kernel.
    fn in_kernel(&self, client: &mut Client) -> (ServerState, u32) {
        let servers = client.servers().unwrap();
        let server = servers
            .iter()
            .find(|server| server.address == ([10, 0, 2, 2], 80).into());
        let server = server.unwrap_or_else(|| panic!("{servers:?}"));
        (server.state, server.weight)
    }

    fn wait_for_server(&self, client: &mut Client, wanted: (ServerState, u32)) {
        wait_until(&format!("the kernel's server is {wanted:?}"), || {
            self.in_kernel(client) == wanted
        });
    }

    /// State and weight of the first server at the front.
    fn at_front(&self) -> (String, u64) {
        let servers: Value = serde_json::from_str(&self.ctl("servers --json")).unwrap();
        let mut all = servers["servers"].as_array().unwrap().iter();
        let server = all
            .find(|server| server["address"] == "10.0.2.2:80")
            .unwrap();
        let state = server["state"].as_str().unwrap().to_owned();
        (state, server["effective_weight"].as_u64().unwrap())
    }

    fn wait_for_front(&self, state: &str, weight: u64) {
        wait_until(
            &format!("the front's server is {state} with weight {weight}"),
            || self.at_front() == (state.to_owned(), weight),
        );
    }

    fn get(&self) -> String {
        self.network.client.get(&format!("http://{VIP}:8080/"))
    }
}

pub(super) fn the_front_loads_its_rules_and_says_who_replaced_them() {
    let _module = Module::load();
    let mut setup = Setup::new(&rules(""), "");
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 1");
    let mut client = setup.client();
    let module = client.module().unwrap();
    assert_eq!(
        (module.generation, module.routes, module.servers),
        (1, 1, 2)
    );
    let matched = setup
        .network
        .switch
        .run(&format!("l7ctl kernel match http://{VIP}:8080/x"));
    assert!(matched.contains("all"), "{matched}");

    // A reload is done when both have the rules.
    let more = rules("").replace("[pool.p]", "[[service.web.route]]\nname = \"more\"\npath = { prefix = \"/x\" }\npool = \"p\"\n[pool.p]");
    setup.reload(&more);
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 2");
    let matched = setup
        .network
        .switch
        .run(&format!("l7ctl kernel match http://{VIP}:8080/x"));
    assert!(matched.contains("more"), "{matched}");
    // Wrong rules change neither.
    fs::write(RULES, "[service.web]\n").unwrap();
    assert!(
        !setup
            .network
            .switch
            .attempt("l7ctl --admin /tmp/admin reload")
            .is_good()
    );
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 2");

    // Someone else's table stays until the next reload.
    setup
        .network
        .switch
        .run("l7ctl kernel load /l7/share/examples/quickstart.toml");
    setup.wait_for_kernel("replaced, generation 3");
    setup.ctl("drain p/10.0.2.2:80");
    setup.get();
    setup.reload(&rules(""));
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 4");
    // Its standing came with it.
    setup.wait_for_server(&mut client, (ServerState::Draining, 1));
    setup.ctl("undrain p/10.0.2.2:80");
    setup.network.switch.run("l7ctl kernel unload");
    setup.wait_for_kernel("kernel: unloaded");
    setup.reload(&rules(""));
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 6");

    // The table outlives the front, and the next one loads its own.
    setup.front.signal(Signal::TERM);
    assert!(setup.front.wait().success());
    assert_eq!(client.module().unwrap().generation, 6);
    assert!(client.module().unwrap().table_len.is_some());
    setup.front = Setup::start(&setup.network, "--kernel require");
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 7");
    setup.get();
}

pub(super) fn rules_that_the_kernel_refuses_are_the_fronts_alone() {
    let _module = Module::try_load("max_table_len=2000").unwrap();
    let mut setup = Setup::new(&rules(""), "");
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 1");
    let mut long = rules("");
    for route in 0..100 {
        let _ = write!(
            long,
            "[[service.web.route]]\npath = {{ prefix = \"/long/{route}\" }}\nrespond = {{ status = 200, body = \"{route}\\n\" }}\n"
        );
    }
    setup.reload(&long);
    let line = setup.kernel_line();
    assert!(
        line.starts_with("kernel: refused: ") && line.contains("max_table_len"),
        "{line}"
    );
    // Nothing rather than older rules.
    let mut client = setup.client();
    assert_eq!(client.module().unwrap().table_len, None);
    let answer = setup
        .network
        .client
        .get(&format!("http://{VIP}:8080/long/77"));
    assert_eq!(answer, "77\n");
    setup.get();
    setup.reload(&rules(""));
    assert!(setup.kernel_line().starts_with("kernel: loaded generation"));
    assert!(client.module().unwrap().table_len.is_some());

    // From the start: it goes on without, unless it is required.
    setup.front.signal(Signal::TERM);
    setup.front.wait();
    fs::write(RULES, &long).unwrap();
    let attempt = setup.network.switch.attempt(&format!(
        "timeout $LIMIT l7switch {RULES} --admin /tmp/admin --kernel require"
    ));
    assert_eq!(attempt.code(), 1, "{attempt:?}");
    assert!(attempt.stderr.contains("max_table_len"), "{attempt:?}");
    setup.front = Setup::start(&setup.network, "");
    assert!(setup.kernel_line().starts_with("kernel: refused: "));
    assert_eq!(client.module().unwrap().table_len, None);
    setup.get();
}

pub(super) fn without_the_module_the_front_says_so() {
    let setup = Setup::new(&rules(""), "");
    assert_eq!(setup.kernel_line(), "kernel: not loaded");
    setup.get();
    let other = rules("").replace(":8080", ":8090");
    fs::write("/tmp/other.toml", other).unwrap();
    let line = "timeout $LIMIT l7switch /tmp/other.toml --admin /tmp/other --kernel require";
    let attempt = setup.network.switch.attempt(line);
    assert_eq!(attempt.code(), 1, "{attempt:?}");
    assert!(attempt.stderr.contains("modprobe l7switch"), "{attempt:?}");
    let _module = Module::load();
    let nobody =
        "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all";
    let attempt = setup.network.switch.attempt(&format!("{nobody} {line}"));
    assert_eq!(attempt.code(), 1, "{attempt:?}");
    assert!(attempt.stderr.contains("CAP_NET_ADMIN"), "{attempt:?}");
    setup.wait_for_kernel("loaded generation 1");
}

pub(super) fn the_module_goes_and_comes_while_the_front_serves() {
    let mut module = Module::load();
    let setup = Setup::new(&rules(""), "");
    let done = AtomicBool::new(false);
    let good = AtomicUsize::new(0);
    // A connection that the module has when it goes ends with it: the one at that moment.
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = &setup.network.client;
            while !done.load(Relaxed) {
                let counter = match client.try_get(&format!("http://{VIP}:8080/")) {
                    Ok(_) => &good,
                    Err(problem) if problem.contains("reset by peer") => &ended,
                    Err(problem) => panic!("{problem}"),
                };
                counter.fetch_add(1, Relaxed);
                // The others want the processor, too.
                thread::sleep(Duration::from_millis(20));
            }
        });
        let _done = Done(&done);
        let served = || {
            let before = good.load(Relaxed);
            wait_until("requests are served", || good.load(Relaxed) > before + 1);
        };
        served();
        for _ in 0..2 {
            assert_eq!(setup.kernel_line(), "kernel: loaded generation 1");
            module.unload().unwrap();
            setup.wait_for_kernel("not loaded");
            served();
            module = Module::load();
            setup.wait_for_kernel("loaded generation 1");
            assert_eq!(setup.client().servers().unwrap().len(), 2);
            served();
        }
        // A table under way, too, and events that wait.
        let mut client = setup.client();
        client.begin(10_000).unwrap();
        client.reset_counters().unwrap();
        module.unload().unwrap();
        assert!(client.module().is_err());
        setup.wait_for_kernel("not loaded");
        served();
    });
    println!("{good:?} requests, {ended:?} ended with the module");
    assert!(ended.into_inner() <= 3, "once for each time that it goes");
}

pub(super) fn servers_are_kept_in_step_both_ways() {
    let _module = Module::load();
    let setup = Setup::new(&rules(""), "");
    let mut client = setup.client();
    assert_eq!(setup.in_kernel(&mut client), (ServerState::Up, 1));
    let at_front = |command: &str| drop(setup.ctl(command));
    let in_kernel = |command: &str| {
        drop(
            setup
                .network
                .switch
                .run(&format!("l7ctl kernel set {command}")),
        )
    };

    at_front("drain p/10.0.2.2:80");
    setup.wait_for_server(&mut client, (ServerState::Draining, 1));
    at_front("weight 10.0.2.2:80 5");
    setup.wait_for_server(&mut client, (ServerState::Draining, 5));
    at_front("undrain 10.0.2.2:80");
    setup.wait_for_server(&mut client, (ServerState::Up, 5));
    // A reload keeps what was set.
    setup.reload(&rules("").replace(
        "\"10.0.2.2:80\"",
        "{ address = \"10.0.2.2:80\", weight = 3 }",
    ));
    assert_eq!(setup.kernel_line(), "kernel: loaded generation 2");
    setup.wait_for_server(&mut client, (ServerState::Up, 5));
    at_front("weight 10.0.2.2:80 default");
    setup.wait_for_server(&mut client, (ServerState::Up, 3));
    // The kernel holds it as the table's, not as one that was set.
    setup.reload(&rules(""));
    setup.wait_for_server(&mut client, (ServerState::Up, 1));

    in_kernel("10.0.2.2:80 --state draining");
    setup.wait_for_front("draining", 0);
    in_kernel("10.0.2.2:80 --state down --weight 7");
    setup.wait_for_front("down", 7);
    assert_eq!(setup.get(), "server2\n");
    in_kernel("p/10.0.2.2:80 --state up");
    setup.wait_for_front("up", 7);
    in_kernel("p/10.0.2.2:80 --weight default");
    setup.wait_for_front("up", 1);
    // Both ends stand where they were left.
    setup.wait_for_server(&mut client, (ServerState::Up, 1));
    let status = setup.ctl("status --json");
    let status: Value = serde_json::from_str(&status).unwrap();
    println!("{}", status["kernel"]);
    assert!(status["kernel"]["changes_taken"].as_u64().unwrap() >= 4);
    assert_eq!(status["kernel"]["failures"], 0);
}

pub(super) fn what_checks_find_is_set_in_the_kernel() {
    let _module = Module::load();
    let check =
        "health = { tcp = true, interval = \"200ms\", timeout = \"150ms\", rise = 2, fall = 2 }";
    let mut setup = Setup::new(&rules(check), "");
    let mut client = setup.client();
    setup.wait_for_server(&mut client, (ServerState::Up, 1));
    drop(setup.origins.remove(0));
    setup.wait_for_server(&mut client, (ServerState::Down, 1));
    assert_eq!(setup.get(), "server2\n");
    // Someone who sets it up does not know better.
    setup
        .network
        .switch
        .run("l7ctl kernel set 10.0.2.2:80 --state up");
    setup.wait_for_server(&mut client, (ServerState::Down, 1));
    let origin = Origin::start(&setup.network.servers[0]);
    setup.wait_for_server(&mut client, (ServerState::Up, 1));
    setup.origins.push(origin);
}
