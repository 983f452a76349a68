// SPDX-License-Identifier: MIT
//! The kernel's own tool for netlink (tools/net/ynl) is a client by kmod/netlink/l7switch.yaml alone: so what that says is
//! true.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;

use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_netlink::Client;
use serde_json::Value;

use super::requests::RULES;
use super::requests::rules;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Origin;
use crate::kit::network::VIP;
use crate::kit::wait_until;

/// A load needs one socket from begin to commit, so it takes the tool's library. Prints JSON, an array of a thing asked
/// and its answer a line.
const SCRIPT: &str = r#"
import json, sys
sys.path.append("/l7/share/pyynl")
from lib import YnlFamily, NlError

SPEC = "/l7/share/netlink/specs/l7switch.yaml"
client = YnlFamily(SPEC, schema="")
listener = YnlFamily(SPEC, schema="")
listener.ntf_subscribe("events")

def plain(value):
    return value.hex() if isinstance(value, bytes) else sorted(value)

def show(name, value):
    print(json.dumps([name, value], default=plain), flush=True)

def refused(name, attributes):
    try:
        client.do(name, attributes)
    except NlError as error:
        show("refused " + name, str(error))

table = open("/tmp/table", "rb").read()
show("module", client.do("module-get", {}))
longest = client.do("module-get", {})["max-chunk-len"]
begun = client.do("table-begin", {"len": len(table)})
show("begin", begun)
for offset in range(0, len(table), longest):
    data = table[offset:offset + longest]
    # As hexadecimal digits, and as bytes.
    data = data.hex() if offset == 0 else data
    client.do("table-chunk", {**begun, "offset": offset, "data": data})
show("loading", client.do("module-get", {})["loading"])
refused("table-chunk", {**begun, "offset": 1, "data": "00"})
show("commit", client.do("table-commit", begun))
refused("table-commit", begun)
begun = client.do("table-begin", {"len": 4096})
show("abort", client.do("table-abort", begun))
show("module", client.do("module-get", {}))
show("services", client.dump("service-get", {}))
show("servers", client.dump("server-get", {}))
show("flows", client.dump("flow-get", {}))
show("routes", client.dump("route-get", {}))
show("set", client.do("server-set", {"address": "::ffff:10.0.2.3", "port": 80, "weight": 7, "state": "draining"}))
show("set", client.do("server-set", {"pool": "three", "address": "fd00:2::2", "port": 80, "weight": 0}))
show("set", client.do("server-set", {"pool": "three", "address": "fd00:2::2", "port": 80, "reset-weight": True}))
refused("server-set", {"address": "::ffff:10.0.2.3", "port": 80, "weight": 65536})
refused("server-set", {"address": "::ffff:10.9.9.9", "port": 80, "weight": 1})
refused("server-set", {"port": 80, "weight": 1})
request = b"GET /a/17 HTTP/1.1\r\nHost: x.a.b\r\n\r\n"
show("match", client.do("request-match", {"service": "web", "source": "::ffff:10.1.0.1", "request": request}))
virtual = {"address": "fd00:1::100", "port": 80}
show("match", client.do("request-match", {"virtual": virtual, "request": (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").hex()}))
show("match", client.do("request-match", {"service": "web", "request": b"GET /a/%zz HTTP/1.1\r\nHost: a\r\n\r\n"}))
show("reset", client.do("counters-reset", {}))
show("unload", client.do("table-unload", {}))
for event in listener.poll_ntf(duration=0):
    pass
listener.check_ntf()
while not listener.async_msg_queue.empty():
    event = listener.async_msg_queue.get()
    show("event " + event["name"], event["msg"])
"#;

pub(super) fn the_kernels_tool_is_a_client() {
    let _module = Module::load();
    let network = Network::with_servers(0);
    let _origin = Origin::start(&network.switch);
    let host = &network.switch;
    let table = rules(RULES);
    fs::write("/tmp/table", table.table.as_bytes()).unwrap();
    fs::write("/tmp/client.py", SCRIPT).unwrap();
    // A table, so that the next one finds a flow.
    let mut client = host.inside(|| Client::open().unwrap());
    client.load(table.table.as_bytes()).unwrap();
    // Held open: a closed one would be forgotten before a slow interpreter asks.
    let mut open = network.client.connect((VIP, 80));
    open.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert!(open.read(&mut [0; 1024]).unwrap() > 0);

    let printed = host.run("python3 /tmp/client.py");
    println!("{printed}");
    let mut lines = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut next = |name: &str| {
        let line = lines.next().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(line[0], name, "{line}");
        line[1].clone()
    };

    let module = next("module");
    assert_eq!(module["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(module["generation"], 1);
    assert_eq!(module["max-chunk-len"], MAX_ATTRIBUTE);
    assert!(module["loading"].is_null());
    let begun = next("begin")["transaction"].clone();
    assert_eq!(next("loading"), begun);
    let error = next("refused table-chunk");
    assert!(error.as_str().unwrap().contains("out of order"), "{error}");
    assert_eq!(next("commit")["generation"], 2);
    let error = next("refused table-commit");
    assert!(
        error.as_str().unwrap().contains("there is no load"),
        "{error}"
    );
    assert!(next("abort").is_null());
    let module = next("module");
    assert_eq!(module["table-len"], table.table.as_bytes().len());
    assert_eq!(
        (&module["services"], &module["routes"]),
        (&1.into(), &10.into())
    );
    assert_eq!(
        (&module["pools"], &module["servers"]),
        (&4.into(), &8.into())
    );
    assert_eq!(module["flows"], 1);
    let states = module["flow-count"].as_array().unwrap();
    let of = |state: &str| states.iter().find(|count| count["state"] == state).unwrap();
    assert_eq!((states.len(), &of("open")["count"]), (4, &1.into()));
    assert_eq!(of("closing")["count"], 0);
    let loaded = module["counter"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "tables_loaded");
    assert_eq!(loaded.unwrap()["value"], 2);

    let services = next("services");
    let service = &services[0];
    assert_eq!(
        (&service["name"], &service["protocol"]),
        (&"web".into(), &"http".into())
    );
    assert_eq!(service["datapath"], "auto");
    assert_eq!(service["listen"].as_array().unwrap().len(), 2);
    assert_eq!(service["listen"][1]["address"], "fd00:1::100");
    assert_eq!(service["traffic"]["connections"], 1);
    let servers = next("servers");
    let servers = servers.as_array().unwrap();
    assert_eq!(servers.len(), 8);
    let heavy = servers.iter().find(|server| server["weight"] == 3).unwrap();
    assert_eq!(
        (&heavy["pool"], &heavy["state"]),
        (&"two".into(), &"up".into())
    );
    assert_eq!(
        (&heavy["table-weight"], &heavy["scheduler"]),
        (&3.into(), &"wlc".into())
    );
    assert_eq!(heavy["address"], "::ffff:10.0.2.3");
    let flows = next("flows");
    let flow = &flows[0];
    assert_eq!(flow["service"], "web");
    assert_eq!(
        (&flow["virtual"]["port"], &flow["state"]),
        (&80.into(), &"open".into())
    );
    assert!(flow["packets"].as_u64().unwrap() >= 1 && flow["bytes"].as_u64().unwrap() > 70);

    let routes = next("routes");
    let routes = routes.as_array().unwrap();
    assert_eq!(routes.len(), 10);
    let (internal, unnamed, first) = (&routes[0], &routes[5], &routes[8]);
    assert_eq!(
        (&internal["service"], &internal["name"], &internal["action"]),
        (&"web".into(), &"internal".into(), &"forward".into())
    );
    assert_eq!(
        (&unnamed["position"], &unnamed["name"]),
        (&5.into(), &Value::Null)
    );
    assert_eq!(
        (&first["name"], &first["action"]),
        (&"first".into(), &"answer".into())
    );
    assert_eq!(first["traffic"]["requests"], 0);
    assert_eq!(first["traffic"]["responses-5xx"], 0);

    assert_eq!(next("set")["changed"], 3);
    assert_eq!(next("set")["changed"], 1);
    assert_eq!(next("set")["changed"], 1);
    for words in ["out of range", "no such server", "missing"] {
        let error = next("refused server-set");
        assert!(error.as_str().unwrap().contains(words), "{error}");
    }
    let found = next("match");
    assert_eq!(
        (&found["outcome"], &found["action"]),
        (&"route".into(), &"forward".into())
    );
    assert_eq!(
        (&found["route"], &found["route-name"]),
        (&3.into(), &"regex".into()),
        "{found}"
    );
    assert_eq!(found["host"], "782e612e62", "the host is bytes: x.a.b");
    assert_eq!(
        (&found["share"][0]["pool"], &found["share"][0]["weight"]),
        (&"two".into(), &1.into())
    );
    assert_eq!(found["share"][0]["server"]["port"], 80);
    let found = next("match");
    assert_eq!(
        (&found["route-name"], &found["action"]),
        (&"first".into(), &"answer".into())
    );
    assert!(found["share"].is_null());
    let found = next("match");
    assert_eq!(
        (&found["outcome"], &found["reason"]),
        (&"refused".into(), &"bad_path".into())
    );
    assert!(next("reset").is_null());
    assert_eq!(next("unload")["generation"], 3);

    let event = next("event table-replaced");
    assert_eq!(
        (&event["generation"], &event["len"]),
        (&2.into(), &table.table.as_bytes().len().into())
    );
    let by = event["by"].clone();
    for _ in 0..3 {
        let event = next("event server-changed");
        assert_eq!(
            (&event["weight"], &event["state"]),
            (&7.into(), &"draining".into())
        );
        assert_eq!(
            (&event["address"], &event["by"]),
            (&"::ffff:10.0.2.3".into(), &by)
        );
    }
    assert_eq!(next("event server-changed")["weight"], 0);
    assert_eq!(next("event server-changed")["weight"], 1);
    assert_eq!(next("event counters-cleared")["by"], by);
    assert_eq!(next("event table-unloaded")["generation"], 3);
    assert_eq!(lines.next(), None);
}

pub(super) fn the_kernels_tool_shows_events_and_errors() {
    let _module = Module::load();
    let host = Host::new("admin");
    let mut listener = host.start(
        "python3 -u /l7/share/pyynl/cli.py --spec /l7/share/netlink/specs/l7switch.yaml --no-schema --output-json \
         --do module-get --subscribe events",
    );
    listener.wait_for_output("max-table-len");
    host.run("l7ctl kernel load /l7/share/examples/quickstart.toml");
    host.run("l7ctl kernel set 127.0.0.1:9001 --weight 5");
    listener.wait_for_output("table-replaced");
    wait_until("the tool shows the server", || {
        listener.output().contains("server-changed")
    });
    let shown = listener.output();
    assert!(
        shown.contains("::ffff:127.0.0.1") || shown.contains("::ffff:7f00:1"),
        "{shown}"
    );

    let module = host.ynl("l7switch", "--do module-get");
    let module: Value = serde_json::from_str(&module).unwrap();
    assert_eq!(module["generation"], 1);
    let attempt = host.attempt(
        "python3 /l7/share/pyynl/cli.py --spec /l7/share/netlink/specs/l7switch.yaml --no-schema \
         --do table-begin --json '{\"len\": 4000000000}'",
    );
    assert!(!attempt.is_good(), "{attempt:?}");
    assert!(attempt.stdout.contains("max_table_len is"), "{attempt:?}");
}
