// SPDX-License-Identifier: MIT
//! What is looked at, and what keys do to that.

use ratatui::crossterm::event::KeyCode;

use super::rows::Row;
use super::rows::Subject;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) subject: Subject,
    /// The column that it is sorted by, of each subject, and whether the least comes first.
    orders: [(usize, bool); 3],
    /// Rows that have this text in a cell are shown.
    pub(super) filter: String,
    /// What the keys go to.
    pub(super) mode: Mode,
    /// The row that is chosen, by its key.
    pub(super) chosen: Option<String>,
    /// Whether it stands still.
    pub(super) is_paused: bool,
}

/// What the keys go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// The filter.
    Filter,
    /// A question about a server: is it to be drained (`true`), or put back?
    Ask(String, bool),
}

/// What is to be done besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    End,
    /// Drain a server (`true`), or put it back.
    Drain(String, bool),
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            subject: Subject::Services,
            orders: Subject::ALL.map(|subject| (subject.first_order(), false)),
            filter: String::new(),
            mode: Mode::Table,
            chosen: None,
            is_paused: false,
        }
    }

    fn place(&self) -> usize {
        let mut all = Subject::ALL.iter();
        all.position(|subject| *subject == self.subject)
            .unwrap_or(0)
    }

    /// The column that it is sorted by, and whether the least comes first.
    pub(super) fn order(&self) -> (usize, bool) {
        self.orders.get(self.place()).copied().unwrap_or((0, false))
    }

    fn set_order(&mut self, order: (usize, bool)) {
        let place = self.place();
        if let Some(of) = self.orders.get_mut(place) {
            *of = order;
        }
    }

    /// The rows that are shown, in their order.
    pub(super) fn shown(&self, rows: Vec<Row>) -> Vec<Row> {
        let (column, is_rising) = self.order();
        let wanted = self.filter.to_lowercase();
        let has = |row: &Row| {
            let mut cells = row.cells.iter();
            cells.any(|cell| cell.text().to_lowercase().contains(&wanted))
        };
        let mut rows: Vec<Row> = rows.into_iter().filter(has).collect();
        rows.sort_by(|one, other| {
            let order = match (one.cells.get(column), other.cells.get(column)) {
                (Some(one), Some(other)) => one.compare(other),
                _ => std::cmp::Ordering::Equal,
            };
            let order = if is_rising { order } else { order.reverse() };
            order.then_with(|| one.key.cmp(&other.key))
        });
        rows
    }

    /// The position of the chosen row; the first where it is not there.
    pub(super) fn position(&self, shown: &[Row]) -> usize {
        let chosen = self.chosen.as_deref();
        let position = shown
            .iter()
            .position(|row| Some(row.key.as_str()) == chosen);
        position.unwrap_or(0)
    }

    fn choose(&mut self, shown: &[Row], position: usize) {
        let last = shown.len().saturating_sub(1);
        self.chosen = shown.get(position.min(last)).map(|row| row.key.clone());
    }

    fn show(&mut self, subject: Subject) {
        self.subject = subject;
        self.chosen = None;
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyCode, shown: &[Row]) -> Act {
        match (&mut self.mode, key) {
            (Mode::Ask(server, drain), KeyCode::Char('y' | 'Y')) => {
                let act = Act::Drain(server.clone(), *drain);
                self.mode = Mode::Table;
                return act;
            }
            (Mode::Ask(..), _) => self.mode = Mode::Table,
            (Mode::Filter, KeyCode::Enter) => self.mode = Mode::Table,
            (Mode::Filter, KeyCode::Esc) => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            (Mode::Filter, KeyCode::Backspace) => drop(self.filter.pop()),
            (Mode::Filter, KeyCode::Char(character)) => self.filter.push(character),
            (Mode::Filter, _) => {}
            (Mode::Table, key) => return self.press_in_table(key, shown),
        }
        Act::Nothing
    }

    fn press_in_table(&mut self, key: KeyCode, shown: &[Row]) -> Act {
        let at = self.position(shown);
        let (column, is_rising) = self.order();
        let columns = self.subject.columns().len();
        let next = |by: usize| {
            let place = self.place().saturating_add(by) % Subject::ALL.len();
            Subject::ALL
                .get(place)
                .copied()
                .unwrap_or(Subject::Services)
        };
        match key {
            KeyCode::Char('q') => return Act::End,
            KeyCode::Esc if self.filter.is_empty() => return Act::End,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('1') => self.show(Subject::Services),
            KeyCode::Char('2') => self.show(Subject::Routes),
            KeyCode::Char('3') => self.show(Subject::Servers),
            KeyCode::Tab => self.show(next(1)),
            KeyCode::BackTab => self.show(next(Subject::ALL.len().saturating_sub(1))),
            KeyCode::Right | KeyCode::Char('>') => {
                self.set_order((column.saturating_add(1) % columns, is_rising));
            }
            KeyCode::Left | KeyCode::Char('<') => {
                let before = column.checked_sub(1).unwrap_or(columns.saturating_sub(1));
                self.set_order((before, is_rising));
            }
            KeyCode::Char('r') => self.set_order((column, !is_rising)),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => self.choose(shown, at.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.choose(shown, at.saturating_sub(1)),
            KeyCode::PageDown => self.choose(shown, at.saturating_add(10)),
            KeyCode::PageUp => self.choose(shown, at.saturating_sub(10)),
            KeyCode::Home => self.choose(shown, 0),
            KeyCode::End => self.choose(shown, usize::MAX),
            KeyCode::Char(letter @ ('d' | 'u')) if self.subject == Subject::Servers => {
                if let Some(row) = shown.get(at) {
                    self.mode = Mode::Ask(row.key.clone(), letter == 'd');
                }
            }
            _ => {}
        }
        Act::Nothing
    }
}
