// SPDX-License-Identifier: MIT
//! The admin socket.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use l7switch::admin::Admin;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::get;
use crate::support::placed;
use crate::support::simple;
use crate::support::start;
use crate::support::status;

async fn ask(path: &Path, method: &str, target: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: l7switch\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status(head), body.to_owned())
}

async fn ask_json(path: &Path, method: &str, target: &str, body: &str) -> (u16, Value) {
    let (status, text) = ask(path, method, target, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn status_servers_and_metrics() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let _admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);

    let (code, status) = ask_json(&path, "GET", "/v1/status", "").await;
    assert_eq!(code, 200);
    assert_eq!(status["generation"], 1);
    assert_eq!(status["services"]["web"]["requests"], 1);
    assert_eq!(status["services"]["web"]["responses"]["2xx"], 1);
    assert_eq!(status["services"]["web"]["routes"]["#1"], 1);
    assert_eq!(
        status["services"]["web"]["listen"][0],
        address(&switch, "web").to_string()
    );

    let (_, servers) = ask_json(&path, "GET", "/v1/servers", "").await;
    assert_eq!(servers["servers"][0]["pool"], "p");
    assert_eq!(servers["servers"][0]["total"], 1);
    assert_eq!(servers["servers"][0]["state"], "up");
    assert_eq!(servers["servers"][0]["health"], Value::Null);

    let (code, metrics) = ask(&path, "GET", "/metrics", "").await;
    assert_eq!(code, 200);
    assert!(
        metrics.contains("l7switch_requests_total{service=\"web\"} 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_server_is_taken_out_over_a_reload_and_put_back() {
    let (a, b) = (Server::saying("a").await, Server::saying("b").await);
    let rules = placed(&simple(&[a.address, b.address], "", "scheduler = \"rr\"")).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = (
        folder.path().join("rules.toml"),
        folder.path().join("admin.sock"),
    );
    std::fs::write(&file, &rules).unwrap();
    let set = l7switch_rules::load(&file).unwrap();
    let switch =
        l7switch::Switch::start(set, Some(file.clone()), &l7switch::Options::default()).unwrap();
    let _admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    let web = address(&switch, "web");

    let target = format!("/v1/servers/p/{}", a.address);
    let (code, changed) = ask_json(&path, "PATCH", &target, r#"{"state":"drain"}"#).await;
    assert_eq!(code, 200);
    assert_eq!(changed["servers"][0]["state"], "draining");
    assert_eq!(changed["servers"][0]["effective_weight"], 0);
    let (code, reloaded) = ask_json(&path, "POST", "/v1/reload", "").await;
    assert_eq!((code, &reloaded["generation"]), (200, &json!(2)));
    for _ in 0..4 {
        assert_eq!(get(web, "/").await.2, b"b");
    }
    let target = format!("/v1/servers/{}", a.address);
    let (code, _) = ask_json(&path, "PATCH", &target, r#"{"state":"up","weight":7}"#).await;
    assert_eq!(code, 200);
    let (_, servers) = ask_json(&path, "GET", "/v1/servers", "").await;
    assert_eq!(servers["servers"][0]["effective_weight"], 7);
    let (_, after) = ask_json(&path, "PATCH", &target, r#"{"weight":null}"#).await;
    assert_eq!(after["servers"][0]["effective_weight"], 1);
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(get(web, "/").await.2);
    }
    assert!(said.contains(&b"a".to_vec()));

    // Disabled, it counts as dead, until it is drained or put back.
    for (state, said) in [("down", "down"), ("drain", "draining"), ("down", "down")] {
        let change = format!("{{\"state\":\"{state}\"}}");
        let (code, changed) = ask_json(&path, "PATCH", &target, &change).await;
        assert_eq!((code, &changed["servers"][0]["state"]), (200, &json!(said)));
        assert_eq!(changed["servers"][0]["why"], "by an administrator");
        for _ in 0..4 {
            assert_eq!(get(web, "/").await.2, b"b");
        }
    }
    let (_, after) = ask_json(&path, "PATCH", &target, r#"{"state":"up"}"#).await;
    assert_eq!(after["servers"][0]["state"], "up");

    std::fs::write(&file, rules.replace("pool = \"p\"", "pool = \"q\"")).unwrap();
    let (code, refused) = ask_json(&path, "POST", "/v1/reload", "").await;
    assert_eq!(code, 422);
    assert_eq!(refused["diagnostics"][0]["severity"], "error");
    let (_, status) = ask_json(&path, "GET", "/v1/status", "").await;
    assert_eq!(status["reload_failures"], 1);
    assert_eq!(status["generation"], 2);
    assert_eq!(get(web, "/").await.0, 200);
}

#[tokio::test]
async fn every_error_is_json() {
    let dead = closed_port().await;
    let switch = start(&simple(&[dead], "", ""));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let _admin = Admin::start(switch, &path).await.unwrap();
    for (method, target, body, wanted) in [
        ("GET", "/nothing", "", 404),
        ("POST", "/v1/status", "", 405),
        ("GET", "/v1/reload", "", 405),
        ("POST", "/v1/reload", "", 422),
        ("PATCH", "/v1/servers/10.0.0.1:1", r#"{"weight":1}"#, 404),
        ("PATCH", "/v1/servers/q/10.0.0.1:1", r#"{"weight":1}"#, 404),
        ("PATCH", "/v1/servers/10.0.0.1:1", r#"{"weight":-1}"#, 400),
        (
            "PATCH",
            "/v1/servers/10.0.0.1:1",
            r#"{"weight":70000}"#,
            400,
        ),
        (
            "PATCH",
            "/v1/servers/10.0.0.1:1",
            r#"{"state":"asleep"}"#,
            400,
        ),
        ("PATCH", "/v1/servers/10.0.0.1:1", "not json", 400),
    ] {
        let (code, answer) = ask_json(&path, method, target, body).await;
        assert_eq!(code, wanted, "{method} {target} {body}");
        assert!(answer["error"].is_string());
    }
    let (_, answer) = ask_json(&path, "PATCH", "/v1/servers/10.0.0.1:1", r#"{"weight":1}"#).await;
    assert_eq!(answer["known"][0], dead.to_string());
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let dead = closed_port().await;
    let switch = start(&simple(&[dead], "", ""));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    let error = Admin::start(switch, &path).await.unwrap_err();
    assert!(error.to_string().contains("another switch"), "{error}");
    drop(admin);
    assert!(!path.exists());
}

/// What an administrator says of a service holds over reloads, until it is taken back.
#[tokio::test]
async fn a_service_is_closed_and_opened_at_run_time() {
    let server = Server::saying("fine").await;
    let other = closed_port().await;
    let rules = simple(&[server.address], "", "")
        + &format!(
            "\n[service.bytes]\nlisten = \"{other}\"\nprotocol = \"tcp\"\nroute = [{{ pool = \"p\" }}]\n"
        );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.toml");
    let page = folder.path().join("page.html");
    std::fs::write(&page, "back at noon").unwrap();
    let pages = format!(
        "[service.web]\nerror_pages = {{ 503 = \"{}\" }}",
        page.display()
    );
    let text = placed(&rules.replace("[service.web]", &pages)).await;
    std::fs::write(&file, &text).unwrap();
    let loaded = l7switch_rules::load(&file).unwrap();
    let options = l7switch::Options::default();
    let switch = l7switch::Switch::start(loaded, Some(file.clone()), &options).unwrap();
    let path = folder.path().join("admin.sock");
    let _admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    let web = address(&switch, "web");
    let tell = async |body: &str| ask_json(&path, "PATCH", "/v1/services/web", body).await;

    let (code, said) = tell(r#"{"maintenance": true}"#).await;
    assert_eq!((code, &said["maintenance"]), (200, &json!(true)));
    assert_eq!(said["maintenance_told"], true);
    assert_eq!(get(web, "/").await.0, 503);
    switch.reload().await.unwrap();
    assert_eq!(get(web, "/").await.0, 503);
    let (_, metrics) = ask(&path, "GET", "/metrics", "").await;
    assert!(
        metrics.contains("l7switch_maintenance{service=\"web\"} 1\n"),
        "{metrics}"
    );

    // Files are another matter: one that cannot be read now stops nothing of this.
    std::fs::remove_file(&page).unwrap();
    assert_eq!(tell(r#"{"maintenance": false}"#).await.0, 200);
    assert_eq!(get(web, "/").await.0, 200);
    assert_eq!(tell(r#"{"maintenance": true}"#).await.0, 200);
    assert_eq!(get(web, "/").await.2, b"back at noon");
    std::fs::write(&page, "soon").unwrap();

    let but = r#"{"maintenance": {"except": ["127.0.0.0/8", "::1"]}}"#;
    let (code, said) = tell(but).await;
    assert_eq!(code, 200);
    assert_eq!(
        said["maintenance"]["except"],
        json!(["127.0.0.0/8", "::1/128"])
    );
    assert_eq!(get(web, "/").await.0, 200);

    // The rule file closes it, and the administrator opens it.
    let closed = text.replace("[service.web]", "[service.web]\nmaintenance = true");
    std::fs::write(&file, closed).unwrap();
    assert_eq!(tell(r#"{"maintenance": false}"#).await.0, 200);
    switch.reload().await.unwrap();
    assert_eq!(get(web, "/").await.0, 200);
    let (code, said) = tell(r#"{"maintenance": null}"#).await;
    assert_eq!((code, &said["maintenance"]), (200, &json!(true)));
    assert_eq!(said.get("maintenance_told"), None);
    assert_eq!(get(web, "/").await.0, 503);
    std::fs::write(&file, &text).unwrap();
    switch.reload().await.unwrap();
    assert_eq!(get(web, "/").await.0, 200);

    for (target, body, code) in [
        ("/v1/services/none", r#"{"maintenance": true}"#, 404),
        ("/v1/services/bytes", r#"{"maintenance": true}"#, 400),
        (
            "/v1/services/web",
            r#"{"maintenance": {"except": ["x"]}}"#,
            400,
        ),
        ("/v1/services/web", r#"{"maintenance": 7}"#, 400),
        ("/v1/services/web", r#"{"open": true}"#, 400),
        ("/v1/services/web", "", 400),
    ] {
        let (found, said) = ask(&path, "PATCH", target, body).await;
        assert_eq!(found, code, "{target} {body}: {said}");
    }
    assert_eq!(ask(&path, "GET", "/v1/services/web", "").await.0, 405);
    assert_eq!(tell("{}").await.0, 200);
}

/// What a request is told would become of it is by the rules in force and by servers as they stand.
#[tokio::test]
async fn what_becomes_of_a_request_is_told() {
    let (first, second) = (Server::saying("a").await, Server::saying("b").await);
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         route = [{{ name = \"img\", path = {{ prefix = \"/img\" }}, pool = \"p\" }}, {{ path = {{ prefix = \"/old\" }}, respond = {{ status = 204 }} }}]\n\
         [pool.p]\nservers = \"{}\"\nfallback = \"spare\"\n[pool.spare]\nservers = \"{}\"\n[pool.other]\nservers = \"{1}\"\n",
        first.address, second.address
    ));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let _admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    let target = format!("/v1/servers/p/{}", first.address);
    ask_json(&path, "PATCH", &target, r#"{"state":"drain"}"#).await;

    let question = r#"{"url": "/img/a.png", "headers": [["Host", "a.example"]], "service": "web"}"#;
    let (code, told) = ask_json(&path, "POST", "/v1/explain", question).await;
    assert_eq!(code, 200, "{told}");
    assert_eq!(told["generation"], 1);
    assert_eq!(told["explanation"]["route"], "img");
    assert_eq!(told["explanation"]["datapath"], "front");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("route    img\n"), "{text}");
    let servers: Vec<_> = told["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| {
            (
                server["pool"].as_str().unwrap(),
                server["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(servers, [("p", "draining"), ("spare", "up")]);

    let old = r#"{"url": "http://a.example/old", "service": "web"}"#;
    let (code, told) = ask_json(&path, "POST", "/v1/explain", old).await;
    assert_eq!((code, &told["servers"]), (200, &json!([])));
    for (wrong, why) in [
        (r#"{"url": "gopher://a/"}"#, "gopher"),
        (r#"{"url": "/", "methods": "GET"}"#, "methods"),
        (r#"{"url": "/", "source": "10.0.0"}"#, "IP address"),
        ("", "EOF"),
    ] {
        let (code, told) = ask_json(&path, "POST", "/v1/explain", wrong).await;
        assert_eq!(code, 400, "{wrong}: {told}");
        assert!(told["error"].as_str().unwrap().contains(why), "{told}");
    }
    assert_eq!(ask(&path, "GET", "/v1/explain", "").await.0, 405);
}

/// Asks as another user and group, by curl; gives status and content. 0: the socket cannot be opened.
async fn ask_as(ids: (u32, u32), path: &Path, line: (&str, &str, &str)) -> (u16, String) {
    let (method, target, body) = line;
    let mut curl = tokio::process::Command::new("curl");
    curl.uid(ids.0).gid(ids.1);
    curl.args(["-s", "-w", "\n%{http_code}", "-X", method, "-d", body]);
    curl.arg("--unix-socket").arg(path);
    let output = curl.arg(format!("http://l7switch{target}")).output().await;
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let (content, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), content.to_owned())
}

/// Members of the group read, and change nothing; the owner and root do.
#[tokio::test]
async fn a_group_may_read() {
    const GROUP: u32 = 54_321;
    const MEMBER: (u32, u32) = (65_534, GROUP);
    // Only root can be somebody else.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let folder = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let path = folder.path().join("admin.sock");
    let admin = Admin::start_for(Arc::clone(&switch), &path, Some(GROUP)).await;
    let admin = admin.unwrap();
    let who = |path: &Path| {
        let data = std::fs::metadata(path).unwrap();
        (data.permissions().mode() & 0o777, data.gid())
    };
    assert_eq!(who(&path), (0o660, GROUP));

    let server = "/v1/servers/p/127.0.0.1:1";
    let drain = r#"{"state":"drain"}"#;
    for (line, expected) in [
        (("GET", "/v1/status", ""), 200),
        (("GET", "/v1/rules", ""), 200),
        (("GET", "/metrics", ""), 200),
        (("POST", "/v1/explain", r#"{"url":"/"}"#), 200),
        (("PATCH", server, drain), 403),
        (("PATCH", "/v1/servers/127.0.0.1:1", "not JSON"), 403),
        (
            ("PATCH", "/v1/services/web", r#"{"maintenance":true}"#),
            403,
        ),
        (("POST", "/v1/reload", ""), 403),
        (("POST", "/v1/take-over", ""), 403),
        (("DELETE", server, ""), 405),
        (("PATCH", "/v1/nothing", ""), 404),
    ] {
        let (code, text) = ask_as(MEMBER, &path, line).await;
        assert_eq!(code, expected, "{line:?}: {text}");
    }
    let role = ("GET", "/v1/role", "");
    let (_, told) = ask_as(MEMBER, &path, role).await;
    assert!(told.contains("\"role\":\"read\""), "{told}");
    assert_eq!(ask_as((65_534, 65_534), &path, role).await.0, 0);
    let (_, metrics) = ask(&path, "GET", "/metrics", "").await;
    assert!(
        metrics.contains("l7switch_admin_refused_total{reason=\"role\"} 4\n"),
        "{metrics}"
    );
    assert_eq!(l7switch::admin::servers(&switch)[0].state.as_str(), "up");

    let (_, told) = ask_as((0, 0), &path, role).await;
    assert!(told.contains("\"role\":\"operate\""), "{told}");
    assert_eq!(ask_as((0, 0), &path, ("PATCH", server, drain)).await.0, 200);
    assert_eq!(
        l7switch::admin::servers(&switch)[0].state.as_str(),
        "draining"
    );

    // A successor says anew who may open it.
    drop(admin);
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let admin = Admin::start_with(Arc::clone(&switch), &path, Some(GROUP), socket).unwrap();
    assert_eq!(who(&path), (0o660, GROUP));
    assert_eq!(ask_as(MEMBER, &path, ("PATCH", server, drain)).await.0, 403);
    drop(admin);
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let _admin = Admin::start_with(Arc::clone(&switch), &path, None, socket).unwrap();
    assert_eq!(who(&path).0, 0o600);
    assert_eq!(ask_as(MEMBER, &path, role).await.0, 0);
}
