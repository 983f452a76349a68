// SPDX-License-Identifier: MIT
//! Connections to a real server that are free, and who may have them.
//!
//! A server may send more than its answer: content behind the head of an answer to HEAD (RFC 9110, 9.3.2, forbids it), or
//! bytes behind the end of any answer, some milliseconds later. Read as the answer to the next request, they would give one
//! client what another one asked for. So a free connection goes to another client only when it has proved clean:
//!
//! | The connection | Who may have it |
//! |---|---|
//! | has sent something since its answer | nobody: it is closed |
//! | has answered HEAD with a head that announces content | nobody: it is closed |
//! | has been silent for [`QUIET`] since its answer | every client |
//! | has answered twice in a row, with content (or its length 0), and was silent for [`SHORT`] | every client |
//! | has answered [`LONG_PROOF`] times in a row, with content (or its length 0), and was silent for [`BRIEF`] | every client |
//! | has answered twice so, at once | a client that has had an answer before: its first request waits for proof (HAProxy's `http-reuse safe`) |
//! | any other | the client that had it |
//! | any, of a server that has sent bytes behind an answer within [`UNTIDY`] | as if it had answered once |

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use http::Method;

use super::connect::Told;

/// A connection that was silent for so long after its answer has no more of it: longer than the longest delay of an
/// acknowledgement (Linux: 200 ms, `TCP_DELACK_MAX`), for which Nagle's algorithm may hold the rest back.
pub(super) const QUIET: Duration = Duration::from_millis(250);

/// The same where answers before were followed by nothing: longer than the usual delay of an acknowledgement (40 ms).
const SHORT: Duration = Duration::from_millis(50);

/// The same where many answers before were followed by nothing.
const BRIEF: Duration = Duration::from_millis(5);

/// So long after a server has sent bytes behind an answer, none of its connections counts as proved by its answers.
pub(super) const UNTIDY: Duration = Duration::from_secs(600);

/// Answers in a row after which a connection has proved clean.
const PROOF: u32 = 2;

/// Answers in a row after which it has done so many times.
const LONG_PROOF: u32 = 8;

/// Connections that a client's own memory holds.
const REMEMBERED: usize = 16;

/// Connections that are looked at, from the one that came last, for one that another client may have. The same for each
/// time of silence, from the one that was silent just long enough.
const LOOKS: usize = 16;

/// A connection to a server, and what it has proved.
#[derive(Debug)]
pub(super) struct Link<C> {
    /// The connection.
    pub(super) connection: C,
    /// What the server was told of it. Boxed, as what is rare: connections are moved with each request.
    told: Option<Box<Told>>,
    /// Answers in a row behind which nothing else could come.
    answered: u32,
}

impl<C> Link<C> {
    /// A connection that was just made.
    pub(super) fn new(connection: C, told: Option<&Told>) -> Self {
        Self {
            connection,
            told: told.copied().map(Box::new),
            answered: 0,
        }
    }

    /// It has answered, and nothing stood behind the answer.
    pub(super) const fn answered(&mut self, clear: bool) {
        self.answered = if clear {
            self.answered.saturating_add(1)
        } else {
            0
        };
    }
}

/// What a free connection is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Silent and open.
    Quiet,
    /// Closed by the server, which may have said why.
    Closed,
    /// The server has sent something that nobody asked for.
    Surplus,
}

/// A connection that can be free.
pub(super) trait Free {
    /// What it is now.
    fn state(&mut self) -> State;
}

/// What a client has had of connections to servers.
#[derive(Debug, Default)]
pub struct Own(Mutex<Had>);

#[derive(Debug, Default)]
struct Had {
    /// The free connections that it has left, by number, the last one last.
    numbers: Vec<u64>,
    /// It has had an answer.
    answered: bool,
}

impl Own {
    fn had(&self) -> MutexGuard<'_, Had> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, number: u64) {
        let mut had = self.had();
        had.answered = true;
        if had.numbers.len() >= REMEMBERED {
            had.numbers.remove(0);
        }
        had.numbers.push(number);
    }
}

/// How an answer ended, as far as the use of its connection depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Content of known end, or none by its length: nothing else can come from a server that counts.
    Clear,
    /// None by its status (204, 304): a server may send some all the same.
    Empty,
    /// None by the method, but announced: a server may well send it.
    Withheld,
}

impl Ending {
    /// How the response to a request of this method ends, with this status. `says_empty`: it says that there is no content.
    pub fn of(method: &Method, status: u16, says_empty: bool) -> Self {
        if *method == Method::HEAD && !says_empty {
            Self::Withheld
        } else if [204, 304].contains(&status) {
            Self::Empty
        } else {
            Self::Clear
        }
    }
}

#[derive(Debug)]
struct Entry<C> {
    number: u64,
    link: Link<C>,
    since: Instant,
}

/// Free connections to one server, in the order in which they came.
#[derive(Debug)]
pub(super) struct Idle<C>(VecDeque<Entry<C>>);

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// Numbers of free connections, over all servers: a client's memory cannot mean another one.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl<C: Free> Idle<C> {
    /// Connections.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A connection for the client with this memory, of which the server was told the same: one of its own, else one that has
    /// proved clean. Those that are found closed are forgotten; `surplus` is told of each that has sent what nobody asked for.
    pub(super) fn take(
        &mut self,
        own: &Own,
        told: Option<&Told>,
        untidy: bool,
        now: Instant,
        mut surplus: impl FnMut(),
    ) -> Option<Link<C>> {
        let mut had = own.had();
        let mut at = had.numbers.len();
        while let Some(before) = at.checked_sub(1) {
            at = before;
            let Some(number) = had.numbers.get(at).copied() else {
                break;
            };
            let Ok(position) = self.0.binary_search_by_key(&number, |entry| entry.number) else {
                continue;
            };
            if self
                .0
                .get(position)
                .is_some_and(|entry| entry.link.told.as_deref() != told)
            {
                continue;
            }
            if let Some(link) = self.take_at(position, &mut surplus) {
                had.numbers.remove(at);
                return Some(link);
            }
        }
        let is_first = !had.answered;
        drop(had);
        // Reckoned once, and not for each that is looked at. A clock that is younger than that has nobody silent for so long.
        let silent = |time| now.checked_sub(time);
        let (quiet, short, brief) = (silent(QUIET), silent(SHORT), silent(BRIEF));
        let shared = |entry: &Entry<C>| {
            if entry.link.told.as_deref() != told {
                return false;
            }
            let latest = match entry.link.answered {
                _ if untidy => quiet,
                PROOF.. if !is_first => return true,
                LONG_PROOF.. => brief,
                PROOF.. => short,
                _ => quiet,
            };
            latest.is_some_and(|latest| entry.since <= latest)
        };
        // Of those that may be had, the one that rested least: a connection that rests for longer than an acknowledgement is
        // delayed costs a packet and a timer more.
        let latest = if is_first { brief } else { Some(now) };
        for latest in [latest, short, quiet].into_iter().flatten() {
            let mut position = self.0.partition_point(|entry| entry.since <= latest);
            for _ in 0..LOOKS {
                let Some(before) = position.checked_sub(1) else {
                    break;
                };
                position = before;
                if self.0.get(position).is_some_and(shared)
                    && let Some(link) = self.take_at(position, &mut surplus)
                {
                    return Some(link);
                }
            }
        }
        None
    }

    /// The connection there, if it is quiet; one that is closed is forgotten.
    fn take_at(&mut self, position: usize, surplus: &mut impl FnMut()) -> Option<Link<C>> {
        match self.0.get_mut(position)?.link.connection.state() {
            State::Quiet => return self.0.remove(position).map(|entry| entry.link),
            State::Surplus => surplus(),
            State::Closed => (),
        }
        self.0.remove(position);
        None
    }

    /// Keeps a connection for reuse, of at most so many. The client that leaves it will find it again. Where there are
    /// enough, one goes that has proved nothing: the oldest are the nearest to having been silent for long enough.
    pub(super) fn keep(&mut self, link: Link<C>, own: &Own, most: usize, now: Instant) {
        if self.0.len() >= most {
            if link.answered < PROOF || most == 0 {
                return;
            }
            let unproved = self.0.iter().rposition(|entry| entry.link.answered < PROOF);
            self.0.remove(unproved.unwrap_or(0));
        }
        let number = NUMBERS.fetch_add(1, Relaxed);
        own.remember(number);
        // Numbers of two threads may come in another order than they were drawn; entries are in the order of numbers.
        let position = self.0.partition_point(|entry| entry.number < number);
        self.0.insert(
            position,
            Entry {
                number,
                link,
                since: now,
            },
        );
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Closes those that are older than `patience`, and forgets those that are closed.
    pub(super) fn prune(&mut self, patience: Duration, mut surplus: impl FnMut()) {
        self.0.retain_mut(|entry| {
            match entry.link.connection.state() {
                State::Closed => return false,
                State::Surplus => {
                    surplus();
                    return false;
                }
                State::Quiet => (),
            }
            entry.since.elapsed() < patience
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[derive(Debug)]
    struct Fake(u32, Rc<Cell<State>>);

    impl Free for Fake {
        fn state(&mut self) -> State {
            self.1.get()
        }
    }

    fn link(name: u32, answers: &[bool]) -> (Link<Fake>, Rc<Cell<State>>) {
        let state = Rc::new(Cell::new(State::Quiet));
        let mut link = Link::new(Fake(name, Rc::clone(&state)), None);
        for clear in answers {
            link.answered(*clear);
        }
        (link, state)
    }

    struct Table {
        idle: Idle<Fake>,
        surplus: u32,
    }

    impl Table {
        fn new() -> Self {
            Self {
                idle: Idle::default(),
                surplus: 0,
            }
        }

        fn take(&mut self, own: &Own, untidy: bool, after: Duration) -> Option<u32> {
            self.take_at(own, untidy, Instant::now() + after)
        }

        fn take_at(&mut self, own: &Own, untidy: bool, now: Instant) -> Option<u32> {
            let surplus = &mut self.surplus;
            let taken = self.idle.take(own, None, untidy, now, || *surplus += 1);
            taken.map(|link| link.connection.0)
        }
    }

    #[test]
    fn what_has_answered_once_is_its_clients_until_it_was_silent() {
        let (mine, others) = (Own::default(), Own::default());
        for answers in [&[true][..], &[true, true, false], &[]] {
            let mut table = Table::new();
            table
                .idle
                .keep(link(1, answers).0, &mine, 8, Instant::now());
            assert_eq!(table.take(&others, false, Duration::ZERO), None);
            assert_eq!(table.take(&others, false, QUIET / 2), None);
            assert_eq!(table.take(&mine, false, Duration::ZERO), Some(1));
            table
                .idle
                .keep(link(2, answers).0, &mine, 8, Instant::now());
            assert_eq!(table.take(&others, true, QUIET), Some(2));
            assert_eq!(table.take(&mine, false, QUIET), None);
        }
    }

    #[test]
    fn what_has_answered_twice_is_everybodys_unless_the_server_is_untidy() {
        let (mine, others) = (Own::default(), Own::default());
        let mut table = Table::new();
        table
            .idle
            .keep(link(1, &[true, true]).0, &mine, 8, Instant::now());
        assert_eq!(table.take(&others, true, Duration::ZERO), None);
        // Its first request waits for a silence.
        assert_eq!(table.take(&others, false, SHORT / 2), None);
        assert_eq!(table.take(&others, false, SHORT), Some(1));
        table
            .idle
            .keep(link(2, &[true, true]).0, &mine, 8, Instant::now());
        others.remember(0);
        assert_eq!(table.take(&others, false, Duration::ZERO), Some(2));
    }

    #[test]
    fn what_has_answered_many_times_rests_for_less() {
        let (mine, others) = (Own::default(), Own::default());
        let mut table = Table::new();
        table
            .idle
            .keep(link(1, &[true; 8]).0, &mine, 8, Instant::now());
        assert_eq!(table.take(&others, false, BRIEF / 2), None);
        assert_eq!(table.take(&others, true, SHORT), None);
        assert_eq!(table.take(&others, false, BRIEF), Some(1));
    }

    /// The others grow old together, and are closed.
    #[test]
    fn of_those_that_may_be_had_the_one_that_rested_least_is() {
        let (mine, others) = (Own::default(), Own::default());
        let now = Instant::now();
        for (proved, silence) in [(8, BRIEF), (2, SHORT), (1, QUIET)] {
            let mut table = Table::new();
            for name in 0..100 {
                let since = now + silence * name / 50;
                let answers = vec![true; proved];
                table.idle.keep(link(name, &answers).0, &mine, 100, since);
            }
            let mut take = || table.take_at(&others, false, now + 2 * silence);
            assert_eq!([take(), take(), take()], [Some(50), Some(49), Some(48)]);
        }
    }

    /// Else those of many short clients would push one another out before any of them has proved anything.
    #[test]
    fn what_has_proved_something_stays() {
        let mine = Own::default();
        let mut table = Table::new();
        for (name, answers) in [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (6, 2)] {
            let answers = vec![true; answers];
            table
                .idle
                .keep(link(name, &answers).0, &mine, 3, Instant::now());
        }
        let mut take = || table.take(&mine, false, Duration::ZERO);
        assert_eq!(
            [take(), take(), take(), take()],
            [Some(6), Some(4), Some(2), None]
        );
        table.idle.keep(link(1, &[]).0, &mine, 0, Instant::now());
        assert_eq!(table.idle.len(), 0);
    }

    #[test]
    fn own_connections_come_first_and_the_last_one_of_them() {
        let (mine, others) = (Own::default(), Own::default());
        let mut table = Table::new();
        table
            .idle
            .keep(link(1, &[true, true]).0, &mine, 8, Instant::now());
        table.idle.keep(link(2, &[]).0, &mine, 8, Instant::now());
        table
            .idle
            .keep(link(3, &[true, true]).0, &others, 8, Instant::now());
        let mut take = || table.take(&mine, false, Duration::ZERO);
        assert_eq!(
            [take(), take(), take(), take()],
            [Some(2), Some(1), Some(3), None]
        );
    }

    #[test]
    fn what_is_not_quiet_is_nobodys() {
        let mine = Own::default();
        for (state, surplus, left) in [(State::Closed, 0, 0), (State::Surplus, 1, 0)] {
            let mut table = Table::new();
            let (only, what) = link(1, &[true, true]);
            what.set(state);
            table.idle.keep(only, &mine, 8, Instant::now());
            assert_eq!(table.take(&mine, false, QUIET), None, "{state:?}");
            assert_eq!(
                (table.surplus, table.idle.len()),
                (surplus, left),
                "{state:?}"
            );
        }
    }

    #[test]
    fn one_that_was_silent_is_found_behind_many_that_were_not() {
        let mine = Own::default();
        let mut table = Table::new();
        table.idle.keep(link(0, &[]).0, &mine, 100, Instant::now());
        let others = Own::default();
        for name in 1..100 {
            table
                .idle
                .keep(link(name, &[]).0, &others, 100, Instant::now());
        }
        let stranger = Own::default();
        assert_eq!(table.take(&stranger, false, Duration::ZERO), None);
        if let Some(first) = table.idle.0.front_mut() {
            first.since -= QUIET;
        }
        assert_eq!(table.take(&stranger, false, Duration::ZERO), Some(0));
        // A memory is bounded.
        assert_eq!(others.had().numbers.len(), REMEMBERED);
    }
}
