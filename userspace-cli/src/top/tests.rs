// SPDX-License-Identifier: MIT
//! What is drawn of two readings, and what keys do.

use std::time::Duration;
use std::time::Instant;

use l7switch_admin_api::KernelNumbers;
use l7switch_admin_api::Times;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use serde_json::json;

use super::draw::draw;
use super::rows::Reading;
use super::rows::Row;
use super::rows::Subject;
use super::rows::rows;
use super::view::Act;
use super::view::Mode;
use super::view::View;

/// After so many requests, as many of the kernel's, and some that failed.
fn reading(requests: u64, at: Instant) -> Reading {
    let mut classes = vec![0; 26];
    classes[11] = requests;
    let times = serde_json::to_value(Times::of(classes)).unwrap();
    let service = |requests: u64| {
        json!({
            "protocol": "http", "listen": [], "active": 7, "connections": 9, "requests": requests, "interim_dropped": 0,
            "bytes_in": 0, "bytes_out": requests * 2048, "responses": {"2xx": requests, "5xx": requests / 10},
            "refused": {}, "routes": {}, "first_byte": times, "certificates": []
        })
    };
    let status = json!({
        "version": "0.2.0", "pid": 1, "uptime": 120.0, "generation": 3, "rules": null, "reloads": 0, "reload_failures": 0,
        "last_error": null, "draining": false, "access_log_dropped": 0,
        "services": {"web": service(requests), "quiet": service(5)}
    });
    let route = |name: &str, requests: u64| {
        json!({
            "service": "web", "route": name, "matches": [], "action": "pool p", "requests": requests, "responses": {},
            "first_byte": null, "duration": null, "kernel": {"requests": requests, "responses": {"4xx": requests}}
        })
    };
    let server = |address: &str, state: &str, why: Option<&str>| {
        json!({
            "pool": "p", "address": address, "name": null, "weight": 1, "effective_weight": 1, "backup": false, "state": state,
            "since": 940, "why": why, "health": null, "active": 2, "total": requests, "failures": 0, "surplus": 0, "idle": 0,
            "ewma_ms": 0.0
        })
    };
    let servers = json!({"servers": [
        server("10.0.0.1:80", "up", None), server("10.0.0.2:80", "down", Some("connection refused \u{1b}[2J"))
    ]});
    Reading {
        status: serde_json::from_value(status).unwrap(),
        routes: serde_json::from_value(
            json!({"routes": [route("all", requests), route("few", requests / 2)], "left_out": 0}),
        )
        .unwrap(),
        servers: serde_json::from_value(servers).unwrap(),
        kernel: KernelNumbers::default(),
        at,
        now: 1000,
    }
}

fn readings() -> (Reading, Reading) {
    let began = Instant::now();
    (
        reading(100, began),
        reading(300, began + Duration::from_secs(2)),
    )
}

fn screen(view: &View, rows: &[Row], now: &Reading) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(140, 8)).unwrap();
    terminal
        .draw(|frame| draw(frame, view, now, rows, None, false))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let symbols: Vec<&str> = buffer.content.iter().map(|cell| cell.symbol()).collect();
    let lines = symbols.chunks(width);
    lines
        .map(|line| line.concat().trim_end().to_owned())
        .collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn services_have_rates_of_what_came_between() {
    let (was, now) = readings();
    let view = View::new();
    let shown = view.shown(rows(view.subject, &was, &now));
    let lines = screen(&view, &shown, &now);
    assert!(
        lines[0].contains("up 2 min  generation 3  kernel "),
        "{lines:?}"
    );
    let head = "SERVICE REQ/S v KERNEL/S 2XX/S 3XX/S 4XX/S 5XX/S P50 P99 OPEN IN/S OUT/S";
    assert_eq!(words(&lines[1]).join(" "), head);
    let web = "web 100 - 100 0.0 0.0 10 1.57 ms 2.09 ms 7 0 B 200.0 KiB";
    assert_eq!(words(&lines[2]).join(" "), web);
    assert_eq!(words(&lines[3])[..2], ["quiet", "0.0"]);
    assert!(shown[0].is_bad && !shown[1].is_bad);
    // Before there are two readings, and where the counting began anew, there is no rate.
    let first = rows(Subject::Services, &was, &was);
    assert_eq!(first[1].cells[1].text(), "-");
    let anew = rows(
        Subject::Services,
        &now,
        &reading(3, now.at + Duration::from_secs(1)),
    );
    assert_eq!(anew[1].cells[1].text(), "-");
}

#[test]
fn routes_have_both_data_paths_and_servers_their_state() {
    let (was, now) = readings();
    let mut view = View::new();
    assert_eq!(view.press(KeyCode::Tab, &[]), Act::Nothing);
    let shown = view.shown(rows(view.subject, &was, &now));
    let lines = screen(&view, &shown, &now);
    assert_eq!(
        words(&lines[2])[..8],
        ["web", "all", "200", "100", "0.0", "0.0", "100", "0.0"]
    );
    assert_eq!(words(&lines[3])[..4], ["web", "few", "100", "50"]);
    view.press(KeyCode::Char('3'), &[]);
    let shown = view.shown(rows(view.subject, &was, &now));
    let text = screen(&view, &shown, &now).join("\n");
    assert!(text.contains("down") && text.contains("1 min"), "{text}");
    assert!(text.contains("connection refused \\u{1b}[2J"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn keys_sort_filter_and_drain() {
    let (was, now) = readings();
    let mut view = View::new();
    view.press(KeyCode::Char('3'), &[]);
    let shown = |view: &View| view.shown(rows(view.subject, &was, &now));
    let keys = |view: &View| {
        shown(view)
            .into_iter()
            .map(|row| row.key)
            .collect::<Vec<_>>()
    };
    let (one, two) = ("p/10.0.0.1:80".to_owned(), "p/10.0.0.2:80".to_owned());
    // By the state, and the other way round.
    for _ in 0..4 {
        view.press(KeyCode::Left, &shown(&view));
    }
    assert_eq!(view.order(), (2, false));
    assert_eq!(keys(&view), [one.clone(), two.clone()]);
    view.press(KeyCode::Char('r'), &shown(&view));
    assert_eq!(keys(&view), [two.clone(), one.clone()]);
    // The choice is a server's, wherever it stands.
    view.press(KeyCode::Down, &shown(&view));
    view.press(KeyCode::Char('r'), &shown(&view));
    assert_eq!(view.position(&shown(&view)), 0);
    view.press(KeyCode::Char('d'), &shown(&view));
    assert_eq!(view.mode, Mode::Ask(one.clone(), true));
    assert_eq!(view.press(KeyCode::Char('n'), &shown(&view)), Act::Nothing);
    view.press(KeyCode::Char('u'), &shown(&view));
    let act = view.press(KeyCode::Char('y'), &shown(&view));
    assert_eq!(act, Act::Drain(one, false));
    for key in "/10.0.0.2".chars() {
        view.press(KeyCode::Char(key), &shown(&view));
    }
    assert_eq!(keys(&view), [two]);
    view.press(KeyCode::Enter, &shown(&view));
    assert_eq!(view.press(KeyCode::Esc, &shown(&view)), Act::Nothing);
    assert_eq!(keys(&view).len(), 2);
    assert_eq!(view.press(KeyCode::Esc, &shown(&view)), Act::End);
    assert_eq!(view.press(KeyCode::Char('q'), &shown(&view)), Act::End);
    // Elsewhere nothing is drained.
    view.press(KeyCode::BackTab, &shown(&view));
    assert_eq!(view.subject, Subject::Routes);
    view.press(KeyCode::Char('d'), &shown(&view));
    assert_eq!(view.mode, Mode::Table);
}
