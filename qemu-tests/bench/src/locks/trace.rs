// SPDX-License-Identifier: MIT
//! What the kernel's tracer wrote of locks that were waited for (Documentation/trace/ftrace.rst): who waited, where, how
//! long.
//!
//! A wait is a pair of events. For a spinlock that another has, they are a call of `native_queued_spin_lock_slowpath` and
//! its return ([`SPIN_BEGIN`], [`SPIN_END`]). The kernel's own events `lock:contention_begin` and `_end` leave out the first
//! who waits for a spinlock, and so with two processors nearly all; of mutexes, semaphores and read-write locks they have
//! all. A stack of calls stands behind each beginning.

use std::collections::BTreeMap;
use std::collections::HashMap;

/// Called where a spinlock is not free.
pub(crate) const SLOW_PATH: &str = "native_queued_spin_lock_slowpath";
/// The event of its call.
pub(crate) const SPIN_BEGIN: &str = "spin_begin";
/// The event of its return.
pub(crate) const SPIN_END: &str = "spin_end";

/// A lock that was waited for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wait {
    /// "spinlock", or what the kernel says of others: "MUTEX", "SPIN|READ".
    pub kind: String,
    /// Functions, innermost first, from the one on that wanted the lock: `name` or `name [module]`.
    pub stack: Vec<String>,
    /// How long, µs. The tracer cuts fractions from both ends, so only sums of many mean much.
    pub micros: u64,
}

/// All of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Waits {
    /// Those that began and ended.
    pub all: Vec<Wait>,
    /// Beginnings without an end, ends without a beginning.
    pub unpaired: u64,
}

/// Functions that take locks for others.
const TAKERS: &[&str] = &[
    "_raw_spin_",
    "_raw_read_",
    "_raw_write_",
    "do_raw_",
    "queued_",
    "native_queued_",
    "mutex_",
    "__mutex_",
    "ww_mutex_",
    "rwsem_",
    "__down",
    "down",
    "percpu_",
    "__percpu_",
    "rt_mutex_",
    "rust_helper_",
    "<kernel::sync::lock::",
];

/// Functions by which the tracer comes to see the others.
const TRACER: &[&str] = &[SLOW_PATH, "trace_event_raw_event_", "__traceiter_"];
/// How many frames are the tracer's at most.
const TRACER_DEPTH: usize = 8;

/// The kind of lock whose waits are calls of the slow path.
const SPINLOCK: &str = "spinlock";
/// How the kernel calls a wait for one that another waits for already.
const QUEUED: &str = "SPIN";

/// A wait that has begun.
struct Begun {
    /// Spinlocks: none. Others: the lock's address, as it is shown.
    lock: Option<String>,
    kind: String,
    stack: Vec<String>,
    at: u64,
}

/// Who waits: a task, or, as each processor has an idle task of the same number, a processor.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Task(u32),
    Processor(u32),
}

/// The modules of functions that the kernel itself has none of, by name. The tracer does not tell them.
#[derive(Debug, Default)]
pub(crate) struct Modules<'a>(HashMap<&'a str, &'a str>);

impl<'a> Modules<'a> {
    /// Reads /proc/kallsyms: lines of `ffffffffc0a01000 t name` and, of a module's, `[module]`.
    #[must_use]
    pub(crate) fn parse(text: &'a str) -> Self {
        let symbol = |line: &'a str| {
            let mut words = line.split_whitespace().skip(2);
            Some((words.next()?, words.next()))
        };
        let symbols = || text.lines().filter_map(symbol);
        let mut modules: HashMap<&str, &str> = symbols()
            .filter_map(|(name, module)| Some((name, module?)))
            .collect();
        for (name, _) in symbols().filter(|(_, module)| module.is_none()) {
            modules.remove(name);
        }
        Self(modules)
    }

    /// `name` or `name [module]`, as people know it.
    fn function(&self, name: &str) -> String {
        let readable = rustc_demangle::demangle(name);
        match self.0.get(name) {
            Some(module) => format!("{readable:#} {module}"),
            None => format!("{readable:#}"),
        }
    }
}

/// Reads a trace.
#[must_use]
pub(crate) fn read(text: &str, modules: &Modules<'_>) -> Waits {
    let mut waits = Waits::default();
    let mut begun: BTreeMap<Who, Vec<Begun>> = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(event) = Event::parse(line) else {
            continue;
        };
        let who = match event.task {
            0 => Who::Processor(event.processor),
            task => Who::Task(task),
        };
        let of_it = begun.entry(who).or_default();
        let (lock, kind) = match event.details.split_once(" (") {
            Some((lock, kind)) => (Some(lock), kind.trim_end_matches(')')),
            None => (None, ""),
        };
        match event.name {
            SPIN_BEGIN => of_it.push(Begun::new(None, SPINLOCK, event.micros)),
            "contention_begin" => {
                let kind = kind.trim_start_matches("flags=");
                // A mutex is waited for in two ways, one after the other: two beginnings, one end.
                if !of_it.iter().any(|begun| begun.lock.as_deref() == lock) {
                    of_it.push(Begun::new(lock, kind, event.micros));
                }
            }
            // It stands behind its event.
            "<stack trace>" => {
                let mut stack = Vec::new();
                while let Some(frame) = lines.peek().and_then(|line| line.strip_prefix(" => ")) {
                    stack.push(modules.function(frame.trim()));
                    lines.next();
                }
                if let Some(last) = of_it.last_mut().filter(|last| last.stack.is_empty()) {
                    last.stack = wanting(stack);
                }
            }
            SPIN_END | "contention_end" => {
                let lock = lock.filter(|_| event.name != SPIN_END);
                let at = of_it
                    .iter()
                    .rposition(|begun| begun.lock.as_deref() == lock);
                match at.map(|at| of_it.remove(at)) {
                    // It is counted by the call that it is within.
                    Some(begun) if begun.kind == QUEUED => {}
                    Some(begun) => waits.all.push(Wait {
                        kind: begun.kind,
                        stack: begun.stack,
                        micros: event.micros.saturating_sub(begun.at),
                    }),
                    None => waits.unpaired += 1,
                }
            }
            _ => {}
        }
    }
    let without_end = begun.into_values().flatten();
    waits.unpaired += without_end.fold(0, |count, _| count + 1);
    waits
}

impl Begun {
    fn new(lock: Option<&str>, kind: &str, at: u64) -> Self {
        let kind = if kind.is_empty() { "semaphore" } else { kind };
        Self {
            lock: lock.map(str::to_owned),
            kind: kind.to_owned(),
            stack: Vec::new(),
            at,
        }
    }
}

/// A line of the trace: `comm-123 [001] d..2. 12.345678: name: details`.
#[derive(Debug, PartialEq)]
struct Event<'a> {
    task: u32,
    processor: u32,
    micros: u64,
    name: &'a str,
    details: &'a str,
}

impl<'a> Event<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') || line.starts_with(" => ") {
            return None;
        }
        // A command may have brackets in its name.
        let (task, rest) = line.rsplit_once(" [")?;
        let (processor, rest) = rest.split_once("] ")?;
        let task = task.trim_end().rsplit_once('-')?.1.parse().ok()?;
        let rest = rest.trim_start().split_once(' ')?.1;
        let (time, rest) = rest.trim_start().split_once(": ")?;
        let (seconds, micros) = time.split_once('.')?;
        let seconds: u64 = seconds.parse().ok()?;
        let micros: u64 = micros.parse().ok()?;
        let (name, details) = rest.split_once(": ").unwrap_or((rest, ""));
        Some(Self {
            task,
            processor: processor.parse().ok()?,
            micros: seconds.checked_mul(1_000_000)?.checked_add(micros)?,
            name,
            details: details.trim(),
        })
    }
}

/// A stack from the function on that wants the lock: neither the tracer's functions, nor those that take locks for others.
fn wanting(mut stack: Vec<String>) -> Vec<String> {
    let tracer = stack
        .iter()
        .take(TRACER_DEPTH)
        .rposition(|name| TRACER.iter().any(|tracer| name.starts_with(tracer)));
    stack.drain(..tracer.map_or(0, |at| at + 1));
    let takers = stack
        .iter()
        .take_while(|name| TAKERS.iter().any(|taker| name.starts_with(taker)))
        .count();
    stack.drain(..takers);
    stack
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
          <idle>-0       [001] d.h3.     8.758848: spin_begin: (native_queued_spin_lock_slowpath+0x4/0x2a0) lock=0xff01
          <idle>-0       [001] d.h3.     8.758850: <stack trace>
 => kprobe_trace_func
 => 0xffffffffc082c0da
 => native_queued_spin_lock_slowpath
 => _raw_spin_lock_bh
 => rust_helper_spin_lock
 => _RNvNtCs1_8l7switch6switch4seen
 => nf_hook_slow
           nginx-132     [000] d..1.     8.758851: spin_begin: (native_queued_spin_lock_slowpath+0x4/0x2a0) lock=0xff02
           nginx-132     [000] d..1.     8.758851: <stack trace>
 => kprobe_trace_func
 => native_queued_spin_lock_slowpath
 => _raw_spin_lock
 => try_to_wake_up
           nginx-132     [000] d..1.     8.758852: contention_begin: 00000000c2 (flags=SPIN)
           nginx-132     [000] d..1.     8.758852: <stack trace>
 => trace_event_raw_event_contention_begin
 => native_queued_spin_lock_slowpath
 => _raw_spin_lock
          <idle>-0       [001] d.h3.     8.758855: spin_end: (_raw_spin_lock_bh+0x2e/0x50 <- native_queued_spin_lock_slowpath)
           nginx-132     [000] d..1.     8.758860: contention_end: 00000000c2 (ret=0)
           nginx-132     [000] d..1.     8.758861: spin_end: (_raw_spin_lock+0x2e/0x50 <- native_queued_spin_lock_slowpath)
 a [1]: b-c-140     [000] .....     9.000002: contention_begin: 00000000c1 (flags=SPIN|MUTEX)
 a [1]: b-c-140     [000] .....     9.000003: <stack trace>
 => trace_event_raw_event_contention_begin
 => __mutex_lock.constprop.0
 => ep_send_events
 a [1]: b-c-140     [000] .....     9.000004: contention_begin: 00000000c1 (flags=MUTEX)
 a [1]: b-c-140     [000] .....     9.000005: <stack trace>
 => trace_event_raw_event_contention_begin
 => something_else
 a [1]: b-c-140     [001] .....     9.100002: contention_end: 00000000c1 (ret=0)
           nginx-132     [000] d..1.     9.200001: spin_end: (_raw_spin_lock+0x2e/0x50 <- native_queued_spin_lock_slowpath)
";

    // A name that the kernel has too says nothing of a module.
    const SYMBOLS: &str = "\
ffffffff81000000 T nf_hook_slow
ffffffffc0a01000 t _RNvNtCs1_8l7switch6switch4seen\t[l7switch]
ffffffffc0a02000 t try_to_wake_up\t[other]
ffffffff81000100 T try_to_wake_up
";

    #[test]
    fn waits_have_a_stack_and_a_time() {
        let waits = read(TRACE, &Modules::parse(SYMBOLS));
        let found: Vec<(&str, u64, Vec<&str>)> = waits
            .all
            .iter()
            .map(|wait| {
                let stack = wait.stack.iter().map(String::as_str).collect();
                (wait.kind.as_str(), wait.micros, stack)
            })
            .collect();
        assert_eq!(
            found,
            [
                (
                    "spinlock",
                    7,
                    vec!["l7switch::switch::seen [l7switch]", "nf_hook_slow"]
                ),
                ("spinlock", 10, vec!["try_to_wake_up"]),
                ("SPIN|MUTEX", 100_000, vec!["ep_send_events"]),
            ]
        );
        assert_eq!(waits.unpaired, 1);
    }

    #[test]
    fn waits_within_waits_are_told_apart() {
        let line = |at: u32, event: &str| format!("x-1 [000] d..1. 1.{at:06}: {event}: x\n");
        let text = [
            line(1, SPIN_BEGIN),
            line(2, SPIN_BEGIN),
            line(3, SPIN_END),
            line(9, SPIN_END),
            line(10, SPIN_BEGIN),
        ];
        let waits = read(&text.concat(), &Modules::default());
        let micros: Vec<u64> = waits.all.iter().map(|wait| wait.micros).collect();
        assert_eq!(micros, [1, 8]);
        assert_eq!(waits.unpaired, 1);
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        for line in [
            "",
            "# x",
            " => f",
            "x [000] d..1. 1.1: e: d",
            "x-1 [000] d..1. 1",
            "x-1 [zzz] d..1. 1.000001: e: d",
        ] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
