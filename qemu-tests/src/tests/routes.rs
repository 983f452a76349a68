// SPDX-License-Identifier: MIT
//! What the module counts by route: requests that a route took, and the responses to them.

use std::fmt::Write as _;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use l7switch_engine::netlink::Action;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::Route;
use serde_json::Value;

use super::requests::rules;
use super::tables::Done;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Origin;
use crate::kit::Process;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::origin;
use crate::kit::read_head;
use crate::kit::wait_until;

/// A service on both families' virtual addresses with these routes, before two servers: pools `one` and `two`.
fn service(routes: &str) -> String {
    format!(
        "[service.web]\nlisten = [\"{VIP}:80\", \"[{VIP6}]:80\"]\nprotocol = \"http\"\n{routes}\
         [pool.one]\nservers = [\"10.0.2.2:8080\", \"[fd00:2::2]:8080\"]\n\
         [pool.two]\nservers = [\"10.0.2.3:8080\", \"[fd00:2::3]:8080\"]\n"
    )
}

/// A route by the prefix of its path to the pool of that name; with a name or without.
fn route(name: Option<&str>, pool: &str) -> String {
    route_at(name, pool, pool)
}

fn route_at(name: Option<&str>, prefix: &str, pool: &str) -> String {
    let name = name.map_or_else(String::new, |name| format!("name = \"{name}\"\n"));
    format!("[[service.web.route]]\n{name}path = {{ prefix = \"/{prefix}\" }}\npool = \"{pool}\"\n")
}

const ANSWERED: &str = "[[service.web.route]]\nname = \"said\"\npath = { exact = \"/said\" }\n\
                        respond = { status = 200, body = \"said\\n\" }\n";

struct Setup {
    network: Network,
    client: Client,
    _origins: Vec<Process>,
    _module: Module,
}

impl Setup {
    fn new(routes: &str) -> Self {
        let module = Module::load();
        let network = Network::new();
        let origins = network.servers.iter().map(origin::origin).collect();
        let client = network.switch.inside(|| Client::open().unwrap());
        let mut setup = Self {
            network,
            client,
            _origins: origins,
            _module: module,
        };
        setup.load(routes);
        setup
    }

    fn load(&mut self, routes: &str) {
        let rules = rules(&service(routes));
        self.client.load(rules.table.as_bytes()).unwrap();
    }

    fn route(&mut self, label: &str) -> Route {
        let routes = self.client.routes().unwrap();
        let found = routes.iter().find(|route| route.label() == label);
        found
            .unwrap_or_else(|| panic!("{label}: {routes:?}"))
            .clone()
    }

    /// Requests of a route, and responses by class.
    fn counts(&mut self, label: &str) -> (u64, [u64; 5]) {
        let route = self.route(label);
        (route.requests, route.responses)
    }

    fn stream(&self) -> TcpStream {
        self.network.client.connect((VIP, 80))
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Reads responses up to a final one, and its body by its Content-Length. Gives the statuses.
fn statuses(stream: &mut TcpStream) -> Vec<u16> {
    let mut statuses = Vec::new();
    loop {
        let head = read_head(stream).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        statuses.push(status);
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        stream
            .read_exact(&mut vec![0; length.unwrap_or(0)])
            .unwrap();
        if status >= 200 {
            return statuses;
        }
    }
}

pub(super) fn requests_and_responses_are_counted_by_route() {
    let routes = [
        route(Some("first"), "one"),
        route(None, "two"),
        ANSWERED.to_owned(),
    ];
    let mut setup = Setup::new(&routes.concat());
    for route in setup.client.routes().unwrap() {
        assert_eq!((route.requests, route.responses), (0, [0; 5]), "{route:?}");
        assert_eq!(route.service, "web");
    }

    // All at once: some wait for the response before, to the same server or to another one. The origin says 103 first where a
    // status is asked for.
    let asks: [(&str, &[u16]); 10] = [
        ("/one/status/200", &[103, 200]),
        ("/one/status/404", &[103, 404]),
        ("/one/len/70000", &[200]),
        ("/two/status/503", &[103, 503]),
        ("/one/status/304", &[103, 304]),
        ("/two/status/301", &[103, 301]),
        ("/two/len/3", &[200]),
        ("/two/status/599", &[103, 599]),
        ("/one/who", &[200]),
        ("/two/status/204", &[103, 204]),
    ];
    let all: String = asks.iter().map(|(path, _)| get(path)).collect();
    let addresses: [SocketAddr; 2] = [(VIP, 80).into(), (VIP6, 80).into()];
    for (turn, address) in (1..).zip(addresses) {
        let mut stream = setup.network.client.connect(address);
        for again in 0..3 {
            stream.write_all(all.as_bytes()).unwrap();
            for (path, wanted) in asks {
                assert_eq!(statuses(&mut stream), wanted, "{path}");
            }
            let times = (turn - 1) * 3 + again + 1;
            let each = |counts: [u64; 5]| counts.map(|count| count * times);
            assert_eq!(setup.counts("first"), (5 * times, each([3, 3, 1, 1, 0])));
            assert_eq!(setup.counts("#2"), (5 * times, each([4, 2, 1, 0, 2])));
        }
    }
    // What the service has is what its routes have.
    let traffic = setup.client.services().unwrap()[0].traffic;
    assert_eq!(traffic.requests, 60);
    assert_eq!(traffic.responses, [42, 30, 12, 6, 12]);
    println!("{:?}", setup.client.module().unwrap().flow_counts);

    // A request of which the head comes in parts, and one of a body.
    let mut stream = setup.stream();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"GET /one/who HTTP/1.1\r\n").unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(setup.route("first").requests, 30, "it may be another's yet");
    stream.write_all(b"Host: x\r\n\r\n").unwrap();
    assert_eq!(statuses(&mut stream), [200]);
    let post =
        "POST /two/sum HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(post.as_bytes()).unwrap();
    wait_until("it is told to go on", || {
        setup.counts("#2").1[0] == 25 && setup.counts("#2").0 == 31
    });
    stream.write_all(b"hello").unwrap();
    assert_eq!(statuses(&mut stream), [100, 200]);
    assert_eq!(setup.counts("first"), (31, [18, 19, 6, 6, 0]));
    assert_eq!(setup.counts("#2"), (31, [25, 13, 6, 0, 12]));

    // No route takes it, and there is no front: it is nobody's.
    let mut lost = setup.stream();
    lost.write_all(get("/three").as_bytes()).unwrap();
    assert!(!matches!(lost.read(&mut [0; 10]), Ok(1..)));
    // Of one that the front answers the route is known.
    let mut said = setup.stream();
    said.write_all(get("/said").as_bytes()).unwrap();
    assert!(!matches!(said.read(&mut [0; 10]), Ok(1..)));
    let traffic = setup.client.services().unwrap()[0].traffic;
    assert_eq!(traffic.requests, 64);
    let said = setup.route("said");
    assert_eq!((said.requests, said.responses), (1, [0; 5]));
    assert_eq!((said.position, said.action), (2, Action::Answer));

    let shown = setup.network.switch.run("l7ctl kernel routes");
    println!("{shown}");
    let line = "web first forward 31 18 19 6 6 0";
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.lines().any(|found| words(found) == line), "{shown}");
    let json = setup.network.switch.run("l7ctl kernel routes --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    let unnamed = &json["routes"][1];
    assert_eq!(
        (&unnamed["position"], &unnamed["name"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(
        (&unnamed["requests"], &unnamed["responses"][4]),
        (&31.into(), &12.into())
    );
}

pub(super) fn counters_of_routes_outlive_tables() {
    let (first, two) = (route(Some("first"), "one"), route(None, "two"));
    let mut setup = Setup::new(&[&*first, &two].concat());
    let mut stream = setup.stream();
    let mut ask = |path: &str| {
        stream.write_all(get(path).as_bytes()).unwrap();
        statuses(&mut stream)
    };
    ask("/one/status/404");
    ask("/two/who");
    ask("/two/who");

    // Requests whose responses come later, behind several tables.
    let waiting = |setup: &Setup, path: &str| {
        let mut stream = setup.stream();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut long = [waiting(&setup, "/one/sum"), waiting(&setup, "/two/sum")];
    wait_until("they are counted", || {
        setup.counts("first").0 == 2 && setup.counts("#2").0 == 3
    });

    // By its name a route is the same wherever it stands; without one, where it stands, whatever it takes.
    let other = route(Some("other"), "two");
    let unnamed = route_at(None, "unnamed", "two");
    setup.load(&[&*other, &unnamed, &first].concat());
    assert_eq!(setup.counts("first"), (2, [1, 0, 0, 1, 0]));
    assert_eq!(setup.route("first").position, 2);
    assert_eq!(setup.counts("#2"), (3, [0, 2, 0, 0, 0]));
    assert_eq!(setup.counts("other"), (0, [0; 5]));
    ask("/two/who");
    assert_eq!(setup.counts("other"), (1, [0, 1, 0, 0, 0]));
    // None without a name is at the second position, and then one again: nobody has asked for that.
    let more = route_at(Some("more"), "more", "two");
    setup.load(&[&*other, &more, &first].concat());
    setup.load(&[&*other, &unnamed, &first].concat());
    assert_eq!(setup.counts("first"), (2, [1, 0, 0, 1, 0]));
    assert_eq!(setup.counts("other"), (1, [0, 1, 0, 0, 0]));
    assert_eq!(setup.counts("#2"), (0, [0; 5]));
    for stream in &mut long {
        stream.write_all(b"llo").unwrap();
        assert_eq!(statuses(stream), [200]);
    }
    assert_eq!(setup.counts("first"), (2, [1, 1, 0, 1, 0]));
    // What it answers had come to another route.
    assert_eq!(setup.counts("#2"), (0, [0; 5]));
    // Many tables with no route of the one before, so that slots are used again.
    for turn in 0..20 {
        let name = format!("turn{turn}");
        setup.load(&[&*first, &route(Some(&name), "two")].concat());
        assert_eq!(setup.counts(&name), (0, [0; 5]));
        ask("/two/who");
        assert_eq!(setup.counts(&name), (1, [0, 1, 0, 0, 0]));
    }
    assert_eq!(setup.counts("first"), (2, [1, 1, 0, 1, 0]));

    // Counters become 0. A response to a request from before is counted all the same.
    let mut late = waiting(&setup, "/one/sum");
    wait_until("it is counted", || setup.counts("first").0 == 3);
    setup.client.reset_counters().unwrap();
    for route in setup.client.routes().unwrap() {
        assert_eq!((route.requests, route.responses), (0, [0; 5]), "{route:?}");
    }
    late.write_all(b"llo").unwrap();
    statuses(&mut late);
    assert_eq!(setup.counts("first"), (0, [0, 1, 0, 0, 0]));

    // A service of another name has other routes; and a table that was taken away leaves nothing.
    let renamed = service(&first).replace("service.web", "service.renamed");
    setup.client.load(rules(&renamed).table.as_bytes()).unwrap();
    assert_eq!(setup.counts("first"), (0, [0; 5]));
    setup.load(&first);
    ask("/one/who");
    assert_eq!(setup.counts("first"), (1, [0, 1, 0, 0, 0]));
    setup.client.unload().unwrap();
    assert_eq!(setup.client.routes().unwrap(), []);
    setup.load(&first);
    assert_eq!(setup.counts("first"), (0, [0; 5]));
}

/// So many routes by path, after as many others as `shift` says.
fn many(count: u16, shift: u16) -> String {
    let mut text = format!("[service.web]\nlisten = \"{VIP}:80\"\nprotocol = \"http\"\n");
    let mut route = |name: String| {
        let _ = write!(
            text,
            "[[service.web.route]]\nname = \"{name}\"\npath = {{ prefix = \"/{name}\" }}\npool = \"p\"\n"
        );
    };
    (0..shift).for_each(|number| route(format!("s{shift}-{number}")));
    (0..count).for_each(|number| route(format!("r{number}")));
    text + "[pool.p]\nservers = [\"10.0.2.2:80\"]\n"
}

pub(super) fn ten_thousand_routes_are_counted_and_listed_while_tables_are_swapped() {
    const ROUTES: u16 = 10_000;
    let _module = Module::load();
    let network = Network::with_servers(1);
    let _origin = Origin::start(&network.servers[0]);
    let mut client = network.switch.inside(|| Client::open().unwrap());
    let shifts = [0, 3];
    let tables = shifts.map(|shift| rules(&many(ROUTES, shift)));
    client.load(tables[0].table.as_bytes()).unwrap();
    let start = Instant::now();
    let routes = client.routes().unwrap();
    println!("{} routes in {:?}", routes.len(), start.elapsed());
    for (position, route) in (0u32..).zip(&routes) {
        assert_eq!(route.position, position);
        assert_eq!(route.label(), format!("r{position}"));
    }
    assert_eq!(routes.len(), usize::from(ROUTES));

    let done = AtomicBool::new(false);
    let whole = AtomicUsize::new(0);
    let asked = thread::scope(|scope| {
        let network = &network;
        // Clients that take one route after the other, each the same ones.
        let asking: Vec<_> = (0..3)
            .map(|_| {
                let mut stream = network.client.connect((VIP, 80));
                let done = &done;
                scope.spawn(move || {
                    let mut asked = 0u64;
                    while !done.load(Relaxed) {
                        let route = asked * 97 % u64::from(ROUTES);
                        let request = get(&format!("/r{route}/x"));
                        stream.write_all(request.as_bytes()).unwrap();
                        assert_eq!(statuses(&mut stream), [200]);
                        asked += 1;
                        // Others want the processors, too.
                        thread::sleep(Duration::from_millis(1));
                    }
                    asked
                })
            })
            .collect();
        let listing = scope.spawn(|| {
            let mut client = network.switch.inside(|| Client::open().unwrap());
            let mut changing = 0;
            while !done.load(Relaxed) {
                match client.routes() {
                    Ok(routes) => {
                        let more = routes.len() - usize::from(ROUTES);
                        assert!([0, 3].contains(&more), "{more}");
                        let mut named = (0..ROUTES).zip(&routes[more..]);
                        let other = named.find(|(n, route)| route.label() != format!("r{n}"));
                        assert_eq!(other, None, "of two tables");
                        whole.fetch_add(1, Relaxed);
                    }
                    Err(Error::Changing) => changing += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            changing
        });
        {
            let _done = Done(&done);
            for turn in 0..16 {
                let table = tables[(turn + 1) % 2].table.as_bytes();
                client.load(table).unwrap();
                // A list is read in peace: what was begun before is not. It is long, and the processors are busy.
                let (before, deadline) = (whole.load(Relaxed), Instant::now() + 6 * limit());
                while turn % 8 == 7 && whole.load(Relaxed) == before {
                    assert!(Instant::now() < deadline, "no list was whole");
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
        let changing = listing.join().unwrap();
        println!("{} whole lists, {changing} given up", whole.load(Relaxed));
        let asked = asking.into_iter().map(|asking| asking.join().unwrap());
        asked.collect::<Vec<_>>()
    });
    let mut wanted = vec![0u64; usize::from(ROUTES)];
    for asked in &asked {
        for number in 0..*asked {
            let route = number * 97 % u64::from(ROUTES);
            wanted[usize::try_from(route).unwrap()] += 1;
        }
    }
    println!("{asked:?} requests");
    let routes = client.routes().unwrap();
    let counted = &routes[routes.len() - usize::from(ROUTES)..];
    for (route, wanted) in counted.iter().zip(wanted) {
        let counts = (route.requests, route.responses);
        assert_eq!(counts, (wanted, [0, wanted, 0, 0, 0]), "{route:?}");
    }
    assert!(asked.iter().all(|&asked| asked > 0));

    // From one table to another with as many others.
    let other = rules(&many(ROUTES, 0).replace("\"r", "\"q"));
    client.load(other.table.as_bytes()).unwrap();
    let routes = client.routes().unwrap();
    assert!(routes.iter().all(|route| route.requests == 0));
    client.unload().unwrap();
    assert_eq!(client.routes().unwrap(), []);
}
