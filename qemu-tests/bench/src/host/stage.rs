// SPDX-License-Identifier: MIT
//! The real server and all contenders of a case, running: what all cases need, and what those in clear text do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;

use super::super::case::Case;
use super::super::configuration as common;
use super::CLIENTS;
use super::PROXIES;
use super::configuration;
use super::contender;
use super::contender::Contender;
use super::contender::Programs;
use super::time;

/// How long a contender may take to come up.
const START: Duration = Duration::from_secs(30);

/// How long one may take to answer while that is waited for.
const ANSWER: Duration = Duration::from_secs(1);

/// The real server's port; the contenders have those behind it.
const PORT: u16 = 18_080;

/// What is measured, running; it ends where this is dropped. A case is a [`Case`], or one of [`super::encrypted`]'s.
#[derive(Debug)]
pub(super) struct Stage<C: 'static = Case> {
    pub(super) case: &'static C,
    running: BTreeMap<Contender, Running>,
    folder: tempfile::TempDir,
}

/// A program that ends where this is dropped.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a contender listens.
pub(super) fn address(contender: Contender) -> SocketAddr {
    let port = match contender {
        Contender::Direct => PORT,
        Contender::Front => PORT + 1,
        Contender::Haproxy => PORT + 2,
        Contender::Nginx => PORT + 3,
        Contender::Envoy => PORT + 4,
        Contender::Traefik => PORT + 5,
    };
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl<C> Stage<C> {
    /// Nothing runs yet.
    pub(super) fn empty(case: &'static C) -> Result<Self> {
        Ok(Self {
            case,
            running: BTreeMap::new(),
            folder: tempfile::tempdir().doing("make a temporary folder")?,
        })
    }

    /// The folder of this stage's files.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Seconds of processor time that a contender has taken so far; where there is none, the real server has.
    pub(super) fn processor_time(&self, contender: Contender) -> Result<f64> {
        let running = self.running.get(&contender);
        running.map_or(Ok(0.0), |Running(child)| time::of_process(child.id()))
    }

    /// Writes a file of this stage's; gives its path.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.folder.path().join(name);
        fs::write(&path, content).doing_with("write", &path)?;
        Ok(path.display().to_string())
    }

    /// Writes what nginx as the real server needs, where it serves as in this case; gives its command line.
    pub(super) fn origin(&self, case: &Case) -> Result<Vec<String>> {
        let root = self.folder.path().join("root");
        fs::create_dir(&root).doing_with("make", &root)?;
        for (name, content) in common::files() {
            self.write(&format!("root/{name}"), content)?;
        }
        let folder = self.folder.path().display().to_string();
        let listen = format!("listen {};", address(Contender::Direct));
        let file = self.write("origin.conf", common::origin(case, &listen, &folder))?;
        let line = format!("nginx -c {file} -e {folder}/origin.error");
        Ok(line.split(' ').map(str::to_owned).collect())
    }

    /// Starts a contender's program, and waits until it answers.
    pub(super) fn start(
        &mut self,
        contender: Contender,
        line: &[String],
        answers: impl Fn() -> bool,
    ) -> Result<()> {
        let processor = match contender {
            Contender::Direct => CLIENTS,
            _ => PROXIES,
        };
        let log = self.folder.path().join(format!("{}.log", contender.name()));
        let file = fs::File::create(&log).doing_with("write", &log)?;
        let copy = file.try_clone().doing_with("write", &log)?;
        let child = on(processor, line)
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(file)
            .spawn()
            .doing(format!("start {}", line.join(" ")))?;
        self.running.insert(contender, Running(child));
        let deadline = Instant::now() + START;
        while !answers() {
            if Instant::now() > deadline {
                return Err(Error::Tool {
                    tool: line.join(" "),
                    output: fs::read_to_string(&log).unwrap_or_default(),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Stage<Case> {
    /// Starts all of it.
    pub(super) fn new(case: &'static Case, programs: &Programs) -> Result<Self> {
        let mut stage = Self::empty(case)?;
        for contender in Contender::ALL {
            let line = stage.line(contender, programs)?;
            stage.start(contender, &line, || answers(address(contender), case))?;
        }
        Ok(stage)
    }

    /// What the client asks a contender for.
    pub(super) fn url(&self, contender: Contender) -> String {
        format!("http://{}/{}", address(contender), self.case.path)
    }

    /// Writes a contender's configuration; gives its command line.
    fn line(&self, contender: Contender, programs: &Programs) -> Result<Vec<String>> {
        let case = self.case;
        let folder = self.folder.path().display().to_string();
        let (at, to) = (address(contender), address(Contender::Direct));
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Ok(match contender {
            Contender::Direct => self.origin(case)?,
            Contender::Front => {
                let text = common::rules(case, at, &[to], "nat");
                let file = self.write("rules.toml", text)?;
                words(&[&programs.front.display().to_string(), &file])
            }
            Contender::Haproxy => {
                let text = common::haproxy(case, at, &[to], &folder);
                let file = self.write("haproxy.cfg", text)?;
                words(&["haproxy", "-db", "-f", &file])
            }
            Contender::Nginx => {
                let text = common::nginx(case, at, &[to], &folder);
                let file = self.write("nginx.conf", text)?;
                words(&["nginx", "-c", &file, "-e", &format!("{folder}/nginx.error")])
            }
            Contender::Envoy => {
                let file = self.write("envoy.yaml", configuration::envoy(at, to, "", ""))?;
                programs.envoy_line(&file)
            }
            Contender::Traefik => {
                let routes =
                    configuration::traefik_routes(&format!("http://{to}"), case.connections);
                let routes = self.write("traefik-routes.toml", routes)?;
                let file = self.write("traefik.toml", configuration::traefik(at, &routes))?;
                let traefik = programs.traefik.display().to_string();
                words(&[&traefik, &format!("--configFile={file}")])
            }
        })
    }
}

/// A command on one processor.
pub(super) fn on(processor: u8, line: &[String]) -> Command {
    let mut command = contender::command(Path::new("taskset"));
    command.args(["-c", &processor.to_string()]).args(line);
    command
}

/// Whether what is asked for is there: some listen before they know where to pass a request on.
fn answers(at: SocketAddr, case: &Case) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect(at)?;
        socket.set_read_timeout(Some(ANSWER))?;
        write!(
            socket,
            "GET /{} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n",
            case.path
        )?;
        let mut start = [0; 12];
        socket.read_exact(&mut start)?;
        Ok::<_, std::io::Error>(start == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
