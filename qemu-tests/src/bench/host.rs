// SPDX-License-Identifier: MIT
//! The front beside other proxies, natively on this machine: client and server on one processor, the proxy on another,
//! all in turn, several times over. Rates of a shared machine mean little: their ratios in a round mean more.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::case::Case;
use super::configuration;
use super::contender::Contender;
use super::guest::Load;
use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;
use crate::host::artifacts;
use crate::host::tool;

/// What the others are compared with stands last.
const CONTENDERS: [Contender; 4] = [
    Contender::Direct,
    Contender::Front,
    Contender::Haproxy,
    Contender::Nginx,
];

/// The cases, which need no other machine.
const CASES: [&str; 3] = ["keepalive-128B", "connection-128B", "body-1MiB"];

/// How long a contender may take to come up.
const START: Duration = Duration::from_secs(10);

/// The real server's port; the contenders have those behind it.
const PORT: u16 = 18_080;

/// A program that ends where this is dropped.
struct Running(Child);

impl Running {
    fn start(processor: u8, line: &[&str], log: &Path) -> Result<Self> {
        let log = fs::File::create(log).doing_with("write", log)?;
        let mut command = on(processor, line);
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().doing(format!("start {}", line.join(" ")))?;
        Ok(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command on one processor.
fn on(processor: u8, line: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &processor.to_string()]).args(line);
    command
}

/// Rates of a contender, one of each round.
#[derive(Debug, Clone)]
struct Rates {
    contender: Contender,
    rates: Vec<f64>,
}

/// Measures; gives a table in Markdown.
///
/// # Errors
///
/// Where a program is missing or fails.
pub fn all(rounds: u32, seconds: u32) -> Result<String> {
    let front = artifacts::programs()?.0;
    let mut text = String::from(
        "| | direct, per second | front | HAProxy | nginx | front / HAProxy | front / nginx |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for case in CASES.iter().filter_map(|name| Case::find(name)) {
        let rates = measure(case, &front, rounds, seconds)?;
        let rate = |contender| rates.iter().find(|rates| rates.contender == contender);
        let _ = write!(text, "| {} |", case.name);
        for contender in CONTENDERS {
            let median = rate(contender).map_or(0.0, |rates| median(&rates.rates));
            let _ = write!(text, " {median:.0} |");
        }
        for other in [Contender::Haproxy, Contender::Nginx] {
            let ratios: Vec<f64> = rate(Contender::Front)
                .zip(rate(other))
                .map(|(front, other)| front.rates.iter().zip(&other.rates))
                .into_iter()
                .flatten()
                .map(|(front, other)| front / other)
                .collect();
            let _ = write!(text, " {:.2} |", median(&ratios));
        }
        text.push('\n');
    }
    Ok(text)
}

fn measure(case: &Case, front: &Path, rounds: u32, seconds: u32) -> Result<Vec<Rates>> {
    let folder = tempfile::tempdir().doing("make a temporary folder")?;
    let folder = folder.path();
    let to = SocketAddr::from(([127, 0, 0, 1], PORT));
    let _server = origin(to, folder)?;
    let script = write(folder, "load.lua", &configuration::load(case))?;
    let mut running = Vec::new();
    let mut all = Vec::new();
    for (port, contender) in (PORT..).zip(CONTENDERS) {
        let at = SocketAddr::new(to.ip(), port);
        running.extend(start(contender, case, at, &[to], front, folder)?);
        wait_for(at)?;
        all.push((
            at,
            Rates {
                contender,
                rates: Vec::new(),
            },
        ));
    }
    for _ in 0..rounds {
        for (at, rates) in &mut all {
            let url = format!("http://{at}/{}", case.path);
            let line = format!(
                "wrk -t1 -c{} -s {script} {} {url}",
                case.connections, case.options
            );
            let load = |seconds: u32| {
                let line = format!("taskset -c 0 {line} -d{seconds}s");
                tool::output(Command::new("sh").args(["-c", &line]))
            };
            load(1)?;
            let printed = load(seconds)?;
            let load = Load::find(&printed).ok_or_else(|| Error::Tool {
                tool: format!("{} in {}", rates.contender, case.name),
                output: printed,
            })?;
            rates.rates.push(load.rate(case));
        }
    }
    Ok(all.into_iter().map(|(_, rates)| rates).collect())
}

fn start(
    contender: Contender,
    case: &Case,
    at: SocketAddr,
    to: &[SocketAddr],
    front: &Path,
    folder: &Path,
) -> Result<Option<Running>> {
    let place = folder.display().to_string();
    let log = folder.join(format!("{contender}.log"));
    let begin = |line: &[&str]| Running::start(1, line, &log).map(Some);
    match contender {
        Contender::Front => {
            let rules = configuration::rules(case, at, to, "nat");
            let file = write(folder, "rules.toml", &rules)?;
            begin(&[&front.display().to_string(), &file])
        }
        Contender::Haproxy => {
            let text = configuration::haproxy(case, at, to, &place);
            let file = write(folder, "haproxy.cfg", &text)?;
            begin(&["haproxy", "-db", "-f", &file])
        }
        Contender::Nginx => {
            let text = configuration::nginx(case, at, to, &place);
            let file = write(folder, "nginx.conf", &text)?;
            begin(&["nginx", "-c", &file, "-e", &format!("{place}/nginx.error")])
        }
        _ => Ok(None),
    }
}

/// The real server, beside the client.
fn origin(at: SocketAddr, folder: &Path) -> Result<Running> {
    let root = folder.join("root");
    fs::create_dir(&root).doing_with("make", &root)?;
    for (name, content) in configuration::files() {
        fs::write(root.join(name), content).doing_with("write", &root)?;
    }
    let place = folder.display().to_string();
    let text = configuration::origin(&format!("listen {at};"), &place);
    let file = write(folder, "origin.conf", &text)?;
    let errors = format!("{place}/origin.error");
    Running::start(
        0,
        &["nginx", "-c", &file, "-e", &errors],
        &folder.join("origin.log"),
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text).doing_with("write", &path)?;
    Ok(path.display().to_string())
}

fn wait_for(at: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START;
    while TcpStream::connect(at).is_err() {
        if Instant::now() > deadline {
            return Err(Error::Message(format!("nobody listens on {at}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The middle one, or the upper one of two.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
