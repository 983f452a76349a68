// SPDX-License-Identifier: MIT
//! Every kind of condition, over every version of HTTP: the right real server answers.

use crate::support::certs;
use crate::support::certs::Authority;
use crate::support::curl::Answer;
use crate::support::curl::Curl;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::list;

/// Name, conditions, pool.
const ROUTES: &[(&str, &str, &str)] = &[
    ("site", "host = 'www.example.com'", "site"),
    ("tenants", "host = '*.example.org'", "api"),
    ("images", "path = { prefix = '/img' }", "static"),
    ("robots", "path = { exact = '/robots.txt' }", "static"),
    ("users", "path = { regex = '^/v[0-9]+/users$' }", "api"),
    (
        "write",
        "path = { prefix = '/doc' }\nmethod = ['PUT', 'DELETE']",
        "api",
    ),
    ("read", "path = { prefix = '/doc' }", "beta"),
    ("version", "headers = { X-Version = 'two' }", "beta"),
    (
        "mobile",
        "headers = { User-Agent = { regex = 'Mobile' } }",
        "beta",
    ),
    ("page", "query = { page = '2' }", "api"),
    ("cookie", "cookies = { beta = '1' }", "beta"),
    (
        "near",
        "path = { prefix = '/near' }\nsource = '127.0.0.9/32'",
        "beta",
    ),
    ("rest", "", "site"),
];

/// Host, target, further arguments of curl; the real server and the route that have to answer.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const CASES: &[Case] = &[
    ("www.example.com", "/img/logo.txt", &[], "site", "site"),
    ("WWW.Example.COM", "/name", &[], "site", "site"),
    ("a.example.org", "/img", &[], "api", "tenants"),
    ("a.b.example.org", "/x", &[], "api", "tenants"),
    ("example.org", "/name", &[], "site", "rest"),
    ("other.example", "/img/logo.txt", &[], "static", "images"),
    ("other.example", "/imgs", &[], "site", "rest"),
    (
        "other.example",
        "/x/../img/./logo.txt",
        &["--path-as-is"],
        "static",
        "images",
    ),
    ("other.example", "/%69mg/logo.txt", &[], "static", "images"),
    ("other.example", "/robots.txt", &[], "static", "robots"),
    ("other.example", "/robots.txt/", &[], "site", "rest"),
    ("other.example", "/v12/users", &[], "api", "users"),
    ("other.example", "/v/users", &[], "site", "rest"),
    (
        "other.example",
        "/doc/1",
        &["-X", "PUT", "-d", "x"],
        "api",
        "write",
    ),
    ("other.example", "/doc/1", &["-X", "DELETE"], "api", "write"),
    ("other.example", "/doc/1", &[], "beta", "read"),
    (
        "other.example",
        "/",
        &["-H", "x-version: two"],
        "beta",
        "version",
    ),
    (
        "other.example",
        "/",
        &["-H", "x-version: twofold"],
        "site",
        "rest",
    ),
    (
        "other.example",
        "/",
        &["-A", "Some Mobile/1"],
        "beta",
        "mobile",
    ),
    ("other.example", "/?x=1&page=2", &[], "api", "page"),
    ("other.example", "/?page=1&page=2", &[], "site", "rest"),
    (
        "other.example",
        "/",
        &["-b", "a=0; beta=1"],
        "beta",
        "cookie",
    ),
    ("other.example", "/", &["-b", "beta=10"], "site", "rest"),
    (
        "other.example",
        "/near/1",
        &["--interface", "127.0.0.9"],
        "beta",
        "near",
    ),
    ("other.example", "/near/1", &[], "site", "rest"),
];

/// A version as curl is asked for it, the service, and the version in which the switch answers.
const VERSIONS: &[(&str, &str, &str)] = &[
    ("--http1.0", "web", "1.1"),
    ("--http1.1", "web", "1.1"),
    ("--http2-prior-knowledge", "web", "2"),
    ("--http1.1", "secure", "1.1"),
    ("--http2", "secure", "2"),
];

struct World {
    switch: Switch,
    authority: Authority,
    _nginx: [Nginx; 2],
    _python: [Python; 2],
}

fn routes(service: &str) -> String {
    let mut text = String::new();
    for (name, conditions, pool) in ROUTES {
        text += &format!(
            "[[service.{service}.route]]\nname = '{name}'\n{conditions}\npool = '{pool}'\n\
             response_headers = {{ set = {{ X-Route = '{name}' }} }}\n"
        );
    }
    text
}

fn world() -> World {
    let authority = Authority::new();
    let names = [
        "www.example.com",
        "example.org",
        "*.example.org",
        "*.b.example.org",
    ];
    let certificate = authority.issue(&[&names[..], &["other.example"]].concat());
    let (site, files) = (Nginx::start("site"), Nginx::start("static"));
    std::fs::create_dir(files.root().join("img")).unwrap();
    std::fs::write(files.root().join("img/logo.txt"), "a logo\n").unwrap();
    let (api, beta) = (Python::start("api"), Python::start("beta"));
    let pools = [
        ("site", site.address),
        ("static", files.address),
        ("api", api.address),
        ("beta", beta.address),
    ];
    let mut rules = format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'http'\n{}\
         [service.secure]\nlisten = '127.0.0.2:0'\nprotocol = 'https'\ncertificates = {}\n{}",
        routes("web"),
        certs::entry(&certificate),
        routes("secure"),
    );
    for (name, address) in pools {
        rules += &format!("[pool.{name}]\nservers = {}\n", list(&[address]));
    }
    World {
        switch: Switch::start(&rules),
        authority,
        _nginx: [site, files],
        _python: [api, beta],
    }
}

impl World {
    fn ask(&self, version: &str, service: &str, case: &Case) -> Answer {
        let (host, target, arguments, ..) = *case;
        let address = self.switch.address(service);
        let scheme = if service == "secure" { "https" } else { "http" };
        let port = address.port();
        self.curl(version)
            .args(["--resolve", &format!("{host}:{port}:{}", address.ip())])
            .args(arguments)
            .get(&format!("{scheme}://{host}:{port}{target}"))
    }

    fn curl(&self, version: &str) -> Curl {
        curl()
            .args([version, "--cacert"])
            .arg(self.authority.file())
    }
}

#[test]
fn every_condition_over_every_version() {
    let world = world();
    let mut wrong = Vec::new();
    for &(version, service, spoken) in VERSIONS {
        for case in CASES {
            let answer = world.ask(version, service, case);
            let got = (
                answer.served_by(),
                answer.field("x-route").unwrap_or_default(),
            );
            if got != (case.3, case.4) || answer.version != spoken || answer.exit != 0 {
                wrong.push(format!("{version} {service} {case:?}: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_forwarded_is_what_was_sent() {
    let world = world();
    let target = "/x/../doc/%7Ea%2e;p=1/?a=%20b&c";
    let case = (
        "other.example",
        target,
        &["--path-as-is"][..],
        "beta",
        "read",
    );
    for &(version, service, _) in VERSIONS {
        let answer = world.ask(version, service, &case);
        let echo = Echo::parse(&answer.body);
        assert_eq!(echo.target, target, "{version} {service}");
        assert_eq!(
            (echo.method.as_str(), echo.version.as_str()),
            ("GET", "HTTP/1.1")
        );
        let port = world.switch.address(service).port();
        assert_eq!(echo.field("host"), format!("other.example:{port}"));
        assert_eq!(echo.field("user-agent").split('/').next(), Some("curl"));
    }
}

#[test]
fn requests_are_counted_by_route() {
    let world = world();
    let case = ("other.example", "/doc/1", &[][..], "beta", "read");
    for _ in 0..3 {
        assert_eq!(world.ask("--http1.1", "web", &case).served_by(), "beta");
    }
    let status = world.switch.status();
    assert_eq!(status.services["web"].routes["read"], 3);
    assert_eq!(status.services["secure"].routes["read"], 0);
    assert_eq!(status.services["web"].responses["2xx"], 3);
    let (code, metrics) = world.switch.admin("GET", "/metrics", "");
    assert_eq!(code, 200);
    let counted = |line: &str| line.contains("\"read\"") && line.ends_with(" 3");
    assert!(metrics.lines().any(counted), "{metrics}");
}
