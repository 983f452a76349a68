// SPDX-License-Identifier: MIT
//! nginx as a real server, with a configuration, a prefix and ports of its own.

use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use super::LOCALHOST;
use super::free_port;
use super::process::Process;
use super::process::program;

/// How often another port is tried when somebody else was faster.
const TRIES: usize = 10;

/// A running nginx that serves the files of its folder `root`, and its name under `/name`.
#[derive(Debug)]
pub(crate) struct Nginx {
    process: Option<Process>,
    folder: TempDir,
    pub(crate) address: SocketAddr,
}

/// Certificate and key, PEM files.
pub(crate) type Pair<'a> = (&'a Path, &'a Path);

/// What is spoken where it listens.
#[derive(Clone, Copy)]
enum Listen<'a> {
    Plain,
    Http2,
    Proxied,
    Tls(Pair<'a>),
    ClientTls(Pair<'a>, &'a Path),
}

impl Nginx {
    /// An nginx that answers as `name`.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, Listen::Plain)
    }

    /// An nginx that wants a PROXY header, and says in X-Client whom it names.
    pub(crate) fn proxied(name: &str) -> Self {
        Self::start_with(name, Listen::Proxied)
    }

    /// The same, and it wants a certificate of the clients, signed by this authority.
    pub(crate) fn with_client_tls(name: &str, pair: Pair<'_>, authority: &Path) -> Self {
        Self::start_with(name, Listen::ClientTls(pair, authority))
    }

    /// An nginx that speaks HTTP/2 in clear text, with prior knowledge.
    pub(crate) fn with_http2(name: &str) -> Self {
        Self::start_with(name, Listen::Http2)
    }

    /// An nginx that speaks TLS, HTTP/1.1 and 2.
    pub(crate) fn with_tls(name: &str, pair: Pair<'_>) -> Self {
        Self::start_with(name, Listen::Tls(pair))
    }

    fn start_with(name: &str, listen: Listen<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        std::fs::create_dir(folder.path().join("temp")).unwrap();
        for _ in 0..TRIES {
            let address = free_port(LOCALHOST);
            std::fs::write(
                folder.path().join("conf"),
                configuration(name, address, &folder.path().join("socket"), listen),
            )
            .unwrap();
            if let Some(process) = launch(folder.path(), address) {
                return Self {
                    process: Some(process),
                    folder,
                    address,
                };
            }
        }
        panic!("nginx does not start: {}", log(folder.path()));
    }

    /// Where its files are.
    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    /// Where else it listens, unless it speaks TLS or wants a PROXY header.
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("socket")
    }

    /// Requests that it has answered and logged, one line each.
    pub(crate) fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("access")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Kills it; its address stays.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it after the requests in progress; its address stays.
    pub(crate) fn quit(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal("QUIT");
        process.wait();
    }

    /// Starts it again at its address.
    pub(crate) fn restart(&mut self) {
        let process = launch(self.folder.path(), self.address);
        assert!(process.is_some(), "nginx: {}", log(self.folder.path()));
        self.process = process;
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("error")).unwrap_or_default()
}

/// Starts nginx; nothing where it ends before it listens.
fn launch(folder: &Path, address: SocketAddr) -> Option<Process> {
    let _ = std::fs::remove_file(folder.join("pid"));
    // One that was killed leaves it behind.
    let _ = std::fs::remove_file(folder.join("socket"));
    let mut command = program("nginx", "nginx-light");
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("conf"));
    // Before it has read its configuration it wants to write to /var/log.
    command.args(["-e", "error"]).stderr(Stdio::null());
    let mut process = Process::start_group(command);
    let mut alive = true;
    super::until("nginx listens", || {
        // Nobody else can be there while it lives: it ends when it cannot bind.
        alive = process.has_ended().is_none();
        !alive || (folder.join("pid").exists() && TcpStream::connect(address).is_ok())
    });
    alive.then_some(process)
}

fn configuration(name: &str, address: SocketAddr, socket: &Path, listen: Listen<'_>) -> String {
    let socket = socket.display();
    let listen = match listen {
        Listen::Plain => format!("listen {address};\nlisten unix:{socket};"),
        Listen::Http2 => {
            format!("listen {address} http2;\nlisten unix:{socket} http2;\nkeepalive_requests 10;")
        }
        Listen::Proxied => format!(
            "listen {address} proxy_protocol;
        add_header X-Client \"$proxy_protocol_addr $proxy_protocol_port\" always;"
        ),
        Listen::ClientTls((cert, key), authority) => format!(
            "listen {address} ssl;\nssl_certificate {};\nssl_certificate_key {};
        ssl_verify_client on;\nssl_client_certificate {};
        add_header X-Client $ssl_client_s_dn always;",
            cert.display(),
            key.display(),
            authority.display()
        ),
        Listen::Tls((cert, key)) => format!(
            "listen {address} ssl http2;\nssl_certificate {};\nssl_certificate_key {};",
            cert.display(),
            key.display()
        ),
    };
    // Without super-user privileges the user is ignored; with them nobody else could read the folder.
    format!(
        "daemon off;
user root root;
worker_processes 1;
pid pid;
error_log error warn;
events {{ worker_connections 4096; }}
http {{
    access_log access;
    client_body_temp_path temp/body;
    proxy_temp_path temp/proxy;
    fastcgi_temp_path temp/fastcgi;
    uwsgi_temp_path temp/uwsgi;
    scgi_temp_path temp/scgi;
    types {{ text/plain txt; text/html html; }}
    default_type application/octet-stream;
    sendfile on;
    gzip on;
    gzip_proxied any;
    gzip_types text/plain;
    server {{
        {listen}
        root root;
        client_max_body_size 0;
        add_header X-Served-By {name} always;
        location /put/ {{ dav_methods PUT; create_full_put_path on; }}
        add_header X-Protocol $server_protocol always;
        location = /name {{ return 200 \"{name}\\n\"; }}
        location = /healthz {{ access_log off; return 200 \"well\\n\"; }}
    }}
}}
"
    )
}
