// SPDX-License-Identifier: MIT
//! Regular expressions as automata: expressions of the `regex` crate's syntax become complete, minimal,
//! deterministic automata that the table's matcher walks.
//!
//! An automaton here decides "is the expression found anywhere": each expression is followed by
//! "anything", so a state remembers what was found and only the last one counts. Two choices keep the
//! tables small: word boundaries are those of ASCII, and paths, which hold ASCII only, get automata that
//! know no other byte.

use std::collections::HashMap;
use std::fmt;

use regex_automata::Anchored;
use regex_automata::MatchKind;
use regex_automata::dfa::Automaton as _;
use regex_automata::dfa::StartKind;
use regex_automata::dfa::dense;
use regex_automata::nfa::thompson;
use regex_automata::util::start;
use regex_syntax::hir;
use regex_syntax::hir::Hir;
use regex_syntax::hir::HirKind;

/// Most bytes that the automaton of one expression may take, before it is minimised.
pub const SIZE_LIMIT: usize = 4 << 20;

/// What an expression is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alphabet {
    /// Paths, query values: ASCII.
    Ascii,
    /// Field and cookie values: any byte.
    Bytes,
}

/// A minimal automaton over byte classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    /// Class of each byte; a row has `1 << shift` cells.
    pub classes: Box<[u8; 256]>,
    /// Binary logarithm of the row length.
    pub shift: u32,
    /// Rows of next states.
    pub transitions: Vec<u16>,
    /// Per state: 0, or n: the text is accepted by the expressions in `sets[n - 1]`.
    pub accepts: Vec<u32>,
    /// Start state.
    pub start: u16,
    /// The states below this one lead to themselves only.
    pub absorbing: u16,
    /// Distinct sets of expressions (by position in the input), sorted.
    pub sets: Vec<Vec<usize>>,
}

impl Automaton {
    /// The state after some bytes, from `state`.
    pub fn run(&self, mut state: u16, text: &[u8]) -> u16 {
        for &byte in text {
            let class = self.classes.get(usize::from(byte)).copied().unwrap_or(0);
            let cell = (usize::from(state) << self.shift) + usize::from(class);
            state = self.transitions.get(cell).copied().unwrap_or(0);
        }
        state
    }

    /// Whether text that ends in `state` is accepted.
    pub fn accepts(&self, state: u16) -> bool {
        self.accepts
            .get(usize::from(state))
            .is_some_and(|&a| a != 0)
    }

    /// Whether a text is accepted.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.accepts(self.run(self.start, text))
    }

    /// Whether every text that begins with `prefix` is accepted.
    pub fn accepts_all_below(&self, prefix: &[u8]) -> bool {
        let state = self.run(self.start, prefix);
        state < self.absorbing && self.accepts(state)
    }
}

/// Why an expression has no automaton.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutomatonError {
    /// Not in the syntax: what is wrong, and where in the pattern (bytes).
    Syntax(String, std::ops::Range<usize>),
    /// Over [`SIZE_LIMIT`].
    TooLarge,
}

impl fmt::Display for AutomatonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what, _) => write!(f, "{what}"),
            Self::TooLarge => write!(
                f,
                "its automaton is over the size limit of {} MiB",
                SIZE_LIMIT >> 20
            ),
        }
    }
}

fn parser() -> regex_syntax::Parser {
    regex_syntax::ParserBuilder::new()
        .utf8(false)
        .nest_limit(100)
        .build()
}

/// How many groups an expression has; `None` where it is none.
pub fn groups(pattern: &str) -> Option<usize> {
    let hir = parser().parse(pattern).ok()?;
    Some(hir.properties().explicit_captures_len())
}

/// Parses an expression.
///
/// # Errors
///
/// [`AutomatonError::Syntax`].
pub fn parse(pattern: &str, alphabet: Alphabet) -> Result<Hir, AutomatonError> {
    let hir = parser().parse(pattern).map_err(|error| {
        let (what, span) = match &error {
            regex_syntax::Error::Parse(e) => (e.kind().to_string(), Some(e.span())),
            regex_syntax::Error::Translate(e) => (e.kind().to_string(), Some(e.span())),
            _ => (error.to_string(), None),
        };
        let range = span.map_or(0..pattern.len(), |s| s.start.offset..s.end.offset);
        AutomatonError::Syntax(what, range)
    })?;
    Ok(restrict(&hir, alphabet))
}

/// Rewrites an expression so that it needs neither Unicode word boundaries nor, for
/// [`Alphabet::Ascii`], other than ASCII bytes.
fn restrict(hir: &Hir, alphabet: Alphabet) -> Hir {
    let all = |hirs: &[Hir]| hirs.iter().map(|h| restrict(h, alphabet)).collect();
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => {
            if alphabet == Alphabet::Ascii && !literal.0.is_ascii() {
                Hir::fail()
            } else {
                Hir::literal(literal.0.clone())
            }
        }
        HirKind::Class(class) => match (class, alphabet) {
            (hir::Class::Unicode(class), Alphabet::Ascii) => {
                let mut class = class.clone();
                class.intersect(&hir::ClassUnicode::new([hir::ClassUnicodeRange::new(
                    '\0', '\x7f',
                )]));
                Hir::class(hir::Class::Unicode(class))
            }
            (hir::Class::Bytes(class), Alphabet::Ascii) => {
                let mut class = class.clone();
                class.intersect(&hir::ClassBytes::new([hir::ClassBytesRange::new(0, 0x7f)]));
                Hir::class(hir::Class::Bytes(class))
            }
            (class, Alphabet::Bytes) => Hir::class(class.clone()),
        },
        HirKind::Look(look) => {
            use hir::Look;
            Hir::look(match look {
                Look::WordUnicode => Look::WordAscii,
                Look::WordUnicodeNegate => Look::WordAsciiNegate,
                Look::WordStartUnicode => Look::WordStartAscii,
                Look::WordEndUnicode => Look::WordEndAscii,
                Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
                Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
                other => *other,
            })
        }
        HirKind::Repetition(repetition) => Hir::repetition(hir::Repetition {
            min: repetition.min,
            max: repetition.max,
            greedy: repetition.greedy,
            sub: Box::new(restrict(&repetition.sub, alphabet)),
        }),
        HirKind::Capture(capture) => restrict(&capture.sub, alphabet),
        HirKind::Concat(hirs) => Hir::concat(all(hirs)),
        HirKind::Alternation(hirs) => Hir::alternation(all(hirs)),
    }
}

/// Builds the automaton of several expressions together; none of them need match.
///
/// # Errors
///
/// [`AutomatonError::TooLarge`] where it would exceed `limit` bytes.
pub fn build(hirs: &[&Hir], limit: usize) -> Result<Automaton, AutomatonError> {
    let anything = Hir::repetition(hir::Repetition {
        min: 0,
        max: None,
        greedy: true,
        sub: Box::new(Hir::dot(hir::Dot::AnyByte)),
    });
    let found: Vec<Hir> = hirs
        .iter()
        .map(|&h| Hir::concat(vec![h.clone(), anything.clone()]))
        .collect();
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(Some(limit))
                .which_captures(thompson::WhichCaptures::None),
        )
        .build_many_from_hir(&found)
        .map_err(|_| AutomatonError::TooLarge)?;
    let dfa = dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Unanchored)
                .accelerate(false)
                .dfa_size_limit(Some(limit))
                .determinize_size_limit(Some(limit.saturating_mul(4))),
        )
        .build_from_nfa(&nfa)
        .map_err(|_| AutomatonError::TooLarge)?;
    explore(&dfa).and_then(minimise)
}

/// An automaton as it comes out of determinisation: rows over representatives of byte classes.
struct Raw {
    /// Class of each byte.
    classes: [u8; 256],
    /// Number of classes.
    width: usize,
    /// Rows of states.
    rows: Vec<Vec<u32>>,
    /// Per state, index + 1 in `sets`, or 0.
    accepts: Vec<u32>,
    sets: Vec<Vec<usize>>,
}

/// Lists the states that can be reached; the start state is the first.
fn explore(dfa: &dense::DFA<Vec<u32>>) -> Result<Raw, AutomatonError> {
    let start = dfa
        .start_state(&start::Config::new().anchored(Anchored::No))
        .map_err(|_| AutomatonError::TooLarge)?;
    let byte_classes = dfa.byte_classes();
    let mut classes = [0u8; 256];
    let mut representatives: Vec<u8> = Vec::new();
    for byte in 0..=u8::MAX {
        let class = byte_classes.get(byte);
        // Classes are numbered in the order of their first bytes.
        if usize::from(class) == representatives.len() {
            representatives.push(byte);
        }
        if let Some(cell) = classes.get_mut(usize::from(byte)) {
            *cell = class;
        }
    }
    let mut number = HashMap::from([(start, 0u32)]);
    let mut queue = vec![start];
    let mut rows = Vec::new();
    let mut accepts = Vec::new();
    let mut set_number: HashMap<Vec<usize>, u32> = HashMap::new();
    let mut sets = Vec::new();
    let mut next = 0;
    while let Some(&state) = queue.get(next) {
        next += 1;
        let mut row = Vec::with_capacity(representatives.len());
        for &byte in &representatives {
            let to = dfa.next_state(state, byte);
            let fresh = u32::try_from(number.len()).map_err(|_| AutomatonError::TooLarge)?;
            row.push(*number.entry(to).or_insert_with(|| {
                queue.push(to);
                fresh
            }));
        }
        rows.push(row);
        let end = dfa.next_eoi_state(state);
        let mut set: Vec<usize> = Vec::new();
        if dfa.is_match_state(end) {
            set.extend((0..dfa.match_len(end)).map(|i| dfa.match_pattern(end, i).as_usize()));
            set.sort_unstable();
            set.dedup();
        }
        if set.is_empty() {
            accepts.push(0);
        } else {
            let fresh = u32::try_from(sets.len() + 1).map_err(|_| AutomatonError::TooLarge)?;
            accepts.push(*set_number.entry(set.clone()).or_insert_with(|| {
                sets.push(set);
                fresh
            }));
        }
    }
    Ok(Raw {
        classes,
        width: representatives.len(),
        rows,
        accepts,
        sets,
    })
}

/// Merges states that no text tells apart (Moore 1956), then byte classes that no state tells apart, and
/// numbers absorbing states first.
fn minimise(raw: Raw) -> Result<Automaton, AutomatonError> {
    let mut block = raw.accepts.clone();
    let mut blocks = 0;
    loop {
        let mut signatures: HashMap<(u32, Vec<u32>), u32> = HashMap::new();
        let mut refined = Vec::with_capacity(block.len());
        for (row, &own) in raw.rows.iter().zip(&block) {
            let targets = row
                .iter()
                .map(|&to| block.get(to as usize).copied().unwrap_or(0))
                .collect();
            let fresh = u32::try_from(signatures.len()).map_err(|_| AutomatonError::TooLarge)?;
            refined.push(*signatures.entry((own, targets)).or_insert(fresh));
        }
        block = refined;
        if signatures.len() == blocks {
            break;
        }
        blocks = signatures.len();
    }
    if blocks > usize::from(u16::MAX) {
        return Err(AutomatonError::TooLarge);
    }
    // One row and one accept number a block.
    let mut rows: Vec<Option<(Vec<u32>, u32)>> = vec![None; blocks];
    for ((row, &own), &accept) in raw.rows.iter().zip(&block).zip(&raw.accepts) {
        if let Some(slot @ None) = rows.get_mut(own as usize) {
            let targets = row
                .iter()
                .map(|&to| block.get(to as usize).copied().unwrap_or(0))
                .collect();
            *slot = Some((targets, accept));
        }
    }
    let rows: Vec<(Vec<u32>, u32)> = rows.into_iter().flatten().collect();

    let is_absorbing = |state: usize, row: &[u32]| row.iter().all(|&to| to as usize == state);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&s| !rows.get(s).is_some_and(|(row, _)| is_absorbing(s, row)));
    let mut renumbered = vec![0u16; rows.len()];
    for (new, &old) in order.iter().enumerate() {
        if let (Some(slot), Ok(new)) = (renumbered.get_mut(old), u16::try_from(new)) {
            *slot = new;
        }
    }
    let new_number = |old: u32| renumbered.get(old as usize).copied().unwrap_or(0);

    // Columns that are the same in every row become one class.
    let mut column_class: HashMap<Vec<u32>, u8> = HashMap::new();
    let mut class_of_column = Vec::with_capacity(raw.width);
    for column in 0..raw.width {
        let cells: Vec<u32> = rows
            .iter()
            .map(|(row, _)| row.get(column).copied().unwrap_or(0))
            .collect();
        let fresh = u8::try_from(column_class.len()).map_err(|_| AutomatonError::TooLarge)?;
        class_of_column.push(*column_class.entry(cells).or_insert(fresh));
    }
    let shift = column_class.len().next_power_of_two().trailing_zeros();
    let mut classes = Box::new([0u8; 256]);
    for (class, old) in classes.iter_mut().zip(raw.classes) {
        *class = class_of_column.get(usize::from(old)).copied().unwrap_or(0);
    }

    let mut transitions = Vec::with_capacity(rows.len() << shift);
    let mut accepts = Vec::with_capacity(rows.len());
    let mut absorbing = 0u16;
    for &old in &order {
        let Some((row, accept)) = rows.get(old) else {
            continue;
        };
        let mut cells = vec![0u16; 1 << shift];
        for (&class, &to) in class_of_column.iter().zip(row) {
            if let Some(cell) = cells.get_mut(usize::from(class)) {
                *cell = new_number(to);
            }
        }
        transitions.extend(cells);
        accepts.push(*accept);
        absorbing += u16::from(is_absorbing(old, row));
    }
    let start = new_number(block.first().copied().unwrap_or(0));
    Ok(Automaton {
        classes,
        shift,
        transitions,
        accepts,
        start,
        absorbing,
        sets: raw.sets,
    })
}

/// Automata built so far, so that an expression that stands in many routes is built once.
#[derive(Default)]
pub struct Cache {
    single: HashMap<(String, Alphabet), Result<std::sync::Arc<Automaton>, AutomatonError>>,
}

impl Cache {
    /// The automaton of one expression.
    ///
    /// # Errors
    ///
    /// See [`AutomatonError`].
    pub fn get(
        &mut self,
        pattern: &str,
        alphabet: Alphabet,
    ) -> Result<std::sync::Arc<Automaton>, AutomatonError> {
        if let Some(known) = self.single.get(&(pattern.to_owned(), alphabet)) {
            return known.clone();
        }
        let made = parse(pattern, alphabet)
            .and_then(|hir| build(&[&hir], SIZE_LIMIT))
            .map(std::sync::Arc::new);
        self.single
            .insert((pattern.to_owned(), alphabet), made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(pattern: &str, alphabet: Alphabet) -> Automaton {
        build(&[&parse(pattern, alphabet).unwrap()], SIZE_LIMIT).unwrap()
    }

    #[test]
    fn agrees_with_the_regex_crate() {
        let texts: Vec<Vec<u8>> = [
            "",
            "/",
            "/a",
            "/api/v1",
            "/api/v12/users",
            "/img/a.png",
            "/img/a.PNG?",
            "aab",
            "baa",
            "foo bar",
            "foobar",
            "caf\u{e9}",
            "\n",
            "a\nb",
            "Mobile Safari",
            "_x",
            "0",
            "zz9",
        ]
        .iter()
        .map(|t| t.as_bytes().to_vec())
        .chain([vec![0xff, b'a'], vec![b'a', 0xc3]])
        .collect();
        for pattern in [
            "",
            "a",
            "^/api/v[0-9]+",
            r"\.(png|jpe?g)$",
            "^$",
            "(?i)mobile",
            r"\bfoo\b",
            "^(a|b)*b$",
            "a.b",
            "(?s)a.b",
            "(?m)^b$",
            r"\d{2,}",
            r"^\w+$",
            "[^a]",
            "x*",
            "(?-u:\\xff)",
            "é",
            r"\p{L}",
            r"\Bo",
            "a{3}|^b",
            "[[:alpha:]]9",
        ] {
            let oracle = regex::bytes::Regex::new(pattern).unwrap();
            let bytes = single(pattern, Alphabet::Bytes);
            let ascii = single(pattern, Alphabet::Ascii);
            for text in &texts {
                // ASCII word boundaries are the one documented difference.
                if !(pattern.contains(r"\b") || pattern.contains(r"\B")) || text.is_ascii() {
                    assert_eq!(
                        bytes.is_match(text),
                        oracle.is_match(text),
                        "{pattern} {text:?}"
                    );
                }
                if text.is_ascii() {
                    assert_eq!(
                        ascii.is_match(text),
                        oracle.is_match(text),
                        "{pattern} {text:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn several_expressions_tell_which_were_found() {
        let hirs: Vec<Hir> = ["a", "b$", "^c"]
            .iter()
            .map(|p| parse(p, Alphabet::Ascii).unwrap())
            .collect();
        let both = build(&hirs.iter().collect::<Vec<_>>(), SIZE_LIMIT).unwrap();
        let found = |text: &[u8]| {
            let accept = both.accepts[usize::from(both.run(both.start, text))] as usize;
            if accept == 0 {
                vec![]
            } else {
                both.sets[accept - 1].clone()
            }
        };
        assert_eq!(found(b"xyz"), Vec::<usize>::new());
        assert_eq!(found(b"cab"), vec![0, 1, 2]);
        assert_eq!(found(b"ba"), vec![0]);
        assert_eq!(found(b"cb"), vec![1, 2]);
    }

    #[test]
    fn what_is_decided_is_absorbing() {
        let anchored = single("^/api", Alphabet::Ascii);
        assert!(anchored.accepts_all_below(b"/api"));
        assert!(!anchored.accepts_all_below(b"/ap"));
        assert_eq!(
            anchored.accepts.len(),
            6,
            "minimal: four letters, found, lost"
        );
    }

    #[test]
    fn the_size_limit_holds() {
        let hir = parse(r"(a|b)*a(a|b){20}", Alphabet::Ascii).unwrap();
        assert_eq!(build(&[&hir], SIZE_LIMIT), Err(AutomatonError::TooLarge));
        assert!(matches!(
            parse("a(", Alphabet::Ascii),
            Err(AutomatonError::Syntax(..))
        ));
    }
}
