// SPDX-License-Identifier: MIT
//! Servers by name: the kernel gets them when they are known.

use l7switch_rules::names::Answers;
use l7switch_rules::names::Found;
use l7switch_rules::names::Lookup;

use super::*;

/// The name and its address are those of every system, so that nothing has to be asked.
#[tokio::test]
async fn the_kernel_gets_the_servers_of_names() {
    let text = "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"names\"\n\
                [pool.names]\nservers = [\"localhost:80\"]\n";
    let mut rules = l7switch_rules::load_text("test.toml", text).unwrap();
    // The language knows no port 0.
    rules.model.services[0].listen[0].set_port(0);
    for known in [&[][..], &["127.0.0.1"], &["::1"], &["127.0.0.1", "::1"]] {
        let found = known.iter().map(|address| Found {
            address: address.parse().unwrap(),
            record: None,
        });
        let answers = Answers::from([(Lookup::Host("localhost".to_owned()), found.collect())]);
        let expanded = rules.clone().with_addresses(&answers).unwrap();
        let servers = &expanded.model.pools[0].servers;
        let held = servers
            .iter()
            .map(|s| ("names".to_owned(), s.address.inet().unwrap(), s.weight));
        let known = (expanded.table.as_bytes().to_vec(), held.collect());
        RULES.lock().unwrap().push(known);
    }
    let fake = Fake::loaded();
    let switch = Switch::start(rules, None, &Options::default()).unwrap();
    assert_eq!(switch.generation().pools[0].servers().count(), 0);
    switch
        .use_kernel(Mode::Require, fake.clone())
        .await
        .unwrap();
    until(|| switch.generation().number == 2).await;
    let generation = switch.generation();
    until(|| fake.world().table.as_deref() == Some(generation.rules.table())).await;
    assert!(generation.pools[0].servers().count() > 0);
    for server in generation.pools[0].servers() {
        let held = fake.server("names", &server.address().to_string());
        assert_eq!(held, (ServerState::Up, 1));
    }
    assert_eq!(switch.reload_status().succeeded, 0);
}
