// SPDX-License-Identifier: MIT
//! Who gets the requests of a pool without a server: its backups, the pool that it falls back on, the others of a split.

use l7switch::Switch;
use l7switch_admin_api::ServerState;
use l7switch_admin_api::ServerStatus;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::start;

/// Who answers, of so many requests, in the order of first answers.
async fn answers(web: std::net::SocketAddr, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let (status, _, body) = get(web, "/").await;
        let name = match status {
            200 => String::from_utf8(body).unwrap(),
            other => other.to_string(),
        };
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.sort();
    seen
}

/// How the first server of a pool stands.
fn first_of(switch: &Switch, pool: &str) -> ServerStatus {
    let generation = switch.generation();
    let server = generation.pool(pool).unwrap().servers().next();
    server.unwrap().status()
}

#[tokio::test]
async fn backups_serve_while_nobody_else_can() {
    let (one, two, spare) = (
        Server::saying("one").await,
        Server::saying("two").await,
        Server::saying("spare").await,
    );
    for scheduler in ["rr", "wlc", "mh", "ch", "p2c"] {
        let rules = format!(
            "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"p\"\n\
             [pool.p]\nscheduler = \"{scheduler}\"\nservers = [\n\
             {{ address = \"{}\", backup = true }}, \"{}\", \"{}\"]\n",
            spare.address, one.address, two.address
        );
        let switch = start(&rules);
        let web = address(&switch, "web");
        let served = answers(web, 12).await;
        assert!(
            !served.contains(&"spare".to_owned()),
            "{scheduler}: {served:?}"
        );
        let generation = switch.generation();
        let drain = |draining| {
            let pool = generation.pool("p").unwrap();
            for server in pool.servers().take(2) {
                server.set_draining(draining);
            }
        };
        drain(true);
        assert_eq!(answers(web, 5).await, ["spare"], "{scheduler}");
        drain(false);
        let served = answers(web, 12).await;
        assert!(
            !served.contains(&"spare".to_owned()),
            "{scheduler}: {served:?}"
        );
    }
}

/// A server that refuses is tried, and the backup after it: nobody waits for checks to find it.
#[tokio::test]
async fn a_backup_is_tried_when_the_others_have_failed() {
    let spare = Server::saying("spare").await;
    let dead = crate::support::closed_port().await;
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = [\"{dead}\", {{ address = \"{}\", backup = true }}]\n",
        spare.address
    );
    let switch = start(&rules);
    assert_eq!(answers(address(&switch, "web"), 5).await, ["spare"]);
}

#[tokio::test]
async fn pools_fall_back_on_others() {
    let (first, second, third) = (
        Server::saying("first").await,
        Server::saying("second").await,
        Server::saying("third").await,
    );
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"a\"\n\
         [pool.a]\nservers = \"{}\"\nfallback = \"b\"\n\
         [pool.b]\nservers = \"{}\"\nfallback = \"c\"\n\
         [pool.c]\nservers = \"{}\"\n",
        first.address, second.address, third.address
    );
    let switch = start(&rules);
    let web = address(&switch, "web");
    let generation = switch.generation();
    let drain = |name, draining| {
        let server = generation.pool(name).unwrap().servers().next().unwrap();
        server.set_draining(draining);
    };
    assert_eq!(answers(web, 3).await, ["first"]);
    drain("a", true);
    assert_eq!(answers(web, 3).await, ["second"]);
    drain("b", true);
    assert_eq!(answers(web, 3).await, ["third"]);
    drain("c", true);
    assert_eq!(answers(web, 1).await, ["503"]);
    drain("b", false);
    assert_eq!(answers(web, 3).await, ["second"]);
}

#[tokio::test]
async fn the_share_of_a_dead_pool_goes_to_the_others() {
    let (one, two) = (Server::saying("one").await, Server::saying("two").await);
    for (strict, expected) in [("", &["one"][..]), ("strict = true\n", &["503", "one"])] {
        let rules = format!(
            "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\n{strict}\
             pools = [{{ name = \"a\" }}, {{ name = \"b\" }}]\n\
             [pool.a]\nservers = \"{}\"\n[pool.b]\nservers = \"{}\"\n",
            one.address, two.address
        );
        let switch = start(&rules);
        let web = address(&switch, "web");
        assert_eq!(answers(web, 40).await, ["one", "two"]);
        let generation = switch.generation();
        let server = generation.pool("b").unwrap().servers().next().unwrap();
        server.set_draining(true);
        assert_eq!(answers(web, 40).await, expected);
    }
}

/// Nobody has found it dead yet: the first request is served all the same.
#[tokio::test]
async fn a_pool_that_refuses_falls_back_in_the_same_request() {
    let (dead, gone) = (
        crate::support::closed_port().await,
        crate::support::closed_port().await,
    );
    let spare = Server::echo().await;
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"a\"\n\
         [pool.a]\nservers = \"{dead}\"\nfallback = \"b\"\n\
         [pool.b]\nservers = \"{gone}\"\nfallback = \"c\"\n\
         [pool.c]\nservers = \"{}\"\n",
        spare.address
    );
    let switch = start(&rules);
    for _ in 0..10 {
        let mut conn = crate::support::Raw::connect(address(&switch, "web")).await;
        conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        conn.send("llo").await;
        let (status, _, body) = conn.response().await;
        assert_eq!((status, &body[..]), (200, &b"hello"[..]));
    }
}

/// What a pool of a split refuses goes to the others in the same request; after three failures it is passed over.
#[tokio::test]
async fn a_pool_of_a_split_that_refuses_is_passed_over_soon() {
    let dead = crate::support::closed_port().await;
    let one = Server::saying("one").await;
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\n\
         pools = [{{ name = \"a\" }}, {{ name = \"b\" }}]\n\
         [pool.a]\nservers = \"{}\"\n[pool.b]\nservers = \"{dead}\"\n",
        one.address
    );
    let switch = start(&rules);
    let web = address(&switch, "web");
    assert_eq!(answers(web, 60).await, ["one"]);
    let dead = first_of(&switch, "b");
    assert_eq!((dead.failures, dead.state), (3, ServerState::Ejected));
    // To whom it is strict, it is told so.
    let switch = start(&rules.replace("pools =", "strict = true\npools ="));
    let web = address(&switch, "web");
    assert_eq!(answers(web, 60).await, ["502", "one"]);
    assert_eq!(first_of(&switch, "b").state, ServerState::Up);
}

/// A route that has only a pool which others have beside others: an ejected server is asked there all the same, and works as soon
/// as it does.
#[tokio::test]
async fn an_ejected_server_is_asked_where_there_is_nobody_else() {
    let dead = crate::support::closed_port().await;
    let one = Server::saying("one").await;
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npath = {{ prefix = \"/x\" }}\n\
         pool = \"b\"\n[[service.web.route]]\npools = [{{ name = \"a\" }}, {{ name = \"b\" }}]\n\
         [pool.a]\nservers = \"{}\"\n[pool.b]\nservers = \"{dead}\"\npassive = {{ eject = \"1h\" }}\n",
        one.address
    );
    let switch = start(&rules);
    let web = address(&switch, "web");
    assert_eq!(answers(web, 60).await, ["one"]);
    assert_eq!(first_of(&switch, "b").state, ServerState::Ejected);
    assert_eq!(get(web, "/x").await.0, 502);
    let _server = Server::saying_at(&dead.to_string(), "back").await;
    assert_eq!(get(web, "/x").await.2, b"back");
    assert_eq!(answers(web, 20).await, ["one"]);
}

/// Connections of which nothing is read go to other pools as requests do.
#[tokio::test]
async fn connections_go_to_another_pool_where_one_refuses() {
    use tokio::io::AsyncReadExt as _;
    let (dead, gone) = (
        crate::support::closed_port().await,
        crate::support::closed_port().await,
    );
    let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive = first.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = first.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await;
        }
    });
    for route in [
        "pools = [{ name = \"a\" }, { name = \"b\" }, { name = \"c\" }]",
        "pool = \"a\"",
    ] {
        let rules = format!(
            "[service.bytes]\nlisten = \"127.0.0.1:1\"\nprotocol = \"tcp\"\nroute = [{{ {route} }}]\n\
             [pool.a]\nservers = \"{dead}\"\nfallback = \"b\"\n[pool.b]\nservers = \"{gone}\"\nfallback = \"c\"\n\
             [pool.c]\nservers = \"{alive}\"\n"
        );
        let switch = start(&rules);
        for _ in 0..12 {
            let mut stream = tokio::net::TcpStream::connect(address(&switch, "bytes"))
                .await
                .unwrap();
            let mut text = [0; 5];
            stream.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"hello");
        }
    }
}

/// A pool that its rules drain, as one part of a split and alone.
#[tokio::test]
async fn a_drained_pool_leaves_its_requests_to_others() {
    let (one, two) = (Server::saying("one").await, Server::saying("two").await);
    for (action, expected) in [
        ("pools = [{ name = \"one\" }, { name = \"two\" }]", "two"),
        ("pool = \"one\"", "two"),
        ("pool = \"alone\"", "503"),
    ] {
        let rules = format!(
            "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\n{action}\n\
             [[service.web.route]]\npath = {{ exact = \"/unused\" }}\npools = [{{ name = \"one\" }}, {{ name = \"alone\" }}]\n\
             [pool.one]\ndrain = true\nfallback = \"two\"\nservers = \"{0}\"\n\
             [pool.alone]\ndrain = true\nservers = \"{0}\"\n\
             [pool.two]\nservers = \"{1}\"\n",
            one.address, two.address
        );
        let switch = start(&rules);
        assert_eq!(answers(address(&switch, "web"), 10).await, [expected]);
    }
    assert_eq!(one.connection_count(), 0);
}

/// What a request may be sent to another server for, it is sent to the other pool for, too.
#[tokio::test]
async fn what_may_be_repeated_falls_back_whatever_has_failed() {
    let spare = Server::saying("spare").await;
    let closing = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
    })
    .await;
    let rules = |server: &Server, pool: &str| {
        format!(
            "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"a\"\n\
             [pool.a]\nservers = \"{}\"\nfallback = \"b\"\npassive = {{ failures = 1000 }}\n{pool}\n\
             [pool.b]\nservers = \"{}\"\n",
            server.address, spare.address
        )
    };
    let ask = async |switch: &Switch, method: &str| {
        let mut client = Raw::connect(address(switch, "web")).await;
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        let head = match method {
            "POST" => head,
            _ => format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        };
        client.send(head).await;
        let (status, _, body) = client.response().await;
        (status, String::from_utf8(body).unwrap())
    };
    let spared = (200, "spare".to_owned());
    // The connection ends before it answers.
    let switch = start(&rules(&closing, ""));
    for number in 1..=3 {
        assert_eq!(ask(&switch, "GET").await, spared);
        assert_eq!(closing.heads().len(), number, "each was there first");
    }
    assert_eq!(
        ask(&switch, "POST").await.0,
        502,
        "it may have had its effect"
    );
    // Rules that have nothing sent again have nothing sent to the other pool.
    let switch = start(&rules(&closing, "retries = { on = ['connect'] }"));
    assert_eq!(ask(&switch, "GET").await.0, 502);
    // Statuses.
    let unwell = Server::start(|mut conn, _, _| async move {
        while let Some(head) = conn.head().await {
            conn.body(&head).await;
            conn.send("HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nsick")
                .await;
        }
    })
    .await;
    let sick = (503, "sick".to_owned());
    let switch = start(&rules(&unwell, ""));
    assert_eq!(ask(&switch, "GET").await, sick);
    let switch = start(&rules(&unwell, "retries = { on = [503] }"));
    assert_eq!(ask(&switch, "GET").await, spared);
    assert_eq!(ask(&switch, "POST").await, sick);
    let generation = switch.generation();
    let other = generation.pool("b").unwrap().servers().next().unwrap();
    other.hold_down("by this test");
    assert_eq!(ask(&switch, "GET").await, sick, "better than nothing");
}
