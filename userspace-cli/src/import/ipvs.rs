// SPDX-License-Identifier: MIT
//! Tables of IPVS, as `ipvsadm --save --numeric` writes them (ipvsadm(8), ipvsadm-save(8)): virtual services of TCP are services of
//! protocol `tcp` with a pool each.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::conditions::All;
use super::flow::End;
use super::flow::Leaf;
use super::rules::Item;
use super::rules::Rules;
use super::rules::Service;
use super::rules::route;
use super::source::Wrong;
use super::source::checked;
use super::toml::Toml;

/// A virtual service as ipvsadm names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Virtual {
    Tcp(String),
    Udp(String),
    Sctp(String),
    Mark(String),
}

/// What a virtual service becomes.
struct Made {
    of: Virtual,
    service: Service,
    pool: Item,
    servers: Vec<Toml>,
    addresses: Vec<SocketAddr>,
    /// Where it stands.
    at: String,
    /// Whether clients stay at a server.
    is_persistent: bool,
    port: u16,
    /// Servers get packets, not connections: by direct routing or a tunnel.
    is_direct: bool,
}

/// The words of a line.
struct Line<'t> {
    file: &'t str,
    number: usize,
    words: Vec<&'t str>,
}

impl<'t> Line<'t> {
    fn at(&self) -> String {
        format!("{}:{}", self.file, self.number)
    }

    /// The value of an option.
    fn value(&self, names: [&str; 2]) -> Option<&'t str> {
        let mut words = self.words.iter();
        words.find(|word| names.contains(word))?;
        words.next().copied()
    }

    fn has(&self, names: [&str; 2]) -> bool {
        self.words.iter().any(|word| names.contains(word))
    }

    fn of(&self) -> Option<Virtual> {
        let is = |names, make: fn(String) -> Virtual| self.value(names).map(|v| make(v.to_owned()));
        is(["-t", "--tcp-service"], Virtual::Tcp)
            .or_else(|| is(["-u", "--udp-service"], Virtual::Udp))
            .or_else(|| is(["--sctp-service", "--sctp-service"], Virtual::Sctp))
            .or_else(|| is(["-f", "--fwmark-service"], Virtual::Mark))
    }
}

/// Options that have no counterpart, and what is to be done.
const WITHOUT: &[([&str; 2], &str)] = &[
    (["-M", "--netmask"], "clients stay by their whole address"),
    (
        ["--pe", "--pe"],
        "persistence by what the protocol says has no counterpart",
    ),
    (["-o", "--ops"], "one-packet scheduling is for UDP"),
    (
        ["-b", "--sched-flags"],
        "the schedulers of the switch have no flags",
    ),
];

/// Translates a table. `file`: its name in messages.
///
/// # Errors
///
/// [`Wrong`] where it is no such table.
pub(super) fn import(file: &str, text: &str) -> Result<Rules, Wrong> {
    checked(file, text)?;
    let mut rules = Rules::default();
    let mut all = Table::default();
    for (index, text) in text.lines().enumerate() {
        let number = index + 1;
        let mut words: Vec<&str> = text.split_whitespace().collect();
        // Scripts have its name before it.
        if words
            .first()
            .is_some_and(|word| word.rsplit('/').next() == Some("ipvsadm"))
        {
            words.remove(0);
        }
        let Some(command) = words.first().copied().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        let line = Line {
            file,
            number,
            words,
        };
        match command {
            "-A" | "--add-service" => add_service(&line, &mut all, &mut rules)?,
            "-a" | "--add-server" => add_server(&line, &mut all, &mut rules)?,
            "-C" | "--clear" => {
                all = Table::default();
                rules.translated += 1;
            }
            _ if command.starts_with('-') => {
                rules.note(format!("{}: `{command}`: only -A, -a and -C are read, as ipvsadm --save --numeric writes them", line.at()));
            }
            _ => {
                let column = text.len() - text.trim_start().len() + 1;
                let why = format!(
                    "`{command}` is no command of ipvsadm: `ipvsadm --save --numeric` writes what is read here"
                );
                return Err(Wrong::at(file, number, column, why));
            }
        }
    }
    for made in all.made {
        finish(made, &mut rules);
    }
    Ok(rules)
}

/// An address with a port. Names need `--numeric`.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an address with a port in numbers: use ipvsadm --save --numeric")
    })
}

fn add_service(line: &Line<'_>, all: &mut Table, rules: &mut Rules) -> Result<(), Wrong> {
    let wrong = |why: &str| Wrong::at(line.file, line.number, 1, why);
    let of = line
        .of()
        .ok_or_else(|| wrong("-A without -t, -u, --sctp-service or -f"))?;
    if all.known.contains_key(&of) {
        rules.note(format!("{}: this service is there already", line.at()));
        return Ok(());
    }
    let mut service = Service::default();
    let mut pool = Item::default();
    let mut port = 0;
    let (protocol, given, why) = match &of {
        Virtual::Tcp(given) => ("tcp", given, None),
        Virtual::Udp(given) => ("udp", given, Some("UDP is not switched")),
        Virtual::Sctp(given) => ("sctp", given, Some("SCTP is not switched")),
        Virtual::Mark(given) => (
            "mark",
            given,
            Some(
                "a firewall's mark names no address: write the addresses that are marked into `listen`",
            ),
        ),
    };
    service
        .item
        .note(format!("{}: {}", line.at(), line.words.join(" ")));
    service.item.set("listen", given.as_str());
    service.item.set("protocol", "tcp");
    let listen = match (&of, address(given)) {
        (Virtual::Mark(_), _) => "0.0.0.0:0".to_owned(),
        (_, Ok(address)) => {
            port = address.port();
            address.to_string()
        }
        (_, Err(why)) => {
            rules.close(&mut service, &why);
            given.clone()
        }
    };
    let end = match &of {
        Virtual::Mark(mark) => mark.clone(),
        _ => listen.rsplit(':').next().unwrap_or_default().to_owned(),
    };
    service.name = all.free(format!("{protocol}-{end}"));
    service.item.set("listen", listen);
    if let Some(why) = why {
        rules.count(why);
        service.close(why);
    } else if port == 80 {
        service
            .item
            .note("protocol = \"http\" reads requests, and routes by host and path");
    } else if port == 443 {
        service
            .item
            .note("protocol = \"tls\" routes by server name; \"https\" ends TLS here");
    }
    scheduler(line, &mut pool, rules);
    let is_persistent = line.has(["-p", "--persistent"]);
    if is_persistent {
        pool.note("-p: clients stay at a server by their address. The time is not bounded, and a server that comes or goes moves few");
        pool.set("scheduler", "mh");
    }
    for (names, why) in WITHOUT {
        if line.has(*names) {
            rules.note_at(&mut service, format!("{}: {}: {why}", line.at(), names[0]));
        }
    }
    rules.translated += 1;
    all.add(Made {
        of,
        service,
        pool,
        servers: Vec::new(),
        addresses: Vec::new(),
        at: line.at(),
        is_persistent,
        port,
        is_direct: false,
    });
    Ok(())
}

/// The services so far.
#[derive(Default)]
struct Table {
    made: Vec<Made>,
    /// Their positions.
    known: HashMap<Virtual, usize>,
    /// How many services have wanted a name.
    names: HashMap<String, u32>,
}

impl Table {
    /// A name that no service has yet.
    fn free(&mut self, wanted: String) -> String {
        let count = self.names.entry(wanted.clone()).or_default();
        *count = count.saturating_add(1);
        match *count {
            1 => wanted,
            count => format!("{wanted}-{count}"),
        }
    }

    fn add(&mut self, made: Made) {
        self.known.insert(made.of.clone(), self.made.len());
        self.made.push(made);
    }
}

/// How servers are chosen. The schedulers of both have the same names where they do the same.
fn scheduler(line: &Line<'_>, pool: &mut Item, rules: &mut Rules) {
    let name = line.value(["-s", "--scheduler"]).unwrap_or("wlc");
    let (ours, why) = match name {
        "rr" | "wrr" | "lc" | "wlc" | "sed" | "nq" | "sh" | "mh" => (name, None),
        "twos" => ("p2c", None),
        "fo" => (
            "wlc",
            Some("all but the server with the highest weight would be `backup = true`"),
        ),
        "dh" | "lblc" | "lblcr" => (
            "wlc",
            Some("it is for caches that clients reach by other servers' addresses"),
        ),
        _ => ("wlc", Some("there is no such scheduler")),
    };
    if let Some(why) = why {
        rules.count(why);
        pool.note(format!("-s {name}: {why}; wlc stands in its place"));
    }
    if ours != "wlc" {
        pool.set("scheduler", ours);
    }
}

fn add_server(line: &Line<'_>, all: &mut Table, rules: &mut Rules) -> Result<(), Wrong> {
    let wrong = |why: &str| Wrong::at(line.file, line.number, 1, why);
    let of = line
        .of()
        .ok_or_else(|| wrong("-a without -t, -u, --sctp-service or -f"))?;
    let given = line
        .value(["-r", "--real-server"])
        .ok_or_else(|| wrong("-a without -r"))?;
    let known = all.known.get(&of).copied();
    let Some(made) = known.and_then(|number| all.made.get_mut(number)) else {
        rules.note(format!("{}: its service was not added before", line.at()));
        return Ok(());
    };
    // The service's port where it has none of its own.
    let with_port = format!("{given}:{}", made.port);
    let address = match address(given).or_else(|_| address(&with_port)) {
        Ok(address) => address,
        Err(_) => {
            let why = address(given).err().unwrap_or_default();
            rules.count(&why);
            made.pool.note(format!("{}: {why}", line.at()));
            return Ok(());
        }
    };
    if made.addresses.contains(&address) {
        rules.note(format!("{}: this server is there already", line.at()));
        return Ok(());
    }
    made.addresses.push(address);
    let number = |names| line.value(names).and_then(|text| text.parse::<i64>().ok());
    let weight = number(["-w", "--weight"]).unwrap_or(1).clamp(0, 65_535);
    let most = number(["-x", "--u-threshold"]).filter(|most| (1..=1_000_000).contains(most));
    let mut server = Toml::from(address.to_string());
    if weight != 1 || most.is_some() {
        server = Toml::table([("address", server)]);
        if weight != 1 {
            server.set("weight", Toml::Number(weight));
        }
        if let Some(most) = most {
            server.set("max_connections", Toml::Number(most));
        }
    }
    if line.has(["-y", "--l-threshold"]) {
        let why = "-y: a server that was full gets connections again when it has one less than `max_connections`";
        rules.count(why);
        made.pool.note(why);
    }
    // Without one of them, ipvsadm means direct routing.
    made.is_direct |= !line.has(["-m", "--masquerading"]);
    made.servers.push(server);
    rules.translated += 1;
    Ok(())
}

/// Adds the service and its pool to the file.
fn finish(made: Made, rules: &mut Rules) {
    let Made {
        mut service,
        mut pool,
        servers,
        at,
        is_persistent,
        is_direct,
        ..
    } = made;
    if servers.is_empty() {
        rules.close(&mut service, "it has no server");
    }
    if is_direct && !servers.is_empty() {
        pool.note(
            "direct routing or a tunnel before: now servers answer the switch, at these addresses and ports. They need no address of the \
             service, and see the switch as the client unless send_proxy tells them",
        );
    }
    if is_persistent && !servers.is_empty() {
        rules.translated += 1;
    }
    pool.dead |= service.item.dead;
    pool.keys
        .insert(0, ("servers", Toml::List(servers.clone())));
    let name = match servers.is_empty() {
        true => service.name.clone(),
        false => rules.add_pool(&service.name, pool),
    };
    let leaf = Leaf {
        all: All::default(),
        edits: Vec::new(),
        end: End::Pool(name),
        origin: vec![at],
        guards: false,
        priority: 0,
    };
    service.routes = vec![route(&leaf)];
    rules.services.push(service);
}
