// SPDX-License-Identifier: MIT
//! `l7ctl import`: files as people have them, and real programs beside the rules that are made of their files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::HashMap;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use l7switch_rules::explain::Question;
use l7switch_rules::explain::explain;

fn import(program: &str, file: &Path) -> Output {
    let l7ctl = Command::new(env!("CARGO_BIN_EXE_l7ctl"));
    let mut l7ctl = l7ctl;
    l7ctl.args(["import", program]).arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `UPDATE_GOLDEN=1 cargo test -p l7ctl --test import` writes the expected rules anew.
#[test]
fn files_as_people_have_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let kind = file.extension().and_then(|kind| kind.to_str()).unwrap();
        let program = match kind {
            "cfg" => "haproxy",
            "conf" => "nginx",
            "ipvs" => "ipvs",
            _ => continue,
        };
        seen += 1;
        let made = import(program, &file);
        assert_eq!(made.status.code(), Some(0), "{file:?}");
        let told = text(&made.stderr);
        assert!(
            told.lines().count() == 1 && told.contains(" translated, "),
            "{told}"
        );
        let rules = text(&made.stdout);
        if let Err(report) = l7switch_rules::load_text("rules.toml", &rules) {
            panic!("{file:?}: {}", report.render(false));
        }
        let rules = format!("# SPDX-License-Identifier: MIT\n{rules}");
        let golden = file.with_extension("toml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &rules).unwrap();
        }
        assert_eq!(
            rules,
            std::fs::read_to_string(&golden).unwrap(),
            "{golden:?}"
        );
    }
    assert!(seen >= 12, "{seen}");
}

#[test]
fn what_is_not_that_language() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.conf");
    let cases: [(&str, &[u8], &str); 5] = [
        ("nginx", b"http {\n  server {\n", "x.conf:2:3: "),
        ("nginx", b"a \xff;", ":1:3: not UTF-8"),
        ("haproxy", b"frontend a\n bind 'x", "x.conf:2:7: "),
        ("haproxy", b"bind :80\n", "x.conf:1:1: "),
        (
            "haproxy",
            b"frontend a\n mode \x01",
            "x.conf:2:7: a control character",
        ),
    ];
    for (program, bytes, place) in cases {
        std::fs::write(&file, bytes).unwrap();
        let made = import(program, &file);
        let told = text(&made.stderr);
        assert_eq!(made.status.code(), Some(1), "{told}");
        assert!(told.contains(place) && made.stdout.is_empty(), "{told}");
    }
    std::fs::write(&file, "server { listen 80; return 404; }").unwrap();
    let rules: PathBuf = folder.path().join("rules.toml");
    let file = file.to_string_lossy().into_owned();
    let args = ["import", "nginx", &file, "-o", &rules.to_string_lossy()];
    let made = Command::new(env!("CARGO_BIN_EXE_l7ctl"))
        .args(args)
        .output()
        .unwrap();
    assert!(made.status.success() && made.stdout.is_empty());
    assert!(
        std::fs::read_to_string(rules)
            .unwrap()
            .contains("status = 404")
    );
}

/// A server that says its name.
fn server(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
                name.len()
            );
            let _ = stream.write_all(head.as_bytes());
        }
    });
    port
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The answer of a program: the server's name, or a status.
fn ask(port: u16, request: &str) -> String {
    let (method, host, target, field) = parts(request);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let field = field.map_or(String::new(), |field| format!("{field}\r\n"));
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{field}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or("none");
    match status {
        "200" if !answer.ends_with('\n') => answer.rsplit("\r\n\r\n").next().unwrap().to_owned(),
        status => status.to_owned(),
    }
}

/// `METHOD host/target | Field: value`, as explain's examples are written.
fn parts(request: &str) -> (&str, &str, &str, Option<&str>) {
    let (request, field) = match request.split_once(" | ") {
        Some((request, field)) => (request, Some(field)),
        None => (request, None),
    };
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    let at = url.find('/').unwrap();
    (method, &url[..at], &url[at..], field)
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program and the rules that are made of its file send each request to the same server.
fn agree(program: &str, config: &str, names: &[&'static str], requests: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut config = config.replace("LISTEN", &port.to_string());
    let mut servers = HashMap::new();
    for name in names {
        let at = server(name);
        servers.insert(at, *name);
        config = config.replace(&format!("[{name}]"), &format!("127.0.0.1:{at}"));
    }
    let file = folder.path().join("config");
    std::fs::write(&file, &config).unwrap();
    let mut command = match program {
        "nginx" => {
            let mut command = Command::new("/usr/sbin/nginx");
            let whole = folder.path().join("nginx.conf");
            let text = format!(
                "pid {0}/pid; error_log {0}/log; daemon off; master_process off; events {{}} http {{ access_log off; \
                client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; \
                include {0}/config; }}",
                folder.path().display()
            );
            std::fs::write(&whole, text).unwrap();
            command.arg("-p").arg(folder.path()).arg("-c").arg(whole);
            command
        }
        _ => {
            let mut command = Command::new("/usr/sbin/haproxy");
            command.arg("-db").arg("-f").arg(&file);
            command
        }
    };
    let _running = Running(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{program} does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let made = import(program, &file);
    let rules = text(&made.stdout);
    let set = l7switch_rules::load_text("rules.toml", &rules).unwrap();
    let mut different = Vec::new();
    for request in requests {
        let (method, host, target, field) = parts(request);
        let mut headers = vec![("Host".to_owned(), host.to_owned())];
        headers.extend(field.map(|field| {
            let (name, value) = field.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        }));
        let question = Question {
            url: format!("http://127.0.0.1:{port}{target}"),
            method: Some(method.to_owned()),
            headers,
            source: Some("127.0.0.1".parse().unwrap()),
            sni: None,
            service: None,
        };
        let explained = explain(&set.model, &set.table, &question).unwrap();
        let ours = match (explained.pools.first(), explained.status) {
            (Some(pool), _) => {
                let address = pool.servers[0].address.to_string();
                let port = address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
                servers[&port].to_owned()
            }
            (None, Some(status)) => status.to_string(),
            (None, None) => explained
                .redirect
                .map_or("none".to_owned(), |redirect| redirect.status.to_string()),
        };
        let theirs = ask(port, request);
        if ours != theirs {
            different.push(format!("{request}: {program} {theirs}, the rules {ours}"));
        }
    }
    assert!(different.is_empty(), "{different:#?}\n{rules}");
}

#[test]
fn e2e_nginx_and_the_rules_agree() {
    let config = r#"
        map $cookie_canary $target { "always" [two]; "~^n" [three]; default [one]; }
        server {
            listen LISTEN default_server;
            server_name www.example.com *.wide.example.com;
            if ($http_user_agent ~* badbot) { return 403; }
            location / { proxy_pass http://[one]; }
            location = / { proxy_pass http://[two]; }
            location /api { proxy_pass http://[two]; }
            location /api/v2/ { proxy_pass http://[three]; }
            location = /api/v2/exact { return 410; }
            location ^~ /static/ { proxy_pass http://[four]; }
            location /static/deep { proxy_pass http://[five]; }
            location ~* \.(png|jpg)$ { proxy_pass http://[three]; }
            location ~ ^/api/.*\.json$ { proxy_pass http://[five]; }
            location /private { allow 192.0.2.0/24; deny all; proxy_pass http://[one]; }
            location /local { allow 127.0.0.0/8; deny all; proxy_pass http://[four]; }
            location /go { return 302 https://example.org/; }
            location /old/ { rewrite ^/old/(.*)$ /new/$1 permanent; proxy_pass http://[one]; }
            location /by-cookie { proxy_pass http://$target; }
            location ~ /\.git { deny all; }
        }
        server { listen LISTEN; server_name b.wide.example.com; location / { proxy_pass http://[five]; } }
        server { listen LISTEN; server_name *.b.wide.example.com; location / { proxy_pass http://[four]; } }
        server { listen LISTEN; server_name ~^re[0-9]+\.; location / { proxy_pass http://[three]; } location /x { return 404; } }
        server { listen LISTEN; server_name mail.*; if ($request_method !~ ^(GET|HEAD)$) { return 405; } location / { proxy_pass http://[two]; } }
    "#;
    let requests = [
        "www.example.com/",
        "www.example.com/x",
        "www.example.com/api",
        "www.example.com/apix",
        "www.example.com/api/v2",
        "www.example.com/api/v2/",
        "www.example.com/api/v2/x",
        "www.example.com/api/v2/exact",
        "www.example.com/api/v2/a.json",
        "www.example.com/api/a.png",
        "www.example.com/static/a.png",
        "www.example.com/static",
        "www.example.com/static/deep/a.png",
        "www.example.com/static/deep/a",
        "www.example.com/static/deeper",
        "www.example.com/a.PNG",
        "www.example.com/private",
        "www.example.com/private/a.jpg",
        "www.example.com/local/x",
        "www.example.com/go",
        "www.example.com/old/x",
        "www.example.com/old",
        "www.example.com/.git/config",
        "www.example.com/x/.gitignore",
        "www.example.com/by-cookie",
        "www.example.com/by-cookie | Cookie: canary=always",
        "www.example.com/by-cookie | Cookie: canary=never",
        "www.example.com/x | User-Agent: a BadBot b",
        "a.wide.example.com/api",
        "b.wide.example.com/api",
        "c.b.wide.example.com/api",
        "d.c.b.wide.example.com/",
        "re7.example.org/",
        "re7.example.org/x/y",
        "mail.example.org/",
        "POST mail.example.org/x",
        "other.example.org/api/v2/x",
        "WWW.EXAMPLE.COM:80/api/x?q=/static/",
    ];
    agree(
        "nginx",
        config,
        &["one", "two", "three", "four", "five"],
        &requests,
    );
}

#[test]
fn e2e_haproxy_and_the_rules_agree() {
    let config = r#"
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend f
    bind 127.0.0.1:LISTEN
    acl api path_beg /api
    acl static path_end -i .css .png
    acl static path_beg /static/
    acl admin hdr(host) -i admin.example.com
    acl local src 127.0.0.0/8
    acl elsewhere src 192.0.2.0/24
    acl wide hdr_end(host) -i .wide.example.com
    acl dom hdr_dom(host) -i dom.example.com
    acl beta req.cook(beta) yes
    acl bot hdr_sub(user-agent) -i badbot
    http-request deny if bot
    http-request deny deny_status 405 unless METH_GET or { method POST PUT }
    http-request deny if { path_beg /.git } or { path_reg /\.env$ }
    http-request deny deny_status 410 if admin !local
    http-request allow if { path /allowed }
    http-request deny if { path_beg /allow }
    http-request redirect location https://example.org/ code 302 if { path /go }
    http-request deny if { url_param(secret) 1 } !{ hdr(x-key) k1 k2 }
    redirect prefix https://www.example.org code 301 if { path_beg /old } !{ path_beg /old/keep }
    use_backend four if admin
    use_backend five if api { method POST }
    use_backend two if api !beta
    use_backend three if static !api
    use_backend four if wide or dom
    use_backend five if elsewhere
    use_backend two if beta { path_beg /b } !{ path_beg /b/not } local
    default_backend one
backend one
    server s [one]
backend two
    http-request deny if { path_end .secret }
    server s [two]
backend three
    server s [three]
backend four
    http-request return status 204 if { path /none }
    server s [four]
backend five
    server s [five]
"#;
    let requests = [
        "www.example.com/",
        "www.example.com/api/x",
        "POST www.example.com/api/x",
        "PUT www.example.com/api/x",
        "DELETE www.example.com/api/x",
        "www.example.com/apix",
        "www.example.com/api/a.png",
        "www.example.com/a.PNG",
        "www.example.com/static/x",
        "www.example.com/static",
        "www.example.com/.git/x",
        "www.example.com/.gitx",
        "www.example.com/a/.env",
        "www.example.com/x | User-Agent: BADBOT/1",
        "admin.example.com/",
        "admin.example.com/api",
        "admin.example.com/none",
        "www.example.com/allowed",
        "www.example.com/allow",
        "www.example.com/go",
        "www.example.com/old",
        "www.example.com/old/keep/x",
        "www.example.com/old/x",
        "a.wide.example.com/",
        "wide.example.com/",
        "dom.example.com/",
        "x.dom.example.com/none",
        "xdom.example.com/",
        "a.wide.example.com/api",
        "www.example.com/api/x | Cookie: beta=yes",
        "www.example.com/b/x | Cookie: beta=yes",
        "www.example.com/b/not | Cookie: beta=yes",
        "www.example.com/b/x",
        "www.example.com/api/x.secret",
        "www.example.com/?secret=1",
        "www.example.com/?secret=1 | X-Key: k2",
        "www.example.com/?secret=2",
    ];
    agree(
        "haproxy",
        config,
        &["one", "two", "three", "four", "five"],
        &requests,
    );
}
