// SPDX-License-Identifier: MIT
//! What only the front can serve, and why: `explain` says it, the table has it, with `datapath = "kernel"` it is an error.

use std::collections::BTreeSet;

use crate::model::*;

/// What of a model only the front can serve.
pub(crate) struct FrontOnly<'m> {
    model: &'m Model,
    /// The pools with bounds whose requests the front counts, by the model's number.
    counted: BTreeSet<usize>,
}

impl<'m> FrontOnly<'m> {
    /// Looks a model over.
    pub(crate) fn of(model: &'m Model) -> Self {
        let mut front = Self {
            model,
            counted: BTreeSet::new(),
        };
        let mut pools = model.pools.iter().enumerate();
        if !pools.any(|(_, pool)| pool.is_bounded() && !pool.waits()) {
            return front;
        }
        // A route that goes to the front for one of its pools takes its others there.
        loop {
            let counted = front.counted_now();
            if counted == front.counted {
                return front;
            }
            front.counted = counted;
        }
    }

    /// The pools with bounds that the front serves in part, so that it would have to know of the others' requests.
    fn counted_now(&self) -> BTreeSet<usize> {
        let mut counted = BTreeSet::new();
        for service in &self.model.services {
            let is_front = service.protocol == Protocol::Https || self.service(service).is_some();
            for route in &service.routes {
                let own = [
                    route.mirror.as_ref().map(|mirror| mirror.pool),
                    route.external_auth.as_ref().map(|auth| auth.pool),
                ];
                counted.extend(own.into_iter().flatten());
                if is_front || self.route(route).is_some() {
                    counted.extend(route.action.shares().iter().map(|share| share.pool));
                }
            }
        }
        counted.extend(self.model.pools.iter().filter_map(|pool| pool.fallback));
        counted.retain(|&pool| self.model.pools.get(pool).is_some_and(Pool::is_bounded));
        counted
    }

    /// Why the module leaves a whole service to the front; `None` where it does not. Of `https` it is said elsewhere: there it
    /// depends on nothing else.
    pub(crate) fn service(&self, service: &Service) -> Option<&'static str> {
        if service.datapath == Datapath::Front {
            Some("the service says datapath = \"front\"")
        } else if service.limits.connections_per_source.is_some() {
            Some("the front counts the connections of each client")
        } else if service.limits.body.is_some() {
            Some("the front limits the content of requests")
        } else if service.limits.tunnel_timeout.is_some() {
            Some("the front ends silent tunnels")
        } else if service.maintenance != Maintenance::Off {
            Some("the service is closed for maintenance, which the front says")
        } else if service.error_pages.iter().any(|page| page.intercept) {
            Some("the front replaces errors of servers by pages")
        } else if !service.trusted.is_empty() && goes_by_source(self.model, service) {
            Some(
                "routes, servers, rate limits or PROXY headers go by the client's address, which `trusted` proxies tell in fields",
            )
        } else {
            None
        }
    }

    /// Why the module leaves a route to the front; `None` where it does not.
    pub(crate) fn route(&self, route: &Route) -> Option<&'static str> {
        match route.action {
            Action::Respond(_) => Some("the front answers (respond)"),
            Action::Redirect(_) => Some("the front answers (redirect)"),
            Action::Forward(_) if !route.filters.is_empty() => Some("the route has filters"),
            Action::Forward(_)
                if route
                    .rate_limit
                    .as_ref()
                    .is_some_and(|limit| !limit.is_for_kernel()) =>
            {
                Some("the front limits the rate by what requests say")
            }
            Action::Forward(_) if route.cors.is_some() => {
                Some("the front says what pages of other origins may do")
            }
            Action::Forward(_) if route.basic_auth.is_some() => {
                Some("the front asks for passwords")
            }
            Action::Forward(_) if route.external_auth.is_some() => {
                Some("the front asks other servers whether a request goes on")
            }
            Action::Forward(_) if route.mirror.is_some() => Some("the front copies requests"),
            Action::Forward(_) if route.sticky.is_some() => {
                Some("the front sets the cookie by which clients stay")
            }
            Action::Forward(_) if route.body_limit.is_some() => {
                Some("the front limits the content of requests")
            }
            Action::Forward(_) if route.error_pages.iter().any(|page| page.intercept) => {
                Some("the front replaces errors of servers by pages")
            }
            Action::Forward(_) => route
                .action
                .shares()
                .iter()
                .find_map(|share| self.pool(share.pool)),
        }
    }

    /// Why the module leaves the requests for a pool to the front.
    fn pool(&self, number: usize) -> Option<&'static str> {
        let pool = self.model.pools.get(number)?;
        if pool.protocol != ServerProtocol::Http1 {
            Some("the front speaks HTTP/2 to its servers")
        } else if pool.tls.is_some() {
            Some("the front speaks TLS to its servers")
        } else if pool.has_unix_server() {
            Some("a server is a Unix socket")
        } else if pool.is_bounded() && pool.waits() {
            Some("requests wait in the front's queue for servers with a bound")
        } else if self.counted.contains(&number) {
            Some(
                "the front counts the requests of each server: it serves others of the pool's, too",
            )
        } else if pool.retries.rule.is_some() {
            Some("the front repeats requests by rule")
        } else {
            None
        }
    }
}

/// The name of the route that leaves HTTP-01 challenges (RFC 8555, 8.3) to the front, in the kernel's table. No route of the rules can have it.
const CHALLENGE_ROUTE: &str = "#acme-challenge";

/// Whether a request's path is one that the front answers before all routes, and why.
pub(crate) fn own_path(model: &Model, service: &Service, path: &str) -> Option<&'static str> {
    (model.answers_challenges(service) && path.starts_with(CHALLENGE_PREFIX)).then_some(
        "the front answers the challenges of ACME that are pending; for others, this route is taken",
    )
}

/// The rules as the kernel has to see them, where the front answers paths of its own: a route for them goes before all others.
/// It is the last in number, so that those of all others stay. `None`: there are no such paths.
pub(crate) fn with_own_paths(model: &Model) -> Option<Model> {
    let has_own = |service: &Service| model.answers_challenges(service);
    if !model.services.iter().any(has_own) {
        return None;
    }
    let mut with = model.clone();
    for (service, given) in with.services.iter_mut().zip(&model.services) {
        if has_own(given) {
            service
                .routes
                .push(Route::answered_at(CHALLENGE_ROUTE, CHALLENGE_PREFIX));
        }
    }
    Some(with)
}

/// Whether a request's route or server depends on its client's address.
fn goes_by_source(model: &Model, service: &Service) -> bool {
    service.protocol.is_http()
        && service.routes.iter().any(|route| {
            !route.sources.is_empty()
                || route
                    .rate_limit
                    .as_ref()
                    .is_some_and(|limit| limit.key == RateKey::Source)
                || pools(model, route)
                    .any(|pool| pool.scheduler.hashes_source() || pool.send_proxy.is_some())
        })
}

fn pools<'m>(model: &'m Model, route: &Route) -> impl Iterator<Item = &'m Pool> {
    route
        .action
        .shares()
        .iter()
        .filter_map(|share| model.pools.get(share.pool))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )]

    use l7switch_engine::limit::Rate;
    use l7switch_engine::table::Request;
    use l7switch_engine::table::codes;
    use l7switch_engine::table::format::RateRecord;
    use l7switch_engine::table::format::RouteRecord;
    use l7switch_engine::table::format::ServerRecord;

    use crate::RuleSet;
    use crate::explain::Explanation;
    use crate::explain::Path;
    use crate::explain::Question;
    use crate::explain::explain;
    use crate::load_text;

    const RULES: &str = "
[service.clear]
listen = \"10.0.0.9:80\"
[[service.clear.route]]
name = \"host\"
host = \"a.example\"
path = { exact = \"/.well-known/acme-challenge/x\" }
priority = 1000
pool = \"p\"
[[service.clear.route]]
name = \"all\"
pool = \"p\"
[service.other]
listen = \"10.0.0.9:81\"
protocol = \"tcp\"
route = [{ pool = \"p\" }]
[service.secure]
listen = \"10.0.0.9:443\"
protocol = \"https\"
certificates = { acme = \"a.example\" }
route = [{ pool = \"p\" }]
[pool.p]
servers = [\"10.0.0.1:80\"]
[acme]
terms_agreed = true
state = \"/s\"
";

    /// What is said of a request for a path.
    fn path_of(rules: &RuleSet, path: &str) -> Explanation {
        let question = Question {
            url: format!("http://10.0.0.9{path}"),
            method: None,
            headers: Vec::new(),
            source: None,
            sni: None,
            service: None,
        };
        explain(&rules.model, &rules.table, &question).unwrap()
    }

    fn rules(challenge: &str) -> RuleSet {
        let text = format!("{RULES}challenge = \"{challenge}\"\n");
        load_text("test.toml", &text).unwrap_or_else(|report| panic!("{report}"))
    }

    #[test]
    fn the_kernel_leaves_challenges_to_the_front_and_counts_the_routes_as_before() {
        let rules = rules("http");
        let route = |table: &l7switch_engine::table::Table<Vec<u8>>, host: &str, path: &str| {
            table.route(
                0,
                &Request::<[(&[u8], &[u8])]> {
                    host: host.as_bytes(),
                    method: b"GET",
                    path: path.as_bytes(),
                    query: b"",
                    source: [0; 16],
                    fields: &[][..],
                },
            )
        };
        let (front, kernel) = (&rules.table, rules.for_kernel());
        for (host, path, in_front, in_kernel) in [
            ("a.example", "/.well-known/acme-challenge/x", 0, 2),
            ("b.example", "/.well-known/acme-challenge/x", 1, 2),
            ("b.example", "/.well-known/acme-challenge", 1, 2),
            ("b.example", "/.well-known/acme-challenges", 1, 1),
            ("a.example", "/", 1, 1),
        ] {
            assert_eq!(route(front, host, path), Some(in_front), "{host}{path}");
            assert_eq!(route(kernel, host, path), Some(in_kernel), "{host}{path}");
        }
    }

    #[test]
    fn without_challenges_there_the_tables_are_one() {
        let rules = rules("tls-alpn");
        assert!(rules.kernel_table.is_none());
        assert_eq!(rules.for_kernel().as_bytes(), rules.table.as_bytes());
    }

    #[test]
    fn explain_tells_who_serves_challenges() {
        let challenge = path_of(&rules("http"), "/.well-known/acme-challenge/t");
        assert_eq!(challenge.datapath, Path::Front);
        assert!(challenge.datapath_why.contains("challenges of ACME"));
        assert_eq!(challenge.route.unwrap(), "all");
        assert_eq!(path_of(&rules("http"), "/x").datapath, Path::Kernel);
        let other = path_of(&rules("tls-alpn"), "/.well-known/acme-challenge/t");
        assert_eq!(other.datapath, Path::Kernel);
    }

    #[test]
    fn the_kernel_limits_by_client_and_route_and_the_front_by_what_requests_say() {
        let path = |trusted: &str, key: &str| {
            let text = format!(
                "[service.s]\nlisten = \"10.0.0.9:80\"\n{trusted}\n\
                 [[service.s.route]]\npool = \"p\"\n\
                 rate_limit = {{ requests = 1, per = \"1m\", burst = 7{key} }}\n\
                 [pool.p]\nservers = [\"10.0.0.1:80\"]\n"
            );
            let rules = load_text("test.toml", &text).unwrap_or_else(|report| panic!("{report}"));
            let record = rules.for_kernel().get::<RateRecord>(0);
            (path_of(&rules, "/").datapath, record)
        };
        let trusted = "trusted = [\"10.0.0.0/8\"]";
        for (trusted, key, served_by, code) in [
            (
                "",
                ", prefix_v4 = 24",
                Path::Kernel,
                Some((codes::RateKey::Source, 24)),
            ),
            (
                "",
                ", key = \"route\"",
                Path::Kernel,
                Some((codes::RateKey::Route, 32)),
            ),
            ("", ", key = { header = \"X-A\" }", Path::Front, None),
            ("", ", key = { cookie = \"a\" }", Path::Front, None),
            // Who the client is says a field, which the kernel does not read.
            (trusted, "", Path::Front, Some((codes::RateKey::Source, 32))),
            (
                trusted,
                ", key = \"route\"",
                Path::Kernel,
                Some((codes::RateKey::Route, 32)),
            ),
        ] {
            let (by, record) = path(trusted, key);
            assert_eq!(by, served_by, "{trusted} {key}");
            let minute = Rate::new(1, 60_000_000_000, 7);
            let said = record.map(|record| (record.key, record.prefix_v4, Rate::of(&record)));
            assert_eq!(
                said,
                code.map(|(code, bits)| (code.number(), bits, minute)),
                "{key}"
            );
        }
    }

    /// Whether the kernel serves `/` where a pool `p` has bounds, and no queue but by `queue`; `more` are other rules.
    fn bounded(queue: &str, more: &str) -> (Path, &'static str) {
        let text = format!(
            "[service.s]\nlisten = \"10.0.0.9:80\"\nroute = [{{ pool = \"p\" }}]\n\
             [pool.p]\nservers = [\"10.0.0.1:80\"]\nmax_connections = 5\n{queue}\n{more}"
        );
        let rules = load_text("test.toml", &text).unwrap_or_else(|report| panic!("{report}"));
        let path = path_of(&rules, "/");
        let server = rules.table.get::<ServerRecord>(0).unwrap();
        assert_eq!(server.bound, 5);
        let route = rules.table.get::<RouteRecord>(0).unwrap();
        let is_kernel = route.action == codes::Action::Forward.number();
        assert_eq!(
            is_kernel,
            path.datapath == Path::Kernel,
            "table and explain"
        );
        (path.datapath, path.datapath_why)
    }

    #[test]
    fn the_kernel_counts_requests_where_none_waits_and_the_front_serves_none_of_them() {
        let none = "queue = { length = 0 }";
        assert_eq!(bounded(none, "").0, Path::Kernel);
        for (queue, why) in [("", "queue"), ("queue = { length = 1 }", "queue")] {
            let (path, said) = bounded(queue, "");
            assert!(path == Path::Front && said.contains(why), "{queue}: {said}");
        }
        let other = "\n[pool.q]\nservers = [\"10.0.0.2:80\"]\n";
        let service = |route: &str| {
            format!("[service.t]\nlisten = \"10.0.0.9:81\"\n[[service.t.route]]\n{route}\n{other}")
        };
        for (more, path) in [
            (service("pool = \"p\""), Path::Kernel),
            (service("pool = \"q\""), Path::Kernel),
            (
                service("pool = \"p\"\nresponse_headers = { set = { A = \"b\" } }"),
                Path::Front,
            ),
            (
                service("pool = \"q\"\nmirror = { pool = \"p\" }"),
                Path::Front,
            ),
            (
                service("pool = \"q\"\nexternal_auth = { pool = \"p\", path = \"/\" }"),
                Path::Front,
            ),
            (
                format!("{}fallback = \"p\"\n", service("pool = \"q\"")),
                Path::Front,
            ),
            // A pool that the front has to itself takes the other one of its route there, and that one the third.
            (
                format!(
                    "[service.t]\nlisten = \"10.0.0.9:81\"\nroute = [{{ pools = [{{ name = \"p\" }}, {{ name = \"r\" }}] }}]\n\
                     [service.u]\nlisten = \"10.0.0.9:82\"\n\
                     route = [{{ pools = [{{ name = \"r\" }}, {{ name = \"q\" }}] }}]\n\
                     [pool.r]\nservers = [\"10.0.0.3:80\"]\nmax_connections = 1\n{none}{other}protocol = \"http2\"\n"
                ),
                Path::Front,
            ),
            (
                "[service.t]\nlisten = \"10.0.0.9:81\"\ndatapath = \"front\"\nroute = [{ pool = \"p\" }]\n".to_owned(),
                Path::Front,
            ),
        ] {
            let (served_by, why) = bounded(none, &more);
            assert_eq!(served_by, path, "{more}: {why}");
            assert_eq!(path == Path::Front, why.contains("counts"), "{more}: {why}");
        }
    }
}
