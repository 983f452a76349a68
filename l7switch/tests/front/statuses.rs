// SPDX-License-Identifier: MIT
//! Responses are counted by status: by route what clients get, by server what that has answered.

use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::load;
use crate::support::metrics;
use crate::support::start;

/// The samples of a metric that are not 0, as they stand.
fn samples(text: &str, name: &str) -> Vec<String> {
    let start = format!("l7switch_{name}{{");
    let lines = text.lines().filter(|line| line.starts_with(&start));
    lines
        .filter(|line| !line.ends_with(" 0"))
        .map(|line| line[start.len()..].to_owned())
        .collect()
}

#[tokio::test]
async fn statuses_are_counted_by_route_and_by_server() {
    let unwell = Server::start(|mut conn, _, _| async move {
        while conn.head().await.is_some() {
            conn.send("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let (fine, spare) = (Server::saying("fine").await, Server::saying("spare").await);
    let rules = format!(
        "[service.web]\nlisten = '127.0.0.1:1'\n\
         [[service.web.route]]\nname = 'fine'\npath = {{ prefix = '/fine' }}\npool = 'fine'\n\
         [[service.web.route]]\nname = 'covered'\npath = {{ prefix = '/covered' }}\npool = 'covered'\n\
         [[service.web.route]]\npath = {{ prefix = '/own' }}\nrespond = {{ status = 404 }}\n\
         [[service.web.route]]\npath = {{ prefix = '/unwell' }}\npool = 'unwell'\n\
         [pool.fine]\nservers = '{}'\n[pool.unwell]\nservers = '{}'\n\
         [pool.covered]\nservers = ['{}', {{ address = '{}', backup = true }}]\nretries = {{ on = [503] }}\n",
        fine.address, unwell.address, unwell.address, spare.address
    );
    let switch = start(&rules);
    let to = address(&switch, "web");
    for (path, status) in [
        ("/fine", 200),
        ("/fine", 200),
        ("/covered", 200),
        ("/own", 404),
        ("/unwell", 503),
        ("/none", 404),
    ] {
        assert_eq!(get(to, path).await.0, status, "{path}");
    }
    let text = metrics(&switch).await;
    assert_eq!(
        samples(&text, "route_responses_total"),
        [
            "service=\"web\",route=\"fine\",class=\"2xx\"} 2",
            "service=\"web\",route=\"covered\",class=\"2xx\"} 1",
            "service=\"web\",route=\"#3\",class=\"4xx\"} 1",
            "service=\"web\",route=\"#4\",class=\"5xx\"} 1",
        ]
    );
    let mut servers = samples(&text, "server_responses_total");
    servers.sort();
    let of = |pool: &str, server: &Server, class: &str, count: u64| {
        let server = server.address;
        format!("pool=\"{pool}\",server=\"{server}\",class=\"{class}\"}} {count}")
    };
    // The client of /covered has not got the first response.
    let mut expected = [
        of("covered", &spare, "2xx", 1),
        of("covered", &unwell, "5xx", 1),
        of("fine", &fine, "2xx", 2),
        of("unwell", &unwell, "5xx", 1),
    ];
    expected.sort();
    assert_eq!(servers, expected);
    // A reload that keeps them goes on counting.
    switch.set(load(&rules)).unwrap();
    let to = address(&switch, "web");
    assert_eq!(get(to, "/fine").await.0, 200);
    let text = metrics(&switch).await;
    assert!(samples(&text, "server_responses_total").contains(&of("fine", &fine, "2xx", 3)));
    assert!(
        samples(&text, "route_responses_total")[0].ends_with(" 3"),
        "{text}"
    );
}
