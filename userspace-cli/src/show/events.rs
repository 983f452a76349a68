// SPDX-License-Identifier: MIT
//! What has happened.

use l7switch_admin_api::Events;

use super::below;
use super::cells;
use super::date;
use super::printable;
use super::table_with;

/// Events, the newest last, as in a log; their words stand below.
pub(crate) fn events(events: &Events) -> String {
    if events.events.is_empty() {
        return "nothing has happened\n".to_owned();
    }
    let heading = ["LAST", "TIMES", "LEVEL", "EVENT", "SERVER"];
    let mut rows = vec![(cells(heading), String::new())];
    for event in events.events.iter().rev() {
        let server = match (&event.pool, &event.server) {
            (Some(pool), Some(server)) => format!("{}/{}", printable(pool), printable(server)),
            _ => String::new(),
        };
        let row = vec![
            date(Some(event.last)).unwrap_or_else(|| "-".to_owned()),
            event.count.to_string(),
            event.level.as_str().to_owned(),
            printable(&event.kind),
            server,
        ];
        let text: Vec<String> = event.text.lines().map(printable).collect();
        let text = text.iter().map(|line| below(line)).collect();
        rows.push((row, text));
    }
    let mut text = table_with(&rows);
    if events.lost > 0 {
        text += &format!("{} older ones are forgotten\n", events.lost);
    }
    text
}

#[cfg(test)]
mod tests {
    use l7switch_admin_api::Event;
    use l7switch_admin_api::Level;

    use super::*;

    #[test]
    fn the_newest_is_the_last() {
        let event = |last, text: &str| Event {
            last,
            count: 3,
            kind: "server_down".to_owned(),
            level: Level::Warning,
            pool: Some("p".to_owned()),
            server: Some("10.0.0.1:80".to_owned()),
            text: text.to_owned(),
            ..Event::default()
        };
        let text = events(&Events {
            events: vec![event(60, "two\nlines\u{1b}"), event(0, "one")],
            lost: 2,
        });
        let expected = "LAST                  TIMES  LEVEL    EVENT        SERVER\n\
                        1970-01-01T00:00:00Z      3  warning  server_down  p/10.0.0.1:80\n    one\n\
                        1970-01-01T00:01:00Z      3  warning  server_down  p/10.0.0.1:80\n    two\n    lines\\u{1b}\n\
                        2 older ones are forgotten\n";
        assert_eq!(text, expected);
        assert_eq!(events(&Events::default()), "nothing has happened\n");
    }
}
