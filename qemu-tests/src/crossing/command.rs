// SPDX-License-Identifier: MIT
//! `make test-crossing`, on the host: has guests make every crossing, compares with what is expected, writes the page.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use clap::Args;

use super::Order;
use super::all;
use super::outcome::Outcome;
use super::report;
use crate::error::Doing as _;
use crate::error::Error;
use crate::error::Result;
use crate::host::artifacts::Image;
use crate::host::session::Run;
use crate::host::session::Session;
use crate::host::suite;
use crate::host::tool;
use crate::printed::Printed as _;
use crate::test::Machine;

/// The page, below the project's folder.
const PAGE: &str = "docs/crossing.md";
/// How long a crossing may take by the guest's clock.
const LIMIT: Duration = Duration::from_secs(400);

/// Which crossings.
#[derive(Debug, Args)]
pub struct Wanted {
    /// Only those whose names have one of these words; nothing is recorded then
    words: Vec<String>,
    /// Do not record it
    #[arg(long)]
    dry: bool,
    /// Show what guests print of each
    #[arg(long)]
    show: bool,
}

/// Makes the crossings, prints what came of each, and writes the page. It fails where something is not as expected.
///
/// # Errors
///
/// Where something cannot be built or booted, or the page cannot be written.
pub fn run(wanted: &Wanted, init: &Path) -> Result<ExitCode> {
    let is_wanted = |order: &Order| {
        let words = &wanted.words;
        words.is_empty() || words.iter().any(|word| order.name().contains(word))
    };
    let orders = all().flat_map(|crossing| {
        let places = crossing.places.iter();
        places.map(move |&place| Order { crossing, place })
    });
    let orders: Vec<Order> = orders.filter(is_wanted).collect();
    if orders.is_empty() {
        let names: Vec<&str> = all().map(|crossing| crossing.name).collect();
        let names = names.join(", ");
        return Err(Error::Message(format!(
            "there is no such crossing; there are {names}"
        )));
    }
    let run = Run::new(init, Image::Ordinary);
    let kernel = run.setup()?.kernel.release.clone();
    let next = Mutex::new(orders.iter().enumerate());
    let found = Mutex::new(Vec::new());
    let begin = Instant::now();
    let work = || -> Result<Vec<String>> {
        let mut session = Session::new(&run);
        loop {
            let order = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, order)) = order else {
                return session.finish();
            };
            let done = one(&mut session, order, wanted.show);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push((number, done));
        }
    };
    let complaints: Vec<String> = thread::scope(|scope| {
        let guests = suite::guests().min(orders.len());
        let ends: Vec<_> = (0..guests).map(|_| scope.spawn(work)).collect();
        let ends = ends.into_iter().flat_map(|end| match end.join() {
            Ok(Ok(complaints)) => complaints,
            Ok(Err(error)) => vec![error.to_string()],
            Err(_) => vec!["a thread has ended".to_owned()],
        });
        ends.collect()
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    let outcomes: Vec<&Outcome> = found
        .iter()
        .filter_map(|(_, done)| done.0.as_ref())
        .collect();
    let surprises = found
        .iter()
        .flat_map(|(_, done)| &done.1)
        .chain(&complaints);
    let surprises: Vec<&String> = surprises.collect();
    print(&format!(
        "{} of {} crossings in {} s\n",
        outcomes.len(),
        orders.len(),
        begin.elapsed().as_secs()
    ));
    for surprise in &surprises {
        print(&format!("NOT AS EXPECTED: {surprise}\n"));
    }
    if wanted.words.is_empty() && !wanted.dry && outcomes.len() == orders.len() {
        let page = tool::repository().join(PAGE);
        fs::write(&page, report::page(&outcomes, &kernel)).doing_with("write", &page)?;
        print(&format!("recorded in {}\n", page.display()));
    }
    Ok(match surprises.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What came of a crossing, and what of that is not as expected.
type Done = (Option<Outcome>, Vec<String>);

fn one(session: &mut Session, order: &Order, show: bool) -> Done {
    let begin = Instant::now();
    let result = session.run_named(&order.name(), Machine::DEFAULT, LIMIT);
    let (outcome, mut surprises, printed) = match result {
        Ok(result) if result.is_good() => (Outcome::find(&result.output), vec![], result.output),
        Ok(result) => {
            let report = format!("{}: {}", order.name(), suite::report(&result));
            (Outcome::find(&result.output), vec![report], result.output)
        }
        Err(error) => (
            None,
            vec![format!("{}: {error}", order.name())],
            String::new(),
        ),
    };
    match &outcome {
        Some(outcome) => surprises.extend(outcome.surprises(order.crossing)),
        None if surprises.is_empty() => surprises.push(format!("{}: nothing came", order.name())),
        None => {}
    }
    let ways = outcome.iter().map(report::short).next();
    print(&format!(
        "{}: {} ({} s)\n",
        order.name(),
        ways.unwrap_or_else(|| "nothing".to_owned()),
        begin.elapsed().as_secs()
    ));
    if show || !surprises.is_empty() {
        print(&printed);
    }
    (outcome, surprises)
}

fn print(text: &str) {
    // Nothing is lost where nobody listens.
    let _ = io::stdout().write_all(text.as_bytes());
}
