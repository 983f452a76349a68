// SPDX-License-Identifier: MIT
//! Servers by name, asked of a name server that changes its mind.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::op::OpCode;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::rr::rdata::SRV;
use l7switch::Options;
use l7switch::Switch;
use l7switch_admin_api::ServerStatus;
use tokio::net::UdpSocket;

use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::load;
use crate::support::soon;
use crate::support::until;

/// What a name server knows of a name.
#[derive(Clone)]
enum Entry {
    /// These addresses, with a TTL of nothing.
    Addresses(Vec<IpAddr>),
    /// Priority, weight, port and target.
    Service(Vec<(u16, u16, u16, &'static str)>),
    /// IPv4 addresses; questions for others fail.
    HalfBroken(Vec<IpAddr>),
    /// It fails.
    Fails,
    /// It says nothing.
    Silent,
    /// It says something that is no DNS.
    Garbage,
}

/// A name server over UDP.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<BTreeMap<&'static str, Entry>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<BTreeMap<&'static str, Entry>>>::default();
        let known = Arc::clone(&zone);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&buffer[..length], &known.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self {
            address,
            zone,
            task,
        }
    }

    fn set(&self, name: &'static str, entry: Entry) {
        self.zone.lock().unwrap().insert(name, entry);
    }

    fn addresses(&self, name: &'static str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.set(name, Entry::Addresses(addresses));
    }

    /// A switch that asks it.
    async fn switch(&self, rules: &str) -> Arc<Switch> {
        let options = Options {
            name_server: Some(self.address),
            ..Options::default()
        };
        let started = Switch::start_resolved(load(rules), None, &options);
        soon(started).await.unwrap()
    }
}

fn answer(question: &[u8], zone: &BTreeMap<&'static str, Entry>) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let kind = query.query_type();
    let name = query.name().to_string();
    let entry = zone.get(name.trim_end_matches('.'));
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    let addresses = |list: &[IpAddr]| -> Vec<RData> {
        let wanted = list
            .iter()
            .filter(|a| a.is_ipv4() == (kind == RecordType::A));
        wanted.map(|a| RData::from(*a)).collect()
    };
    let is_address = matches!(kind, RecordType::A | RecordType::AAAA);
    let data = match entry {
        None => {
            message.metadata.response_code = ResponseCode::NXDomain;
            Vec::new()
        }
        Some(Entry::HalfBroken(_)) if kind == RecordType::AAAA => {
            message.metadata.response_code = ResponseCode::ServFail;
            Vec::new()
        }
        Some(Entry::Addresses(list) | Entry::HalfBroken(list)) if is_address => addresses(list),
        Some(Entry::Service(targets)) if kind == RecordType::SRV => targets
            .iter()
            .map(|(priority, weight, port, target)| {
                let target = Name::from_ascii(target).unwrap();
                RData::SRV(SRV::new(*priority, *weight, *port, target))
            })
            .collect(),
        Some(Entry::Fails) => {
            message.metadata.response_code = ResponseCode::ServFail;
            Vec::new()
        }
        Some(Entry::Silent) => return None,
        Some(Entry::Garbage) => return Some(vec![0xc0; 40]),
        Some(_) => Vec::new(),
    };
    let name = query.name().clone();
    message.add_query(query);
    message.add_answers(
        data.into_iter()
            .map(|d| Record::from_rdata(name.clone(), 0, d)),
    );
    Some(message.to_vec().unwrap())
}

fn rules(servers: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nscheduler = \"rr\"\nservers = [{servers}]\n"
    )
}

fn servers(switch: &Switch) -> Vec<ServerStatus> {
    l7switch::admin::servers(switch)
}

fn addresses(switch: &Switch) -> Vec<String> {
    let servers = servers(switch);
    let ip = |s: &ServerStatus| s.address.parse::<SocketAddr>().unwrap().ip();
    servers.iter().map(|s| ip(s).to_string()).collect()
}

/// Who answers, of ten requests.
async fn answers(switch: &Switch) -> Vec<String> {
    let web = address(switch, "web");
    let mut seen = Vec::new();
    for _ in 0..10 {
        let (status, _, body) = get(web, "/").await;
        seen.push(match status {
            200 => String::from_utf8(body).unwrap(),
            other => other.to_string(),
        });
    }
    seen.sort();
    seen.dedup();
    seen
}

#[tokio::test]
async fn addresses_of_a_name_come_and_go() {
    let one = Server::saying("one").await;
    let port = one.address.port();
    let _two = Server::saying_at(&format!("127.0.0.2:{port}"), "two").await;
    let dns = NameServer::start().await;
    dns.addresses("app.test", &["127.0.0.2", "127.0.0.1"]);
    let given = format!("{{ address = \"App.test:{port}\", weight = 3 }}");
    let switch = dns.switch(&rules(&given)).await;
    assert_eq!(addresses(&switch), ["127.0.0.1", "127.0.0.2"]);
    for server in servers(&switch) {
        assert_eq!(server.name.as_deref(), Some("app.test"));
        assert_eq!(server.weight, 3);
    }
    assert_eq!(answers(&switch).await, ["one", "two"]);
    // Another order is no change.
    dns.addresses("app.test", &["127.0.0.1", "127.0.0.2"]);
    let asked = |switch: &Switch| switch.names()["app.test"].resolutions;
    let before = asked(&switch);
    until(|| asked(&switch) > before + 1).await;
    assert_eq!(switch.generation().number, 1);
    // What an administrator set, and counts, stay with a server that stays.
    let generation = switch.generation();
    let pool = generation.pool("p").unwrap();
    pool.servers().nth(1).unwrap().set_admin_weight(Some(9));
    let total = servers(&switch)[1].total;
    dns.addresses("app.test", &["127.0.0.2"]);
    until(|| addresses(&switch) == ["127.0.0.2"]).await;
    assert_eq!(answers(&switch).await, ["two"]);
    let status = servers(&switch).remove(0);
    assert_eq!(status.effective_weight, 9);
    assert_eq!(status.total, total + 10);
    assert_eq!(switch.generation().number, 2);
    // An answer that cannot be had, a name that is gone, and nonsense leave the servers as they are.
    for entry in [Some(Entry::Fails), None, Some(Entry::Garbage)] {
        let failures = |switch: &Switch| switch.names()["app.test"].failures;
        let before = failures(&switch);
        match entry {
            Some(entry) => dns.set("app.test", entry),
            None => drop(dns.zone.lock().unwrap().remove("app.test")),
        }
        until(|| failures(&switch) > before).await;
        assert!(switch.names()["app.test"].error.is_some());
        assert_eq!(answers(&switch).await, ["two"]);
    }
    dns.addresses("app.test", &["127.0.0.1"]);
    until(|| addresses(&switch) == ["127.0.0.1"]).await;
    assert_eq!(switch.names()["app.test"].error, None);
    assert_eq!(answers(&switch).await, ["one"]);
}

#[tokio::test]
async fn a_name_that_comes_late_is_no_error() {
    let one = Server::saying("one").await;
    let dns = NameServer::start().await;
    let given = format!("\"app.test:{}\"", one.address.port());
    let switch = dns.switch(&rules(&given)).await;
    assert_eq!(answers(&switch).await, ["503"]);
    assert!(servers(&switch).is_empty());
    dns.addresses("app.test", &["127.0.0.1", "0.0.0.0", "224.0.0.1"]);
    until(|| addresses(&switch) == ["127.0.0.1"]).await;
    assert_eq!(answers(&switch).await, ["one"]);
}

#[tokio::test]
async fn the_start_does_not_wait_for_ever() {
    let dns = NameServer::start().await;
    dns.set("app.test", Entry::Silent);
    let begun = Instant::now();
    let switch = dns.switch(&rules("\"app.test:80\"")).await;
    assert!(begun.elapsed() > Duration::from_secs(1));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(answers(&switch).await, ["503"]);
}

#[tokio::test]
async fn one_of_two_families_is_enough() {
    let one = Server::saying("one").await;
    let dns = NameServer::start().await;
    dns.set("app.test", Entry::HalfBroken(vec![[127, 0, 0, 1].into()]));
    let given = format!("\"app.test:{}\"", one.address.port());
    let switch = dns.switch(&rules(&given)).await;
    until(|| addresses(&switch) == ["127.0.0.1"]).await;
    assert_eq!(answers(&switch).await, ["one"]);
}

#[tokio::test]
async fn one_address_stays_the_one() {
    let dns = NameServer::start().await;
    dns.addresses("app.test", &["127.0.0.3", "127.0.0.2"]);
    let given = "{ address = \"app.test:81\", resolve = \"one\" }, { address = \"app.test:82\", weight = 2 }";
    let switch = dns.switch(&rules(given)).await;
    let shown = |switch: &Switch| -> Vec<String> {
        let servers = servers(switch);
        servers.iter().map(|s| s.address.to_string()).collect()
    };
    let before = ["127.0.0.3:81", "127.0.0.2:82", "127.0.0.3:82"];
    assert_eq!(shown(&switch), before);
    dns.addresses("app.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    until(|| shown(&switch).len() == 4).await;
    assert_eq!(shown(&switch)[0], "127.0.0.3:81");
    dns.addresses("app.test", &["127.0.0.1", "127.0.0.2"]);
    until(|| shown(&switch).len() == 3).await;
    assert_eq!(shown(&switch)[0], "127.0.0.2:81");
}

#[tokio::test]
async fn records_say_who_serves_and_who_is_a_backup() {
    let (one, spare) = (Server::saying("one").await, Server::saying("spare").await);
    let dns = NameServer::start().await;
    dns.addresses("one.test", &["127.0.0.1"]);
    dns.addresses("spare.test", &["127.0.0.1"]);
    let (first, second) = (one.address.port(), spare.address.port());
    let records = |first| {
        Entry::Service(vec![
            (20, 5, second, "spare.test."),
            (10, 0, first, "one.test."),
            (10, 7, 0, "one.test."),
            (10, 7, first, "."),
        ])
    };
    dns.set("_http._tcp.app.test", records(first));
    let switch = dns.switch(&rules("\"srv:_http._tcp.app.test\"")).await;
    let found: Vec<_> = servers(&switch)
        .into_iter()
        .map(|s| {
            (
                s.address.parse::<SocketAddr>().unwrap().port(),
                s.weight,
                s.backup,
            )
        })
        .collect();
    assert_eq!(found, [(first, 1, false), (second, 5, true)]);
    assert_eq!(answers(&switch).await, ["one"]);
    drop(one);
    assert_eq!(answers(&switch).await, ["spare"]);
    let other = Server::saying("other").await;
    dns.set("_http._tcp.app.test", records(other.address.port()));
    until(|| servers(&switch)[0].address == other.address.to_string()).await;
    assert_eq!(answers(&switch).await, ["other"]);
}

#[tokio::test]
async fn a_reload_takes_other_names() {
    let dns = NameServer::start().await;
    dns.addresses("a.test", &["127.0.0.1"]);
    dns.addresses("b.test", &["127.0.0.2"]);
    let switch = dns.switch(&rules("\"a.test:80\"")).await;
    switch.set(load(&rules("\"b.test:80\""))).unwrap();
    until(|| addresses(&switch) == ["127.0.0.2"]).await;
    assert_eq!(switch.names().keys().collect::<Vec<_>>(), ["b.test"]);
    let text = crate::support::metrics(&switch).await;
    let sample = "l7switch_name_resolutions_total{name=\"b.test\",result=\"failed\"} 0\n";
    assert!(text.contains(sample), "{text}");
}
