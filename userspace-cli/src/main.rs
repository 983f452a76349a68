// SPDX-License-Identifier: MIT
//! l7ctl, the administrator's command: checks and explains rules, shows and changes a running
//! switch and the kernel module.
#![forbid(unsafe_code)]

mod admin;
mod cli;
mod diff;
mod drain;
mod import;
mod kernel;
mod rules;
mod server;
mod show;
mod switch;
mod tls;
mod top;
mod watch;

use std::io;
use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::Parser as _;

use cli::Cli;
use cli::Command;
use switch::Switch;

/// What a command answers besides its text: whether all is well.
type Outcome = Result<bool, String>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = io::stdout().lock();
    let outcome = run(cli, &mut out).and_then(|good| match out.flush() {
        Ok(()) => Ok(good),
        Err(error) => closed(&error).map(|()| good),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            // Nothing is left to be told when standard error is gone.
            let _ = writeln!(io::stderr(), "l7ctl: {message}");
            ExitCode::from(2)
        }
    }
}

/// A reader that has seen enough (`l7ctl … | head`) is no failure.
fn closed(error: &io::Error) -> Result<(), String> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(format!("standard output: {error}")),
    }
}

/// Writes an answer.
fn print(out: &mut impl io::Write, text: &str) -> Result<(), String> {
    out.write_all(text.as_bytes())
        .or_else(|error| closed(&error))
}

/// Writes an answer as JSON.
fn print_json(out: &mut impl io::Write, value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    print(out, &format!("{text}\n"))
}

fn run(cli: Cli, out: &mut impl io::Write) -> Outcome {
    let switch = Switch {
        place: cli.admin.unwrap_or_default(),
        identity: cli.identity,
    };
    match cli.command {
        Command::Check {
            rules,
            no_files,
            offline,
            name_server,
            json,
        } => {
            let outside = rules::Outside {
                files: !no_files,
                names: !offline,
                name_server,
            };
            rules::check(&rules, &outside, json, out)
        }
        Command::Compile { rules, output } => rules::compile(&rules, &output, out),
        Command::Import {
            program,
            file,
            output,
        } => import::import(program, &file, output.as_deref(), out),
        Command::Kernel(command) => kernel::run(command, out),
        Command::Explain(explain) => match explain.given() {
            (Some(path), url) => rules::explain(path, url, &explain, out),
            (None, url) => admin::explain(&switch, url, &explain, out),
        },
        Command::Schema => {
            print_json(out, &l7switch_rules::text::language::json_schema())?;
            Ok(true)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "l7ctl", &mut text);
            print(out, &String::from_utf8_lossy(&text))?;
            Ok(true)
        }
        Command::Man { folder } => {
            clap_mangen::generate_to(Cli::command(), &folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
            Ok(true)
        }
        Command::Running(command) => admin::run(&switch, command, out),
    }
}
