// SPDX-License-Identifier: MIT
//! The switch under test: the program itself, its rule file, its admin socket.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use l7switch_admin_api::ServerState;
use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::Servers;
use l7switch_admin_api::Status;
use tempfile::TempDir;

use super::LOCALHOST;
use super::curl::curl;
use super::free_port;
use super::process::Process;

/// A running switch with one folder for its rules, admin socket and log.
#[derive(Debug)]
pub(crate) struct Switch {
    process: Process,
    /// Those whose place it has taken, and which may not have ended.
    before: Vec<Process>,
    folder: TempDir,
    ports: Ports,
    arguments: Vec<String>,
}

/// What `127.0.0.1:0` and `127.0.0.2:0` stand for in the rules of one switch, from first to last.
#[derive(Debug)]
struct Ports([(String, SocketAddr); 2]);

impl Ports {
    fn find() -> Self {
        let hosts = [LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
        Self(hosts.map(|host| (format!("{host}:0"), free_port(host))))
    }

    fn put_into(&self, rules: &str) -> String {
        self.0
            .iter()
            .fold(rules.to_owned(), |rules, (word, address)| {
                // The quotation mark tells it from a longer port.
                ["'", "\""].iter().fold(rules, |rules, quote| {
                    rules.replace(&format!("{word}{quote}"), &format!("{address}{quote}"))
                })
            })
    }
}

/// How often other ports are tried when somebody else was faster.
const TRIES: usize = 10;

impl Switch {
    /// A switch with these rules, which is ready.
    pub(crate) fn start(rules: &str) -> Self {
        Self::start_with(rules, &[])
    }

    /// The same with more arguments. The rule file is not watched unless they say `--watch`, which
    /// is a word of these tests only: where a reload is asked for, no second one may come by itself.
    pub(crate) fn start_with(rules: &str, arguments: &[&str]) -> Self {
        for _ in 0..TRIES {
            let switch = Self::launch(rules, arguments);
            if switch.process.try_line("l7switch: ready").is_some() {
                return switch;
            }
            let log = switch.log();
            assert!(
                log.contains("Address already in use"),
                "the switch does not start:\n{log}"
            );
        }
        panic!("no port is free");
    }

    fn launch(rules: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::find();
        std::fs::write(folder.path().join("rules.toml"), ports.put_into(rules)).unwrap();
        Self {
            process: Process::start(command(folder.path(), arguments)),
            before: Vec::new(),
            folder,
            ports,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
        }
    }

    /// Starts another switch with the same rules and arguments, and these.
    pub(crate) fn another(&self, more: &[&str]) -> Process {
        let own = self.arguments.iter().map(String::as_str);
        let arguments: Vec<&str> = own.chain(more.iter().copied()).collect();
        Process::start(command(self.folder(), &arguments))
    }

    /// Has another process take its place.
    #[track_caller]
    pub(crate) fn take_over(&mut self) {
        let successor = self.another(&["--take-over"]);
        if successor.try_line("l7switch: ready").is_none() {
            panic!("the successor does not start:\n{}", self.log());
        }
        self.becomes(successor);
    }

    /// Another process has taken its place.
    pub(crate) fn becomes(&mut self, successor: Process) {
        self.before
            .push(std::mem::replace(&mut self.process, successor));
    }

    /// Waits until all whose place it has taken have ended, and gives whether in order.
    #[track_caller]
    pub(crate) fn all_before_end(&mut self) -> bool {
        let ends = self.before.drain(..);
        ends.map(|mut process| process.wait())
            .fold(true, |all, end| all & end.success())
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap()
    }

    fn admin_socket(&self) -> PathBuf {
        self.folder().join("admin")
    }

    /// An answer of the admin socket: status and content.
    #[track_caller]
    pub(crate) fn admin(&self, method: &str, path: &str, content: &str) -> (u16, String) {
        let answer = curl()
            .arg("--unix-socket")
            .arg(self.admin_socket())
            .args(["-X", method, "--data-binary", content])
            .get(&format!("http://switch{path}"));
        assert_eq!(answer.exit, 0, "{}", answer.errors);
        let text = answer.text();
        (answer.status, text)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        let (status, content) = self.admin("GET", "/v1/status", "");
        assert_eq!(status, 200, "{content}");
        serde_json::from_str(&content).unwrap()
    }

    #[track_caller]
    pub(crate) fn servers(&self) -> Vec<ServerStatus> {
        let (status, content) = self.admin("GET", "/v1/servers", "");
        assert_eq!(status, 200, "{content}");
        serde_json::from_str::<Servers>(&content).unwrap().servers
    }

    #[track_caller]
    pub(crate) fn server(&self, address: SocketAddr) -> ServerStatus {
        self.servers()
            .into_iter()
            .find(|server| server.address == address.to_string())
            .unwrap()
    }

    /// Waits until a server is in this state.
    #[track_caller]
    pub(crate) fn until_server(&self, address: SocketAddr, state: ServerState) {
        let what = format!("{address} is {}", state.as_str());
        super::until(&what, || self.server(address).state == state);
    }

    #[track_caller]
    pub(crate) fn change_server(&self, pool: &str, address: SocketAddr, change: &str) {
        let path = format!("/v1/servers/{pool}/{address}");
        let (status, content) = self.admin("PATCH", &path, change);
        assert_eq!(status, 200, "{content}");
    }

    /// Replaces the rule file at once, as a careful editor does.
    pub(crate) fn replace_rules(&self, rules: &str) {
        let new = self.folder().join("rules.new");
        std::fs::write(&new, self.ports.put_into(rules)).unwrap();
        std::fs::rename(&new, self.folder().join("rules.toml")).unwrap();
    }

    /// Writes over the rule file, as a careless editor does.
    pub(crate) fn overwrite_rules(&self, rules: &str) {
        std::fs::write(self.folder().join("rules.toml"), self.ports.put_into(rules)).unwrap();
    }

    /// Replaces the rules and has them loaded.
    #[track_caller]
    pub(crate) fn reload(&self, rules: &str) {
        self.replace_rules(rules);
        let (status, content) = self.admin("POST", "/v1/reload", "");
        assert_eq!(status, 200, "{content}");
    }

    /// The first address of a service.
    #[track_caller]
    pub(crate) fn address(&self, service: &str) -> SocketAddr {
        self.status().services[service].listen[0]
    }

    /// The URL of a service of protocol http, without a slash at its end.
    #[track_caller]
    pub(crate) fn url(&self, service: &str) -> String {
        format!("http://{}", self.address(service))
    }

    /// A number of `/proc/PID/status` that is given in kB, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
        number.parse::<u64>().unwrap() * 1024
    }

    /// The most memory that was ever resident, bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM")
    }

    /// The memory that is resident now, bytes.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("VmRSS")
    }

    /// How many file descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended().is_some()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

/// The switch with the rules, admin socket and log of a folder.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut log = std::fs::OpenOptions::new();
    let log = log.create(true).append(true).open(folder.join("log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_l7switch"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("L7SWITCH_") {
            command.env_remove(name);
        }
    }
    // Where these tests run, the kernel may be another switch's; those that mean it say --kernel.
    command
        .env("L7SWITCH_KERNEL", "off")
        .arg(folder.join("rules.toml"))
        .arg("--admin")
        .arg(folder.join("admin"))
        .args(arguments.iter().filter(|argument| **argument != "--watch"))
        .stderr(Stdio::from(log.unwrap()));
    if !arguments.contains(&"--watch") {
        command.arg("--no-watch");
    }
    command
}

/// Rules with one service `web` of protocol http, all of whose requests go to one pool `main`;
/// `service` and `pool` are further lines of them.
pub(crate) fn simple(servers: &[SocketAddr], service: &str, pool: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:0\"\nprotocol = \"http\"\n{service}\n\
         [[service.web.route]]\npool = \"main\"\n\
         [pool.main]\nservers = {}\n{pool}\n",
        list(servers)
    )
}

/// Addresses as a list of TOML.
pub(crate) fn list(servers: &[SocketAddr]) -> String {
    let quoted: Vec<String> = servers
        .iter()
        .map(|server| format!("\"{server}\""))
        .collect();
    format!("[{}]", quoted.join(", "))
}
