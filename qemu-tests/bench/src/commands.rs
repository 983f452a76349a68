// SPDX-License-Identifier: MIT
//! The commands: measure and record, compare with the record, profile.

use std::env;
use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::thread;

use clap::Args;
use clap::ValueEnum as _;
use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;

use super::case::CASES;
use super::case::Case;
use super::contender::Contender;
use super::gate;
use super::guest::Order;
use super::host;
use super::locks;
use super::measure;
use super::memory;
use super::plot;
use super::record::Entry;
use super::record::Record;
use super::report;
use super::rig::Rig;

/// Where the record is, below the project's folder.
const FOLDER: &str = "docs/measurements";

/// What is to be measured of all that there is.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Only these cases
    #[arg(long = "case")]
    cases: Vec<String>,
    /// Only these contenders
    #[arg(long = "contender")]
    contenders: Vec<Contender>,
    /// Do not record it
    #[arg(long)]
    dry: bool,
}

impl Wanted {
    /// The cases; `all`: where nothing is said.
    fn cases(&self, all: impl IntoIterator<Item = &'static str>) -> Result<Vec<&'static Case>> {
        let find = |name: &str| Case::find(name).ok_or_else(|| unknown(name));
        match self.cases.as_slice() {
            [] => all.into_iter().map(find).collect(),
            some => some.iter().map(|name| find(name)).collect(),
        }
    }

    /// The contenders; `all`: where nothing is said.
    fn contenders(&self, all: &[Contender]) -> Vec<Contender> {
        match self.contenders.as_slice() {
            [] => all.to_vec(),
            some => some.to_vec(),
        }
    }
}

/// What is to be measured: the short form where nothing is said.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// All cases
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Measures, prints the table, and records it.
///
/// # Errors
///
/// Where something cannot be built, measured or written.
pub(crate) fn bench(Bench { full, wanted }: &Bench, init: &Path) -> Result<ExitCode> {
    let all = CASES.iter().filter(|case| case.short || *full);
    let cases = wanted.cases(all.map(|case| case.name))?;
    let contenders = wanted.contenders(Contender::value_variants());
    if !wanted.dry && env::var_os("L7_PROFILE").is_some() {
        let why =
            "L7_PROFILE is set: only what is shipped is recorded (--dry measures all the same)";
        return Err(Error::Message(why.to_owned()));
    }
    let rig = Rig::new(init)?;
    let folder = tool::repository().join(FOLDER);
    let file = folder.join("guest.json");
    let measured = measure::all(&rig, &contenders, &cases)?;
    // Read no sooner: others may have recorded something meanwhile.
    let mut record = Record::read(&file)?;
    for entry in measured {
        if let Some(recorded) = record.find(entry.contender, &entry.case) {
            print(&format!("{}\n", report::beside(&entry, recorded)));
        }
        record.put(entry);
    }
    record.compare(CASES.iter().map(|case| case.name));
    let table = report::table(&record);
    print(&table);
    if !wanted.dry {
        fs::create_dir_all(&folder).doing_with("make", &folder)?;
        record.write(&file)?;
        let place = guest_place()?;
        plot::all(&record, &folder, &place)?;
        let page = folder.join("guest.md");
        let text = report::page(&record, &place, &table);
        fs::write(&page, text).doing_with("write", &page)?;
        print(&format!("recorded in {}\n", folder.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures locks that wait for one another, prints the page, and records it.
///
/// # Errors
///
/// Where something cannot be built, measured or written.
pub(crate) fn bench_locks(wanted: &Wanted, init: &Path) -> Result<ExitCode> {
    let cases = wanted.cases(locks::CASES)?;
    let contenders = wanted.contenders(&locks::CONTENDERS);
    let (rows, refused) = locks::all(&Rig::new(init)?, &contenders, &cases);
    for error in &refused {
        print(&format!("NOT MEASURED: {error}\n"));
    }
    if rows.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let text = locks::page(&rows, &guest_place()?);
    publish("locks.md", &text, wanted.dry)?;
    Ok(match refused.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Measures what the module's connections take of memory, prints the page, and records it where it is not `dry`.
///
/// # Errors
///
/// Where something cannot be built, measured or written.
pub(crate) fn bench_memory(dry: bool, init: &Path) -> Result<ExitCode> {
    let taken = memory::measure(&Rig::new(init)?)?;
    let text = memory::page(&taken, &guest_place()?);
    publish("memory.md", &text, dry)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a page, and records it where it is not `dry`.
fn publish(name: &str, text: &str, dry: bool) -> Result<()> {
    print(text);
    if !dry {
        let folder = tool::repository().join(FOLDER);
        fs::create_dir_all(&folder).doing_with("make", &folder)?;
        let page = folder.join(name);
        fs::write(&page, text).doing_with("write", &page)?;
        print(&format!("recorded in {}\n", page.display()));
    }
    Ok(())
}

/// Measures the front beside other proxies on this machine in these cases, or in all, prints the page, and records it where it
/// is not `dry`.
///
/// # Errors
///
/// Where a program is missing or fails, or the page cannot be written.
pub(crate) fn bench_host(plan: host::Plan, cases: &[String], dry: bool) -> Result<ExitCode> {
    let findings = host::measure(plan, cases)?;
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let place = place(&format!("{}, {processors} processors", distribution()))?;
    publish("host.md", &host::page(&findings, &place), dry)?;
    Ok(ExitCode::SUCCESS)
}

/// Measures the module, IPVS and plain forwarding in the key cases, and compares with the record.
///
/// # Errors
///
/// Where something cannot be built or measured, or there is no record.
pub(crate) fn gate(init: &Path) -> Result<ExitCode> {
    let cases = CASES
        .iter()
        .filter(|case| gate::CASES.iter().any(|(name, _)| *name == case.name))
        .collect::<Vec<_>>();
    let recorded = Record::read(&tool::repository().join(FOLDER).join("guest.json"))?;
    let rig = Rig::new(init)?;
    let judge = |entries: &[Entry]| {
        let mut now = Record::of_medians(entries);
        now.compare(gate::CASES.into_iter().map(|(case, _)| case));
        gate::CASES.map(|(case, noise)| (case, gate::compare(case, noise, &now, &recorded)))
    };
    let mut entries = measure::all(&rig, &gate::CONTENDERS, &cases)?;
    let mut verdicts = judge(&entries);
    let is_off = |case: &&Case| {
        let mut off = verdicts.iter().filter(|(_, found)| found.is_err());
        off.any(|(name, _)| *name == case.name)
    };
    let off: Vec<&Case> = cases.iter().copied().filter(is_off).collect();
    if !off.is_empty() {
        // A boot may be dearer or cheaper for itself: of three, the middle one counts.
        for _ in 0..2 {
            entries.extend(measure::all(&rig, &gate::CONTENDERS, &off)?);
        }
        verdicts = judge(&entries);
    }
    let mut code = ExitCode::SUCCESS;
    for (_, found) in verdicts {
        match found {
            Ok(found) => print(&format!("{found}\n")),
            Err(found) => {
                print(&format!("TOO FAR FROM THE RECORD: {found}\n"));
                code = ExitCode::FAILURE;
            }
        }
    }
    if code != ExitCode::SUCCESS {
        print(&format!(
            "If the change is meant, run `make bench-full`, say in the commit why the price changed, and commit \
             {FOLDER}. Else `cargo run -p l7switch-bench -- profile module-nat CASE` says where the instructions go.\n"
        ));
    }
    Ok(code)
}

/// Profiles; prints the table, and writes it with the flame graph.
///
/// # Errors
///
/// Where something cannot be built, measured or written.
pub(crate) fn profile(order: &Order, out: &Path, init: &Path) -> Result<ExitCode> {
    Case::find(&order.case).ok_or_else(|| unknown(&order.case))?;
    let (measured, profile) = Rig::new(init)?.profile(order)?;
    let title = format!("{}, {}", order.contender, order.case);
    let table = format!(
        "{title}: instructions per request, of {} requests\n{profile}",
        measured.requests - measured.warm_up
    );
    fs::create_dir_all(out).doing_with("make", out)?;
    let file = |end: &str| out.join(format!("{}.{}.{end}", order.contender, order.case));
    for (end, content) in [
        ("txt", table.as_bytes()),
        ("svg", &profile.flame_graph(&title)?),
    ] {
        fs::write(file(end), content).doing_with("write", &file(end))?;
    }
    print(&table);
    Ok(ExitCode::SUCCESS)
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    Error::Message(format!("no case {name}; there are {}", names.join(", ")))
}

/// On what and when guests are measured.
fn guest_place() -> Result<String> {
    place(&first_line("qemu-system-x86_64", &["--version"])?)
}

/// On what and when it is measured: what counts, processor, commit, date.
fn place(what: &str) -> Result<String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    Ok(format!(
        "{what} on {processor}; commit {}; {}",
        first_line("git", &["describe", "--always", "--dirty"])?,
        first_line("date", &["-u", "+%Y-%m-%d"])?,
    ))
}

/// What /etc/os-release calls this system.
fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("an unknown system")
        .trim_matches('"')
        .to_owned()
}

/// The first line that a program prints.
fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(tool::repository());
    let printed = tool::output(&mut command)?;
    Ok(printed.lines().next().unwrap_or_default().to_owned())
}

fn print(text: &str) {
    // Nothing is lost where nobody listens.
    let _ = io::stdout().write_all(text.as_bytes());
}
