// SPDX-License-Identifier: MIT
//! `l7ctl import`: rules from the configuration of other programs. What has no counterpart stands as a comment with the reason; what would
//! open something if it were left out, closes.

mod both;
mod conditions;
mod flow;
mod haproxy;
mod ipvs;
mod nginx;
mod rules;
mod source;
mod toml;
mod write;

use std::io;
use std::io::Write as _;
use std::path::Path;

use crate::Outcome;
use crate::print;
use rules::Rules;
use source::Wrong;

use haproxy::net;
use haproxy::product as conditions_product;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// HAProxy: haproxy.cfg
    Haproxy,
    /// nginx: nginx.conf with what it includes, or one file of a site
    Nginx,
    /// IPVS: what ipvsadm --save --numeric writes
    Ipvs,
}

/// Translates a file, and writes the rules.
pub(crate) fn import(
    program: Program,
    path: &Path,
    output: Option<&Path>,
    out: &mut impl io::Write,
) -> Outcome {
    let (text, rules) = match translate(program, path) {
        Ok(rules) => write::finish(rules),
        Err(wrong) => {
            // Nothing is left to be told when standard error is gone.
            let _ = writeln!(io::stderr(), "l7ctl: {wrong}");
            return Ok(false);
        }
    };
    match output.filter(|path| *path != Path::new("-")) {
        Some(file) => {
            std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => print(out, &text)?,
    }
    let line = format!(
        "{} translated, {} not: comments say why",
        rules.translated, rules.left
    );
    let _ = writeln!(io::stderr(), "{}: {line}", path.display());
    Ok(true)
}

fn translate(program: Program, path: &Path) -> Result<Rules, Wrong> {
    match program {
        Program::Haproxy => haproxy::import(&source::short(path), &source::read(path)?),
        Program::Nginx => nginx::import(path),
        Program::Ipvs => ipvs::import(&source::short(path), &source::read(path)?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether the check reads what is made of rules: all that may be wrong is that nothing is served.
    fn is_read(rules: Rules) {
        let (text, _) = write::finish(rules);
        if let Err(report) = l7switch_rules::load_text("rules.toml", &text) {
            let codes: Vec<&str> = report.diagnostics().iter().map(|d| d.code).collect();
            assert!(
                codes
                    .iter()
                    .all(|code| *code == "no-service" || code.starts_with("un")),
                "{}\n{text}",
                report.render(false)
            );
            assert!(codes.contains(&"no-service"), "{codes:?}\n{text}");
        }
    }

    fn both(text: &str) {
        if let Ok(rules) = haproxy::import("haproxy.cfg", text) {
            is_read(rules);
        }
        if let Ok(rules) = nginx::import_text(text) {
            is_read(rules);
        }
        if let Ok(rules) = ipvs::import("rules", text) {
            is_read(rules);
        }
    }

    /// Lines of the two languages with words of a small vocabulary in any order.
    fn haproxy_text() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "a",
            "b",
            "if",
            "unless",
            "!a",
            "or",
            "{",
            "}",
            "path_beg",
            "path",
            "/x",
            "/x/",
            "hdr(host)",
            "-i",
            "www.example.com",
            "src",
            "10.0.0.0/8",
            "-m",
            "end",
            "reg",
            "^/(x",
            "\\.php$",
            "deny",
            "return",
            "status",
            "200",
            "set-header",
            "X-A",
            "%[src]",
            "%[bad",
            "redirect",
            "scheme",
            "https",
            "location",
            "set-path",
            "replace-path",
            "method",
            "GET",
            "ssl",
            "crt",
            "/c.pem",
            "check",
            "weight",
            "300",
            "cookie",
            "insert",
            ":80",
            "*:443",
            "10.0.0.1:80",
            "10.0.0.1",
            "verify",
            "none",
            "allow",
            "ssl_fc",
            "req.ssl_sni",
            "''",
            "\"\"",
            "\u{e9}",
            "99999999999999999999",
            "$x",
            "maxconn",
            "0",
        ]);
        let keyword = prop::sample::select(vec![
            "frontend a",
            "backend b",
            "listen c",
            "defaults",
            "mode http",
            "mode tcp",
            "bind :80",
            "bind",
            "acl a",
            "acl b",
            "http-request",
            "http-response",
            "use_backend b",
            "use_backend",
            "default_backend b",
            "server s 10.0.0.1:80",
            "server",
            "balance",
            "timeout connect",
            "timeout",
            "cookie",
            "tcp-request connection reject",
            "redirect",
            "option httpchk",
            "http-check",
            "retries",
            "maxconn",
            "http-request deny",
            "http-request set-header X-A",
        ]);
        let line = (keyword, prop::collection::vec(word, 0..7))
            .prop_map(|(keyword, words)| format!("{keyword} {}", words.join(" ")));
        prop::collection::vec(line, 0..14)
            .prop_map(|lines| format!("frontend f\nmode http\nbind :8080\n{}\n", lines.join("\n")))
    }

    fn nginx_text() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "location / { proxy_pass http://u; }",
            "location /a { deny all; }",
            "location = /b { return 200 \"x\"; }",
            "location ~ \\.php$ { proxy_pass http://u/x; }",
            "location ^~ /s/ { proxy_pass http://10.0.0.1; }",
            "location ~ (bad { proxy_pass http://u; }",
            "location /a/ { proxy_pass http://u/; }",
            "server_name a.example *.example;",
            "server_name ~^x;",
            "server_name \"\u{e9} x\";",
            "listen 80;",
            "listen 443 ssl;",
            "listen [::]:80 default_server;",
            "listen x:y;",
            "return 301 https://$host$request_uri;",
            "return 302 /x?$args;",
            "if ($host = a) { return 403; }",
            "if ($bad) { return 403; }",
            "if ($request_method !~ ^(GET)$) { return 405; }",
            "allow 10.0.0.0/8;",
            "deny all;",
            "deny 1;",
            "auth_basic x;",
            "auth_basic_user_file y;",
            "add_header \"X Y\" z;",
            "add_header A $x;",
            "proxy_set_header B \"\";",
            "error_page 500 502 /50x.html;",
            "root /r;",
            "rewrite ^/(.*)$ /x/$1 permanent;",
            "rewrite ^/a(.*) /$1 break;",
            "client_max_body_size 99999999999g;",
            "ssl_verify_client on;",
            "gzip on;",
            "} server {",
            "} upstream u { server 10.0.0.1; server 10.0.0.1; } server {",
            "} map $cookie_a $m { x u; default \"\"; } server {",
            "location /m { proxy_pass http://$m; }",
            "}",
            "{",
            "'",
            "location /n { location /n/m { return 404; } }",
        ]);
        prop::collection::vec(part, 0..16)
            .prop_map(|parts| format!("server {{ {} }}", parts.join("\n")))
    }

    fn ipvs_text() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "-t",
            "-u",
            "-f",
            "-r",
            "-s",
            "-p",
            "-w",
            "-x",
            "-y",
            "-m",
            "-g",
            "-i",
            "-o",
            "-M",
            "--pe",
            "10.0.0.1:80",
            "10.0.0.2",
            "[2001:db8::1]:80",
            "web:http",
            "wlc",
            "fo",
            "mh",
            "x",
            "0",
            "7",
            "-1",
            "99999999999999999999",
            "10.0.0.1:0",
        ]);
        let command = prop::sample::select(vec![
            "-A -t 10.0.0.1:80",
            "-A -u 10.0.0.1:53",
            "-A -f 1",
            "-A",
            "-a",
            "-a -t 10.0.0.1:80 -r 10.0.0.2:80",
            "-a -t 10.0.0.1:80 -r 10.0.0.2",
            "-C",
            "-E",
            "ipvsadm -A -t [::1]:443",
            "# x",
            "",
        ]);
        let line = (command, prop::collection::vec(word, 0..6))
            .prop_map(|(command, words)| format!("{command} {}", words.join(" ")));
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn any_ipvs(text in ipvs_text()) {
            both(&text);
        }

        #[test]
        fn any_text(text in "\\PC*", lines in "([a-z/{};=~^$'\"\\\\ #\n]){0,200}") {
            both(&text);
            both(&lines);
        }

        #[test]
        fn any_haproxy(text in haproxy_text()) {
            both(&text);
        }

        #[test]
        fn any_nginx(text in nginx_text()) {
            both(&text);
        }
    }

    #[test]
    fn what_protects_closes() {
        let closed = |rules: Rules| {
            let (text, _) = write::finish(rules);
            let rules = l7switch_rules::load_text("rules.toml", &text);
            rules.is_ok_and(|rules| {
                rules
                    .model
                    .services
                    .iter()
                    .all(|s| s.maintenance != l7switch_rules::model::Maintenance::default())
            })
        };
        let head = "frontend f\nmode http\nbind :80\ndefault_backend b\n";
        let tail = "\nbackend b\nserver s 10.0.0.1:80\n";
        let haproxy = |line: &str| haproxy::import("x", &format!("{head}{line}{tail}")).unwrap();
        for line in [
            "http-request deny if { sc_http_req_rate(0) gt 10 }",
            "http-request deny unless { hdr(x-a) -m found } { env(x) y }",
            "http-request deny if { path_reg (?<!a)b }",
            "http-request del-header X-A if { nbsrv(b) lt 1 }",
            "tcp-request connection reject if { src_conn_rate gt 5 }",
        ] {
            assert!(closed(haproxy(line)), "{line}");
        }
        assert!(!closed(haproxy("http-request deny if { path /x }")));
        let nginx = |line: &str| {
            nginx::import_text(&format!(
                "server {{ {line} location / {{ proxy_pass http://10.0.0.1; }} }}"
            ))
            .unwrap()
        };
        assert!(closed(nginx("location ~ (a)\\1 { deny all; }")));
        assert!(!closed(nginx("location ~ ^/a { deny all; }")));
        // Who the client is, is told in another way.
        let by_address = "deny 192.0.2.0/24; set_real_ip_from 10.0.0.0/8;";
        assert!(closed(nginx(by_address)));
        assert!(closed(nginx(
            "listen 80 proxy_protocol; deny 192.0.2.0/24;"
        )));
        assert!(!closed(nginx(&format!(
            "{by_address} real_ip_header X-Forwarded-For;"
        ))));
    }
}
