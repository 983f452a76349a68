// SPDX-License-Identifier: MIT
//! A whole switch that keeps the kernel in step.

use super::*;

#[tokio::test]
async fn a_switch_keeps_the_kernel_in_step_by_itself() {
    let fake = Fake::loaded();
    let switch = Switch::start(rules(&[(A, 1)]), None, &Options::default()).unwrap();
    switch
        .use_kernel(Mode::Require, fake.clone())
        .await
        .unwrap();
    assert_eq!(switch.kernel_status().state, KernelState::Loaded);
    server(&switch.generation(), A).set_draining(true);
    until(|| fake.server("p", A).0 == ServerState::Draining).await;
    switch.set(rules(&[(A, 1), (B, 1)])).unwrap();
    until(|| switch.kernel_status().loads == 2).await;
    // Nothing tells of this: it is found by looking.
    fake.world().loading = None;
    until(|| switch.kernel_status().state == KernelState::Absent).await;
    fake.world().reload();
    until(|| switch.kernel_status().state == KernelState::Loaded).await;
    assert_eq!(fake.server("p", A).0, ServerState::Draining);
}

#[tokio::test]
async fn what_is_required_has_to_be_there() {
    let switch = Switch::start(rules(&[(A, 1)]), None, &Options::default()).unwrap();
    let error = switch.use_kernel(Mode::Require, Fake::default()).await;
    assert!(error.unwrap_err().contains("modprobe l7switch"));
    let switch = Switch::start(rules(&[(A, 1)]), None, &Options::default()).unwrap();
    let refusing = Fake::loaded();
    refusing.world().refuse.push_back(22);
    let error = switch.use_kernel(Mode::Require, refusing).await;
    assert!(error.unwrap_err().contains("table-commit: no"));
    let switch = Switch::start(rules(&[(A, 1)]), None, &Options::default()).unwrap();
    switch
        .use_kernel(Mode::Auto, Fake::default())
        .await
        .unwrap();
    assert_eq!(switch.kernel_status().state, KernelState::Absent);
    let switch = Switch::start(rules(&[(A, 1)]), None, &Options::default()).unwrap();
    let unused = Fake::loaded();
    switch.use_kernel(Mode::Off, unused.clone()).await.unwrap();
    assert_eq!(switch.kernel_status().state, KernelState::Off);
    assert!(unused.asked().is_empty());
}

#[tokio::test]
async fn a_reload_is_done_when_the_kernel_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let write = |server: &str| {
        let text = format!(
            "[service.web]\nlisten = \"127.0.0.1:{port}\"\n[[service.web.route]]\npool = \"p\"\n\
             [pool.p]\nservers = [\"{server}\"]\n"
        );
        std::fs::write(&path, text).unwrap();
        let rules = l7switch_rules::load(&path).unwrap();
        let held = vec![("p".to_owned(), server.parse().unwrap(), 1)];
        let table = rules.table.as_bytes().to_vec();
        RULES.lock().unwrap().push((table, held));
        rules
    };
    let fake = Fake::loaded();
    let switch = Switch::start(write(A), Some(path.clone()), &Options::default()).unwrap();
    switch.use_kernel(Mode::Auto, fake.clone()).await.unwrap();
    write(B);
    switch.reload().await.unwrap();
    assert_eq!(switch.kernel_status().generation, Some(2));
    assert_eq!(fake.server("p", B), (ServerState::Up, 1));
    let asked = fake.asked();
    let stages = asked.iter().filter(|what| *what == "stage").count();
    assert_eq!(stages, 2, "sent once each time: {asked:?}");
}
