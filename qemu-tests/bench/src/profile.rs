// SPDX-License-Identifier: MIT
//! Where the instructions of a request go, by function of the guest's kernel: what the profiler's plugin counted, read
//! with the kernel's symbols.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;

use super::guest::Measured;

/// The phases that are counted (profiler/src/lib.rs).
const WARM_UP: usize = 1;
const MEASURED: usize = 3;

/// What stands for all that the guest's programs do.
const PROGRAMS: &str = "(programs)";

/// Instructions per request, by function and by stack of calls.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    /// All of them.
    pub total: f64,
    /// By function, most of its own first.
    pub functions: Vec<Function>,
    /// By stack, `outermost;...;innermost`.
    pub stacks: BTreeMap<String, f64>,
}

/// What a function takes of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function {
    /// `name` or `name [module]`.
    pub name: String,
    /// By itself.
    pub own: f64,
    /// With all that it calls.
    pub with_calls: f64,
}

/// Names of addresses.
#[derive(Debug, Default)]
struct Symbols {
    sorted: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads lines of /proc/kallsyms.
    fn parse(text: &str) -> Self {
        let mut sorted: Vec<(u64, String)> = text.lines().filter_map(symbol).collect();
        sorted.sort();
        Self { sorted }
    }

    fn name(&self, address: u64) -> &str {
        if address == 0 {
            return PROGRAMS;
        }
        let after = self.sorted.partition_point(|(start, _)| *start <= address);
        after
            .checked_sub(1)
            .and_then(|at| self.sorted.get(at))
            .map_or("(unknown)", |(_, name)| name)
    }
}

/// Reads `ffffffffc0a01000 t name [module]`.
fn symbol(line: &str) -> Option<(u64, String)> {
    let mut words = line.split_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let name = format!("{:#}", rustc_demangle::demangle(words.nth(1)?));
    let name = match words.next() {
        Some(module) => format!("{name} {module}"),
        None => name,
    };
    // A stack of calls separates by it.
    Some((address, name.replace(';', ":")))
}

impl Profile {
    /// Reads what the plugin wrote and the symbols that the guest sent. The run that warms up is taken off, so that what
    /// each run begins with counts for nothing.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or has no marks.
    pub(crate) fn read(counts: &Path, symbols: &Path, measured: &Measured) -> Result<Self> {
        let read = |path: &Path| fs::read_to_string(path).doing_with("read", path);
        let requests = measured.requests.saturating_sub(measured.warm_up);
        let symbols = Symbols::parse(&read(symbols)?);
        Self::of(&read(counts)?, &symbols, requests)
            .ok_or_else(|| Error::Message(format!("{} is not of whole phases", counts.display())))
    }

    #[expect(clippy::cast_precision_loss, reason = "quotients of counts")]
    fn of(counts: &str, symbols: &Symbols, requests: u64) -> Option<Self> {
        let mut nodes: Vec<(usize, u64)> = vec![(0, 0)];
        let mut last_phase = 0;
        let mut places: HashMap<(usize, &str), i64> = HashMap::new();
        for line in counts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |text: &str| text.parse::<usize>().ok();
            let address = |text: &str| u64::from_str_radix(text, 16).ok();
            match words.as_slice() {
                ["N", _, parent, site] => nodes.push((number(parent)?, address(site)?)),
                ["C", phase, node, at, count] => {
                    let phase = number(phase)?;
                    let sign = match phase {
                        WARM_UP => -1,
                        MEASURED => 1,
                        _ => 0,
                    };
                    last_phase = last_phase.max(phase);
                    let name = symbols.name(address(at)?);
                    *places.entry((number(node)?, name)).or_default() +=
                        sign * count.parse::<i64>().ok()?;
                }
                _ => return None,
            }
        }
        if last_phase != MEASURED || requests == 0 {
            return None;
        }
        let mut total = 0.0;
        let mut stacks: BTreeMap<String, f64> = BTreeMap::new();
        let mut functions: HashMap<&str, (f64, f64)> = HashMap::new();
        for ((mut node, name), count) in places {
            let per_request = count as f64 / requests as f64;
            if count == 0 {
                continue;
            }
            total += per_request;
            let mut stack = vec![name];
            while let Some((parent, site)) = nodes.get(node).filter(|_| node != 0) {
                stack.push(symbols.name(*site));
                node = *parent;
            }
            functions.entry(name).or_default().0 += per_request;
            for name in stack.iter().collect::<HashSet<_>>() {
                functions.entry(name).or_default().1 += per_request;
            }
            stack.reverse();
            *stacks.entry(stack.join(";")).or_default() += per_request;
        }
        let mut functions: Vec<Function> = functions
            .into_iter()
            .map(|(name, (own, with_calls))| Function {
                name: name.to_owned(),
                own,
                with_calls,
            })
            .collect();
        functions.sort_by(|a, b| b.own.total_cmp(&a.own).then_with(|| a.name.cmp(&b.name)));
        Some(Self {
            total,
            functions,
            stacks,
        })
    }

    /// A flame graph: SVG, instructions per request.
    ///
    /// # Errors
    ///
    /// Where it cannot be drawn.
    pub(crate) fn flame_graph(&self, title: &str) -> Result<Vec<u8>> {
        let lines: Vec<String> = self
            .stacks
            .iter()
            // What only the run that warms up did.
            .filter(|(_, count)| **count >= 1.0)
            .map(|(stack, count)| format!("{stack} {count:.0}"))
            .collect();
        let mut options = inferno::flamegraph::Options::default();
        options.title = title.to_owned();
        options.count_name = "instructions per request".to_owned();
        options.deterministic = true;
        let mut svg = Vec::new();
        inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
            .doing("draw the flame graph")?;
        Ok(svg)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>9} {:>7} {:>10}  function",
            "own", "share", "with calls"
        )?;
        writeln!(
            f,
            "{:>9.0} {:>6.2}% {:>10.0}  all",
            self.total, 100.0, self.total
        )?;
        for function in &self.functions {
            let share = 100.0 * function.own / self.total;
            writeln!(
                f,
                "{:>9.0} {share:>6.2}% {:>10.0}  {}",
                function.own, function.with_calls, function.name
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "ffffffff81000000 T outer\nffffffff81000100 t inner\t[l7switch]\n";

    #[test]
    fn the_warming_up_is_taken_off_and_stacks_are_named() {
        let counts = "N 1 0 ffffffff81000010\n\
                      C 1 0 ffffffff81000000 10\n\
                      C 3 0 ffffffff81000000 30\n\
                      C 3 1 ffffffff81000180 60\n\
                      C 3 0 0 10\n";
        let profile = Profile::of(counts, &Symbols::parse(SYMBOLS), 10).unwrap();
        assert_eq!(profile.total, 9.0);
        let function = |at: usize| {
            let function = &profile.functions[at];
            (function.name.as_str(), function.own, function.with_calls)
        };
        assert_eq!(function(0), ("inner [l7switch]", 6.0, 6.0));
        assert_eq!(function(1), ("outer", 2.0, 8.0));
        assert_eq!(function(2), (PROGRAMS, 1.0, 1.0));
        assert_eq!(profile.stacks["outer;inner [l7switch]"], 6.0);
    }

    #[test]
    fn a_run_without_marks_is_refused() {
        let counts = "C 1 0 ffffffff81000000 99\n";
        assert_eq!(Profile::of(counts, &Symbols::default(), 10), None);
    }
}
