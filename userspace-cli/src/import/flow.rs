// SPDX-License-Identifier: MIT
//! From steps that a request goes through one after the other, as in HAProxy and nginx, to routes of which the most specific one wins.
//!
//! The steps are followed for all requests at once. At a step with a condition the requests part: those that meet it, and the others. What
//! a route cannot ask for (a negated path, for example) becomes a route for the requests that are left out, before it.

use super::conditions::All;
use super::conditions::Atom;
use super::conditions::Host;
use super::conditions::Path;
use super::conditions::Unsupported;
use super::toml::Toml;

/// A condition, or its contrary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    pub(super) atom: Atom,
    pub(super) negated: bool,
}

/// Alternatives, each of which is met where all in it is.
pub(super) type Condition = Vec<Vec<Literal>>;

/// What is met by all requests.
pub(super) fn always() -> Condition {
    vec![Vec::new()]
}

/// A condition of one thing.
pub(super) fn only(atom: Atom) -> Condition {
    let negated = false;
    vec![vec![Literal { atom, negated }]]
}

/// A change on the way, for requests that go on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit {
    RequestSet(String, String),
    RequestAdd(String, String),
    RequestRemove(String),
    ResponseSet(String, String),
    ResponseAdd(String, String),
    ResponseRemove(String),
    /// A key of the route.
    Key(&'static str, Toml),
    /// A key within `rewrite`.
    Rewrite(&'static str, Toml),
    /// Something to say at the route.
    Note(String),
}

/// What becomes of requests at the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Pool(String),
    Pools(Vec<(String, i64)>),
    Respond(Toml),
    Redirect(Toml),
    /// They are refused, since what the other program does with them cannot be said here.
    Closed(String),
}

/// What is done at a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Edit(Edit),
    /// Goes on at another step, further down.
    Jump(usize),
    End(End),
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Where it stands, and how it is written.
    pub(super) origin: String,
    pub(super) condition: Condition,
    pub(super) effect: Effect,
    /// Whether requests would be let through that must not be, if it were left out.
    pub(super) guards: bool,
}

/// A route before it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf {
    pub(super) all: All,
    pub(super) edits: Vec<Edit>,
    pub(super) end: End,
    /// The steps that have led here, as they are written.
    pub(super) origin: Vec<String>,
    pub(super) guards: bool,
    pub(super) priority: i64,
}

/// Why steps cannot be followed.
#[derive(Debug)]
pub(super) struct Stuck {
    /// The step that is at fault.
    pub(super) step: usize,
    pub(super) why: String,
    /// Whether there is too much of it, so that nothing is gained without this step.
    pub(super) too_much: bool,
}

/// Most routes of a service.
const MOST_ROUTES: usize = 4000;
/// Most steps that are followed, with repetitions.
const MOST_STEPS: usize = 1_000_000;
/// How deep steps may part.
const MOST_PARTINGS: usize = 200;

/// Follows steps from the first one to the end of each request.
///
/// # Errors
///
/// [`Stuck`]: a step's condition cannot be said, or the routes become too many.
pub(super) fn follow(steps: &[Step], first: usize) -> Result<Vec<Leaf>, Stuck> {
    let mut flow = Flow {
        steps,
        leaves: Vec::new(),
        left: MOST_STEPS,
    };
    let start = State {
        all: All::default(),
        edits: Vec::new(),
        origin: Vec::new(),
        guards: false,
    };
    flow.run(first, 0, start, 0)?;
    let mut leaves = flow.leaves;
    rank(&mut leaves);
    Ok(leaves)
}

#[derive(Clone)]
struct State {
    all: All,
    edits: Vec<Edit>,
    origin: Vec<String>,
    guards: bool,
}

struct Flow<'s> {
    steps: &'s [Step],
    leaves: Vec<Leaf>,
    left: usize,
}

impl Flow<'_> {
    /// Follows requests from alternative `from` of a step on.
    fn run(&mut self, at: usize, from: usize, state: State, depth: usize) -> Result<(), Stuck> {
        let (mut at, mut from) = (at, from);
        'steps: while let Some(step) = self.steps.get(at) {
            let stuck = |Unsupported(why)| Stuck {
                step: at,
                why,
                too_much: false,
            };
            for (number, conjunction) in step.condition.iter().enumerate().skip(from) {
                self.left = self.left.saturating_sub(1);
                if self.left == 0 || self.leaves.len() >= MOST_ROUTES || depth > MOST_PARTINGS {
                    let why = "too many routes would be needed for its condition".to_owned();
                    return Err(Stuck {
                        step: at,
                        why,
                        too_much: true,
                    });
                }
                let rewritten = |edit: &Edit| matches!(edit, Edit::Rewrite("path", _));
                let asks_path = |literal: &Literal| matches!(literal.atom, Atom::Path(_));
                if conjunction.iter().any(asks_path) && state.edits.iter().any(rewritten) {
                    let why = "the path was changed before".to_owned();
                    return Err(Stuck {
                        step: at,
                        why,
                        too_much: false,
                    });
                }
                let mut met = Some(state.all.clone());
                let mut without = Vec::new();
                for literal in conjunction {
                    let atom = match (literal.negated, literal.atom.not()) {
                        (false, _) => literal.atom.clone(),
                        (true, Some(contrary)) => contrary,
                        (true, None) => {
                            without.push(&literal.atom);
                            continue;
                        }
                    };
                    met = match met {
                        Some(all) => all.and(&atom).map_err(stuck)?,
                        None => None,
                    };
                }
                let Some(met) = met else {
                    continue;
                };
                let mut none = false;
                for atom in without {
                    let Some(out) = met.and(atom).map_err(stuck)? else {
                        continue;
                    };
                    none |= out == met;
                    if !none {
                        let out = State {
                            all: out,
                            ..state.clone()
                        };
                        self.run(at, number + 1, out, depth + 1)?;
                    }
                }
                if none {
                    continue;
                }
                let whole = met == state.all;
                let mut inside = State {
                    all: met,
                    ..state.clone()
                };
                inside.guards |= step.guards;
                match &step.effect {
                    Effect::End(end) => self.leaf(inside, step, end.clone()),
                    Effect::Edit(edit) => {
                        inside.edits.push(edit.clone());
                        self.run(at + 1, 0, inside, depth + 1)?;
                    }
                    Effect::Jump(to) => {
                        inside.origin.extend(origin(step));
                        // Only down, so that there is an end.
                        self.run((*to).max(at + 1), 0, inside, depth + 1)?;
                    }
                }
                if whole {
                    return Ok(());
                }
            }
            (at, from) = (at + 1, 0);
            continue 'steps;
        }
        Ok(())
    }

    fn leaf(&mut self, state: State, step: &Step, end: End) {
        let covered = self.leaves.iter().any(|leaf| leaf.all == state.all);
        if !covered {
            self.leaves.push(Leaf {
                all: state.all,
                edits: state.edits,
                end,
                origin: state.origin.into_iter().chain(origin(step)).collect(),
                guards: state.guards,
                priority: 0,
            });
        }
    }
}

fn origin(step: &Step) -> Option<String> {
    (!step.origin.is_empty()).then(|| step.origin.clone())
}

/// Gives routes priorities where their own order would not be that of the list, in which the first one wins.
pub(super) fn rank(leaves: &mut [Leaf]) {
    let ranks: Vec<[(Rank, Rank); 7]> = leaves.iter().map(|leaf| ranks(&leaf.all)).collect();
    for first in (0..leaves.len()).rev() {
        let mut priority = 0;
        for second in first + 1..leaves.len() {
            let (Some(a), Some(b)) = (leaves.get(first), leaves.get(second)) else {
                continue;
            };
            // The natural order needs equal priorities.
            let natural = match (ranks.get(first), ranks.get(second)) {
                (Some(first), Some(second)) => {
                    // Of the same alternatives, a request meets the same.
                    let same = [a.all.hosts == b.all.hosts, a.all.paths == b.all.paths];
                    wins(first, second, same)
                }
                _ => false,
            };
            let needed = b.priority + i64::from(!natural);
            if needed > priority && !a.all.is_disjoint(&b.all) {
                priority = needed;
            }
        }
        if let Some(leaf) = leaves.get_mut(first) {
            leaf.priority = priority;
        }
    }
}

/// A place in one step of the order of routes: the greater one wins.
type Rank = (usize, usize);

/// The least and the greatest rank of a route in each step (docs/rules.md, "Which route wins").
fn ranks(all: &All) -> [(Rank, Rank); 7] {
    let host = |host: &Host| match host {
        Host::Exact(_) => (3, 0),
        Host::Wildcard(domain) => (2, domain.split('.').count()),
        Host::Regex(pattern) => (1, pattern.chars().count()),
    };
    // All expressions of a route are one condition, of the longest.
    let longest = all.hosts.iter().map(host).max();
    let hosts = all.hosts.iter().map(|one| match one {
        Host::Regex(_) => longest.unwrap_or_default(),
        one => host(one),
    });
    let paths = all.paths.iter().map(|path| match path {
        Path::Exact(_) => (3, 0),
        Path::Prefix(text) => (1, text.len()),
        Path::Begins(text) => (2, regex::escape(text).chars().count() + 1),
        Path::Regex(pattern) => (2, pattern.chars().count()),
    });
    let count = |kind| {
        let of = all.fields.iter().filter(|(k, ..)| *k == kind).count();
        ((of, 0), (of, 0))
    };
    let method = (usize::from(!all.methods.is_empty()), 0);
    let sources = all.sources.iter();
    // An IPv4 prefix counts as one of the IPv6 addresses that it is mapped to.
    let sources = sources.map(|net| match net {
        ipnet::IpNet::V4(net) => (usize::from(net.prefix_len()) + 96, 0),
        ipnet::IpNet::V6(net) => (usize::from(net.prefix_len()), 0),
    });
    [
        span(hosts),
        span(paths),
        (method, method),
        count(super::conditions::Kind::Header),
        count(super::conditions::Kind::Query),
        count(super::conditions::Kind::Cookie),
        span(sources),
    ]
}

fn span(ranks: impl Iterator<Item = Rank> + Clone) -> (Rank, Rank) {
    let (low, high) = (ranks.clone().min(), ranks.max());
    (low.unwrap_or_default(), high.unwrap_or_default())
}

/// Whether a route wins before a later one by its own rank, whichever of their alternatives a request meets.
fn wins(a: &[(Rank, Rank); 7], b: &[(Rank, Rank); 7], same: [bool; 2]) -> bool {
    let same = same.into_iter().chain(std::iter::repeat(false));
    for (((low, _), (_, high)), same) in a.iter().zip(b).zip(same) {
        if same {
            continue;
        }
        if low > high {
            return true;
        }
        if low < high {
            return false;
        }
    }
    true
}
