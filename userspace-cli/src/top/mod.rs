// SPDX-License-Identifier: MIT
//! `l7ctl top`: what a running switch does, again and again, on a terminal.

mod draw;
mod rows;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::io::IsTerminal as _;
use std::time::Duration;
use std::time::Instant;

use ratatui::crossterm::event;
use ratatui::crossterm::event::Event;
use ratatui::crossterm::event::KeyCode;
use ratatui::crossterm::event::KeyEventKind;
use ratatui::crossterm::event::KeyModifiers;

use crate::Outcome;
use crate::rules::colour;

pub(crate) use rows::Reading;
use view::Act;
use view::View;

/// Shows what `read` gives, each `interval`, until someone has enough. `drain` drains a server, or puts it back, and says what
/// became of that.
pub(crate) fn run(
    interval: Duration,
    mut read: impl FnMut() -> Result<Reading, String>,
    mut drain: impl FnMut(&str, bool) -> Result<String, String>,
) -> Outcome {
    if !io::stdout().is_terminal() {
        return Err("top needs a terminal; without one: l7ctl servers --watch".to_owned());
    }
    // What cannot be read at all is said on a screen that stays.
    let mut now = read()?;
    let mut was = now.clone();
    let mut view = View::new();
    let mut message = None;
    let mut due = now.at + interval;
    let mut terminal = ratatui::try_init().map_err(|error| error.to_string())?;
    let outcome = loop {
        let shown = view.shown(rows::rows(view.subject, &was, &now));
        let drawn = terminal.draw(|frame| {
            draw::draw(frame, &view, &now, &shown, message.as_deref(), colour());
        });
        if let Err(error) = drawn {
            break Err(error.to_string());
        }
        let patience = match view.is_paused {
            true => Duration::from_secs(3600),
            false => due.saturating_duration_since(Instant::now()),
        };
        match pressed(patience) {
            Ok(Some(key)) => {
                message = None;
                match view.press(key, &shown) {
                    Act::Nothing => {}
                    Act::End => break Ok(true),
                    Act::Drain(server, is_drained) => {
                        message = Some(drain(&server, is_drained).unwrap_or_else(|error| error));
                    }
                }
            }
            Ok(None) => {}
            Err(error) => break Err(error.to_string()),
        }
        if !view.is_paused && Instant::now() >= due {
            due = Instant::now() + interval;
            match read() {
                Ok(next) => was = std::mem::replace(&mut now, next),
                // Another front may be taking its place.
                Err(error) => message = Some(error),
            }
        }
    };
    ratatui::restore();
    outcome
}

/// The key that is pressed within some time. Another size of the terminal is no key.
fn pressed(patience: Duration) -> io::Result<Option<KeyCode>> {
    if !event::poll(patience)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => {
            let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('c') if is_control => Some(KeyCode::Char('q')),
                code => Some(code),
            }
        }
        _ => None,
    })
}
