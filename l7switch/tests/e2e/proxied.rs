// SPDX-License-Identifier: MIT
//! The PROXY protocol between real programs: curl and HAProxy before the switch, nginx behind it.

use std::process::Stdio;

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::curl::curl;
use crate::support::free_port;
use crate::support::nginx::Nginx;
use crate::support::process::Process;
use crate::support::process::program;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

#[test]
fn nginx_hears_of_the_client_that_curl_names() {
    let nginx = Nginx::proxied("nginx");
    for version in ["v1", "v2"] {
        let pool = format!("send_proxy = \"{version}\"");
        let rules = simple(&[nginx.address], "accept_proxy = true", &pool);
        let switch = Switch::start(&rules);
        let url = switch.url("web") + "/name";
        let named = ["--haproxy-protocol", "--local-port", "41000-41999"];
        let answer = curl().args(named).ok(&url);
        let client = answer.field("x-client").unwrap();
        let port = client.strip_prefix("127.0.0.1 41");
        assert!(port.is_some_and(|rest| rest.len() == 3), "{client}");
    }
}

#[test]
fn haproxy_before_it_and_nginx_behind_it_with_tls_between() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.example"]);
    let nginx = Nginx::proxied("nginx");
    for version in ["send-proxy", "send-proxy-v2"] {
        let rules = format!(
            "[service.web]\nlisten = \"127.0.0.1:0\"\nprotocol = \"https\"\n\
             accept_proxy = \"127.0.0.0/8\"\ncertificates = [{}]\n\
             [[service.web.route]]\npool = \"main\"\n\
             [pool.main]\nservers = \"{}\"\nsend_proxy = \"v2\"\n",
            entry(&pair),
            nginx.address
        );
        let switch = Switch::start(&rules);
        let folder = tempfile::tempdir().unwrap();
        let listen = free_port([127, 0, 0, 1].into());
        let file = folder.path().join("haproxy.cfg");
        let configuration = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 9s\n timeout server 9s\n\
             listen a\n bind {listen}\n server b {} {version}\n",
            switch.address("web")
        );
        std::fs::write(&file, configuration).unwrap();
        let mut command = program("haproxy", "haproxy");
        command.arg("-db").arg("-f").arg(&file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let _haproxy = Process::start(command);
        until("haproxy listens", || {
            std::net::TcpStream::connect(listen).is_ok()
        });
        let port = listen.port();
        let answer = curl()
            .args(["--local-port", "41000-41999"])
            .args(["--resolve", &format!("a.example:{port}:127.0.0.1")])
            .arg("--cacert")
            .arg(authority.file())
            .ok(&format!("https://a.example:{port}/name"));
        let client = answer.field("x-client").unwrap();
        assert!(client.starts_with("127.0.0.1 41"), "{client}");
    }
}
