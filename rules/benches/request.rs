// SPDX-License-Identifier: MIT
//! What a request costs to parse and to match, with ten routes and with 100,000, in ns and in instructions.
//!
//! `cargo bench -p l7switch-rules`. Instructions are counted by valgrind in a second process (they are the
//! same on every run); nanoseconds are medians of interleaved rounds and depend on the machine. Exits with an
//! error where the large table takes more than twice the instructions of the small one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "benchmark"
)]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded for people")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Limits;
use l7switch_engine::table::Fields as _;
use l7switch_engine::table::Request;
use l7switch_engine::table::Table;
use l7switch_engine::uri;
use l7switch_rules::load_text;

/// Routes per host, as in the rules that are generated.
const PER_HOST: usize = 10;
/// Requests per pass; every pass does all of them.
const REQUESTS: usize = 4096;

/// Rules of ten kinds of routes on each of `hosts` hosts.
fn rules(hosts: usize) -> String {
    let mut text = String::from("[service.web]\nlisten = \"127.0.0.1:8080\"\n");
    for host in 0..hosts {
        for kind in 0..PER_HOST {
            let condition = match kind {
                0 => String::new(),
                1 => format!(
                    "path = {{ regex = '^/v[0-9]+/item{}/[a-z]+\\.(png|jpg)$' }}",
                    host % 97
                ),
                2 => "path = { exact = \"/exact/page\" }".to_owned(),
                3 => "path = { prefix = \"/api/v3\" }\nheaders = { \"X-Version\" = \"two\" }"
                    .to_owned(),
                _ => format!("path = {{ prefix = \"/app{kind}/part{}\" }}", host % 7),
            };
            let _ = writeln!(
                text,
                "[[service.web.route]]\nhost = \"site{host}.example.com\"\n{condition}\npool = \"all\""
            );
        }
    }
    text.push_str("[pool.all]\nservers = [\"10.0.0.1:80\"]\n");
    text
}

/// Heads of a browser's size for hosts and paths of those rules, in an order that looks random.
fn heads(hosts: usize) -> Vec<Vec<u8>> {
    let mut state = 1u64;
    (0..REQUESTS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let host = usize::try_from(state >> 33).unwrap() % hosts;
            let path = match (state >> 20) % 5 {
                0 => "/index.html".to_owned(),
                1 => format!("/v2/item{}/logo.png", host % 97),
                2 => "/exact/page".to_owned(),
                3 => "/api/v3/users/17?fields=name".to_owned(),
                _ => format!("/app7/part{}/static/site.css", host % 7),
            };
            format!(
                "GET {path} HTTP/1.1\r\n\
                 Host: site{host}.example.com\r\n\
                 User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
                 Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
                 Accept-Language: en-US,en;q=0.5\r\n\
                 Accept-Encoding: gzip, deflate, br, zstd\r\n\
                 Connection: keep-alive\r\n\
                 Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
                 X-Version: two\r\n\r\n"
            )
            .into_bytes()
        })
        .collect()
}

/// What the matcher is asked, ready made, so that matching can be measured alone.
struct Parsed<'a> {
    host: Vec<u8>,
    path: Vec<u8>,
    query: &'a [u8],
    head: l7switch_engine::http1::Head<'a>,
}

fn parse(head: &[u8]) -> Parsed<'_> {
    let head = HeadParser::new(Limits::default())
        .parse(head)
        .unwrap()
        .unwrap();
    let mut buf = [0; uri::MAX_HOST];
    let host = uri::host(head.host().unwrap(), &mut buf).unwrap().to_vec();
    let mut scratch = [0; 256];
    let path = uri::normalise(head.path(), uri::Allow::NONE, &mut scratch)
        .unwrap()
        .to_vec();
    Parsed {
        host,
        path,
        query: head.query().unwrap_or(b""),
        head,
    }
}

fn matched(table: &Table<Vec<u8>>, parsed: &Parsed<'_>) -> Option<u32> {
    let request = Request {
        host: &parsed.host,
        method: parsed.head.method(),
        path: &parsed.path,
        query: parsed.query,
        source: [0; 16],
        fields: &parsed.head,
    };
    table.route(0, black_box(&request))
}

/// All that is done for a request: parse, bring host and path into comparison form, match.
fn whole(table: &Table<Vec<u8>>, bytes: &[u8], scratch: &mut [u8]) -> Option<u32> {
    let head = HeadParser::new(Limits::default())
        .parse(black_box(bytes))
        .unwrap()
        .unwrap();
    let mut buf = [0; uri::MAX_HOST];
    let host = uri::host(head.host()?, &mut buf).ok()?;
    let path = uri::normalise(head.path(), uri::Allow::NONE, scratch).ok()?;
    let query = head.query().unwrap_or(b"");
    let request = Request {
        host,
        method: head.method(),
        path,
        query,
        source: [0; 16],
        fields: &head,
    };
    table.route(0, &request)
}

/// One pass over all requests of a case.
fn pass(case: &str, table: &Table<Vec<u8>>, heads: &[Vec<u8>], parsed: &[Parsed<'_>]) {
    let mut scratch = [0; 8192];
    for (head, parsed) in heads.iter().zip(parsed) {
        black_box(match case {
            "match" => matched(table, parsed),
            _ => whole(table, head, &mut scratch),
        });
    }
}

/// Instructions per request of a case: valgrind runs this program with that many passes and with none.
fn instructions(case: &str, hosts: usize, table: &Path) -> Option<f64> {
    let count = |passes: usize| -> Option<f64> {
        let program = std::env::current_exe().ok()?;
        let out = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args(["--counted", case, &hosts.to_string(), &passes.to_string()])
            .arg(table)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = text.lines().find(|l| l.contains("Collected :"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    Some((count(3)? - count(1)?) / (2 * REQUESTS) as f64)
}

/// The child under valgrind.
fn counted(case: &str, hosts: usize, passes: usize, table: &str) {
    let table = Table::verify(std::fs::read(table).unwrap()).unwrap();
    let heads = heads(hosts);
    let parsed: Vec<Parsed<'_>> = heads.iter().map(|h| parse(h)).collect();
    for _ in 0..passes {
        pass(case, &table, &heads, &parsed);
    }
}

/// Most memory that this process has had, KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|a| a == "--counted") {
        let number = |n: usize| args[at + n].parse().unwrap();
        return counted(&args[at + 1], number(2), number(3), &args[at + 4]);
    }
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<_> = [1, 10_000]
        .into_iter()
        .map(|hosts| {
            let text = rules(hosts);
            let start = Instant::now();
            let rules = load_text("generated", &text).unwrap();
            println!(
                "check and compile {:>7} routes ({:>9} bytes of text): {:>6} ms, peak memory {} MiB",
                hosts * PER_HOST,
                text.len(),
                start.elapsed().as_millis(),
                peak_memory() >> 10,
            );
            let file = folder.path().join(hosts.to_string());
            std::fs::write(&file, rules.table.as_bytes()).unwrap();
            (hosts, rules.table, heads(hosts), file)
        })
        .collect();
    let bytes = cases[0].2.iter().map(Vec::len).sum::<usize>() / REQUESTS;
    let fields = parse(&cases[0].2[0]).head.iter().count();
    println!("heads of {bytes} bytes and {fields} fields; {PER_HOST} routes a host\n");
    println!(
        "{:<22}{:>10}{:>14}{:>12}{:>16}",
        "", "routes", "table bytes", "ns", "instructions"
    );
    let mut ratio = Vec::new();
    for case in ["match", "whole"] {
        let parsed: Vec<Vec<Parsed<'_>>> = cases
            .iter()
            .map(|(_, _, heads, _)| heads.iter().map(|h| parse(h)).collect())
            .collect();
        let mut times = vec![Vec::new(); cases.len()];
        // Interleaved, so that what else the machine does falls on both.
        for round in 0..21 {
            for (n, (_, table, heads, _)) in cases.iter().enumerate() {
                let start = Instant::now();
                pass(case, table, heads, &parsed[n]);
                if round > 0 {
                    times[n].push(start.elapsed().as_nanos() as f64 / REQUESTS as f64);
                }
            }
        }
        let mut counts = Vec::new();
        for (n, (hosts, table, _, file)) in cases.iter().enumerate() {
            let name = if case == "match" {
                "match"
            } else {
                "parse and match"
            };
            let count = instructions(case, *hosts, file);
            println!(
                "{name:<22}{:>10}{:>14}{:>12.0}{:>16}",
                hosts * PER_HOST,
                table.as_bytes().len(),
                median(times[n].clone()),
                count.map_or("no valgrind".to_owned(), |c| format!("{c:.0}")),
            );
            counts.extend(count);
        }
        let by_time = median(times[1].clone()) / median(times[0].clone());
        match counts.as_slice() {
            [few, many] => {
                println!("{:<22}{:>36.2}{:>16.2}\n", "  ratio", by_time, many / few);
                ratio.push(many / few);
            }
            _ => println!("{:<22}{:>36.2}\n", "  ratio", by_time),
        }
    }
    if ratio.iter().any(|r| *r > 2.0) {
        println!("the large table takes more than twice the instructions of the small one");
        std::process::exit(1);
    }
}
