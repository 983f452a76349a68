// SPDX-License-Identifier: MIT
//! Servers that tests put behind or beside the switch.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::thread;

use super::network::Host;
use super::process::Process;

/// A server in the test's own process, which answers every request with the host's name: for tests of what is in front of
/// it. It takes milliseconds where [`Nginx`] takes most of a second. It reads no bodies.
#[derive(Debug)]
pub struct Origin {
    listeners: Vec<TcpListener>,
}

impl Origin {
    /// Starts it on port 80 of every address.
    #[must_use]
    pub fn start(host: &Host) -> Self {
        Self::on(host, &[80])
    }

    /// Starts it on these ports of every address.
    ///
    /// # Panics
    ///
    /// Where one is taken.
    #[must_use]
    pub fn on(host: &Host, ports: &[u16]) -> Self {
        let listen = |&port: &u16| {
            // For IPv4 too, as net.ipv6.bindv6only is 0.
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .unwrap_or_else(|error| panic!("port {port} of {}: {error}", host.name()));
            let accepting = listener.try_clone().expect("a descriptor can be copied");
            let answer = format!("{}\n", host.name());
            thread::spawn(move || {
                // The end is an error: the socket listens no longer.
                while let Ok((stream, _)) = accepting.accept() {
                    let answer = answer.clone();
                    thread::spawn(move || serve(stream, &answer));
                }
            });
            listener
        };
        Self {
            listeners: host.inside(|| ports.iter().map(listen).collect()),
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        for listener in self.listeners.drain(..) {
            // Ends the thread's wait, and nobody can connect any more.
            let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
        }
    }
}

/// Answers each request of a connection, until the client ends it.
fn serve(mut stream: TcpStream, answer: &str) {
    let Ok(reader) = stream.try_clone() else {
        return;
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    for line in BufReader::new(reader).lines() {
        let answered = match line {
            Ok(line) if line.is_empty() => stream.write_all((head.clone() + answer).as_bytes()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if answered.is_err() {
            return;
        }
    }
}

/// nginx on a host, on port 80 of every address. It answers with files and with what `locations` says.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    folder: String,
}

impl Nginx {
    /// Starts it, and waits until it listens. `/` answers with the host's name, whatever the path.
    #[must_use]
    pub fn start(host: &Host) -> Self {
        let name = host.name().to_owned();
        Self::with(host, &format!("location / {{ return 200 \"{name}\\n\"; }}"))
    }

    /// Starts it with these directives in its server block, among them `location`s. The root is [`Self::folder`].
    ///
    /// # Panics
    ///
    /// Where it does not come up.
    #[must_use]
    pub fn with(host: &Host, directives: &str) -> Self {
        let folder = format!("/tmp/nginx-{}", host.name());
        fs::create_dir_all(format!("{folder}/root")).expect("/tmp is writable");
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr warn;\nworker_processes 1;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log {folder}/access.log;\n  default_type text/plain;\n  keepalive_requests 1000000;\n  \
             client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
             server {{\n    listen 80 reuseport;\n    listen [::]:80 reuseport;\n    root {folder}/root;\n    \
             {directives}\n  }}\n}}\n"
        );
        let file = format!("{folder}/nginx.conf");
        fs::write(&file, configuration).expect("/tmp is writable");
        let process = host.start(&format!("nginx -c {file} -e {folder}/error.log"));
        host.wait_for_port((Ipv4Addr::LOCALHOST, 80));
        Self {
            _process: process,
            folder,
        }
    }

    /// The folder whose files it serves.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}/root", self.folder)
    }

    /// Its access log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(format!("{}/access.log", self.folder)).unwrap_or_default()
    }
}
