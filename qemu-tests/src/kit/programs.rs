// SPDX-License-Identifier: MIT
//! Servers that tests put behind or beside the switch.

use std::fs;
use std::net::Ipv4Addr;

use super::network::Host;
use super::process::Process;

/// nginx on a host, on port 80 of every address. It answers with files and with what `locations` says.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
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
            "daemon off;\npid {folder}/pid;\nerror_log stderr warn;\nworker_processes 1;\n\
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
        Self { process, folder }
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

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
