// SPDX-License-Identifier: MIT
//! How it looks.

use ratatui::Frame;
use ratatui::layout::Constraint;
use ratatui::layout::Layout;
use ratatui::style::Color;
use ratatui::style::Modifier;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::text::Span;
use ratatui::widgets::Cell as Field;
use ratatui::widgets::Paragraph;
use ratatui::widgets::Row as Shown;
use ratatui::widgets::Table;
use ratatui::widgets::TableState;

use super::rows::Reading;
use super::rows::Row;
use super::rows::Subject;
use super::view::Mode;
use super::view::View;
use crate::show::printable;
use crate::show::short;

/// Columns that are as wide as what is in them, and the rest for the last one.
fn widths(subject: Subject, rows: &[Row]) -> Vec<Constraint> {
    let width = |column: usize, head: &str| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        let widest = cells.map(|cell| cell.text().chars().count()).max();
        // The head has room for the mark of the order.
        let widest = widest
            .unwrap_or(0)
            .max(head.len().saturating_add(2))
            .min(40);
        Constraint::Length(u16::try_from(widest).unwrap_or(40))
    };
    let columns = subject.columns();
    let last = columns.len().saturating_sub(1);
    let of = |(column, head): (usize, &&str)| match column == last {
        true => Constraint::Min(8),
        false => width(column, head),
    };
    columns.iter().enumerate().map(of).collect()
}

fn headline(view: &View, now: &Reading) -> Line<'static> {
    let tab = |(number, subject): (usize, Subject)| {
        let text = format!(" {} {} ", number.saturating_add(1), subject.title());
        match subject == view.subject {
            true => Span::styled(text, Style::new().add_modifier(Modifier::REVERSED)),
            false => Span::raw(text),
        }
    };
    let mut spans = vec![Span::styled(
        "l7switch",
        Style::new().add_modifier(Modifier::BOLD),
    )];
    let status = &now.status;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds since the start"
    )]
    let uptime = short(status.uptime as u64);
    let kernel = status.kernel.state.as_str();
    let generation = status.generation;
    let paused = if view.is_paused { "  PAUSED" } else { "" };
    spans.push(Span::raw(format!(
        "  up {uptime}  generation {generation}  kernel {kernel}{paused}  "
    )));
    spans.extend(Subject::ALL.into_iter().enumerate().map(tab));
    Line::from(spans)
}

fn footline(view: &View, message: Option<&str>) -> Line<'static> {
    let text = match (&view.mode, message) {
        (Mode::Filter, _) => format!(
            "filter: {}_   Enter: keep   Esc: all",
            printable(&view.filter)
        ),
        (Mode::Ask(server, true), _) => format!("drain {}? y/n", printable(server)),
        (Mode::Ask(server, false), _) => format!("put {} back? y/n", printable(server)),
        (Mode::Table, Some(message)) => printable(message),
        (Mode::Table, None) => {
            let filter = match view.filter.as_str() {
                "" => String::new(),
                filter => format!("filter: {}   ", printable(filter)),
            };
            let servers = match view.subject {
                Subject::Servers => "   d drain   u put back",
                _ => "",
            };
            format!("{filter}Tab view   <> order   r reverse   / filter   p pause{servers}   q end")
        }
    };
    Line::from(text)
}

/// Draws what is looked at.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    view: &View,
    now: &Reading,
    rows: &[Row],
    message: Option<&str>,
    colour: bool,
) {
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(view, now)), top);
    let (ordered, is_rising) = view.order();
    let head = view
        .subject
        .columns()
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let mark = match (column == ordered, is_rising) {
                (false, _) => "",
                (true, true) => " ^",
                (true, false) => " v",
            };
            Field::from(format!("{head}{mark}"))
        });
    let head = Shown::new(head).style(Style::new().add_modifier(Modifier::BOLD));
    let shown = rows.iter().map(|row| {
        let fields = row
            .cells
            .iter()
            .map(|cell| Field::from(cell.text().to_owned()));
        let style = match row.is_bad {
            true if colour => Style::new().fg(Color::Red),
            true => Style::new().add_modifier(Modifier::BOLD),
            false => Style::new(),
        };
        Shown::new(fields).style(style)
    });
    let table = Table::new(shown, widths(view.subject, rows))
        .header(head)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new();
    state.select((!rows.is_empty()).then(|| view.position(rows)));
    frame.render_stateful_widget(table, middle, &mut state);
    frame.render_widget(Paragraph::new(footline(view, message)), bottom);
}
