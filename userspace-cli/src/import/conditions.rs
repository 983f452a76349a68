// SPDX-License-Identifier: MIT
//! Conditions on requests: what the languages of other programs ask, in the terms of ours, and what two of them are together.

use std::fmt;

use ipnet::IpNet;

use super::both::any_of;
use super::both::host_and;
use super::both::net_and;
use super::both::path_and;
use super::both::test_and;
use super::toml::Toml;

/// A host that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// This name.
    Exact(String),
    /// One or more labels before this domain.
    Wildcard(String),
    /// An expression that is found in the name.
    Regex(String),
}

/// A path that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// This path.
    Exact(String),
    /// This path, without a slash at its end, and what is below it.
    Prefix(String),
    /// A path that begins with these characters.
    Begins(String),
    /// An expression that is found in the path.
    Regex(String),
}

impl Path {
    /// As an expression, where it is one in the rules.
    fn pattern(&self) -> Option<String> {
        match self {
            Self::Begins(text) => Some(format!("^{}", regex::escape(text))),
            Self::Regex(pattern) => Some(pattern.clone()),
            Self::Exact(_) | Self::Prefix(_) => None,
        }
    }

    fn toml(&self) -> Toml {
        match (self, self.pattern()) {
            (_, Some(pattern)) => Toml::table([("regex", pattern.into())]),
            (Self::Exact(text), None) => Toml::table([("exact", text.as_str().into())]),
            (Self::Prefix(text) | Self::Begins(text) | Self::Regex(text), None) => {
                let text = if text.is_empty() { "/" } else { text };
                Toml::table([("prefix", text.into())])
            }
        }
    }
}

/// What has a name and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Query,
    Cookie,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Present(bool),
    /// One of these texts.
    Is(Vec<String>),
    /// Absent, or none of these texts.
    IsNot(Vec<String>),
    /// An expression is found in it.
    Has(String),
    /// It is absent, or the expression is not found.
    HasNot(String),
}

impl Test {
    fn not(&self) -> Self {
        match self.clone() {
            Self::Present(is) => Self::Present(!is),
            Self::Is(all) => Self::IsNot(all),
            Self::IsNot(all) => Self::Is(all),
            Self::Has(pattern) => Self::HasNot(pattern),
            Self::HasNot(pattern) => Self::Has(pattern),
        }
    }

    fn toml(&self) -> Toml {
        let pattern = |pattern: &String| Toml::table([("regex", pattern.as_str().into())]);
        match self {
            Self::Present(is) => Toml::table([("present", Toml::Bool(*is))]),
            Self::Is(all) => Toml::one_or_many(all),
            Self::IsNot(all) => Toml::table([("not", Toml::one_or_many(all))]),
            Self::Has(text) => pattern(text),
            Self::HasNot(text) => Toml::table([("not", pattern(text))]),
        }
    }
}

/// One thing that is asked of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Atom {
    /// One of these hosts.
    Host(Vec<Host>),
    /// One of these paths.
    Path(Vec<Path>),
    /// One of these methods.
    Method(Vec<String>),
    Field(Kind, String, Test),
    /// A client in one of the first prefixes (empty: any), and in none of the second ones.
    Source(Vec<IpNet>, Vec<IpNet>),
    /// All requests, or none.
    Constant(bool),
}

impl Atom {
    /// The contrary, where it is one thing that can be asked.
    pub(super) fn not(&self) -> Option<Self> {
        match self {
            Self::Field(kind, name, test) => Some(Self::Field(*kind, name.clone(), test.not())),
            Self::Source(of, not) if not.is_empty() => Some(Self::Source(Vec::new(), of.clone())),
            Self::Source(of, not) if of.is_empty() => Some(Self::Source(not.clone(), Vec::new())),
            Self::Constant(all) => Some(Self::Constant(!all)),
            Self::Host(_) | Self::Path(_) | Self::Method(_) | Self::Source(..) => None,
        }
    }
}

/// Why two conditions cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsupported(pub(super) String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What all must be met together: the conditions of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct All {
    pub(super) hosts: Vec<Host>,
    pub(super) paths: Vec<Path>,
    pub(super) methods: Vec<String>,
    pub(super) fields: Vec<(Kind, String, Test)>,
    pub(super) sources: Vec<IpNet>,
    pub(super) not_sources: Vec<IpNet>,
}

/// What conditions are together; `None`: no request meets them.
pub(super) type Both<T> = Result<Option<T>, Unsupported>;

impl All {
    /// These conditions and one more.
    ///
    /// # Errors
    ///
    /// The language has no word for both of them.
    pub(super) fn and(&self, atom: &Atom) -> Both<Self> {
        let mut both = self.clone();
        match atom {
            Atom::Constant(true) => {}
            Atom::Constant(false) => return Ok(None),
            Atom::Host(hosts) => match any_of(&self.hosts, hosts, host_and)? {
                Some(hosts) if mixed(&hosts) => {
                    let why = "host names and expressions are for two routes";
                    return Err(Unsupported(why.to_owned()));
                }
                Some(hosts) => both.hosts = hosts,
                None => return Ok(None),
            },
            Atom::Path(paths) => match any_of(&self.paths, paths, path_and)? {
                Some(paths) => both.paths = paths,
                None => return Ok(None),
            },
            Atom::Method(methods) => {
                let equal = |a: &String, b: &String| Ok((a == b).then(|| a.clone()));
                match any_of(&self.methods, methods, equal)? {
                    Some(methods) => both.methods = methods,
                    None => return Ok(None),
                }
            }
            Atom::Field(kind, name, test) => {
                let known = both
                    .fields
                    .iter_mut()
                    .find(|(k, n, _)| k == kind && n.eq_ignore_ascii_case(name));
                match known {
                    None => both.fields.push((*kind, name.clone(), test.clone())),
                    Some((_, _, known)) => match test_and(known, test, name)? {
                        Some(test) => *known = test,
                        None => return Ok(None),
                    },
                }
            }
            Atom::Source(of, not) => {
                if !of.is_empty() {
                    match any_of(&self.sources, of, |a, b| Ok(net_and(a, b)))? {
                        Some(sources) => both.sources = sources,
                        None => return Ok(None),
                    }
                }
                for not in not {
                    if !both.not_sources.contains(not) {
                        both.not_sources.push(*not);
                    }
                }
                let all = &both.not_sources;
                both.sources
                    .retain(|of| !all.iter().any(|not| not.contains(of)));
                let was = !of.is_empty() || !self.sources.is_empty();
                if was && both.sources.is_empty() {
                    return Ok(None);
                }
                let sources = both.sources.clone();
                both.not_sources
                    .retain(|not| sources.is_empty() || sources.iter().any(|of| of.contains(not)));
            }
        }
        Ok(Some(both))
    }

    /// Whether no request meets both.
    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        // Most routes are told apart by their names.
        let apart = |a: &Host| other.hosts.iter().all(|b| host_and(a, b) == Ok(None));
        if !self.hosts.is_empty() && !other.hosts.is_empty() && self.hosts.iter().all(apart) {
            return true;
        }
        let mut both = Some(self.clone());
        for atom in other.atoms() {
            // What cannot be said may be met.
            match both.as_ref().map(|both| both.and(&atom)) {
                Some(Ok(more)) => both = more,
                Some(Err(_)) => {}
                None => return true,
            }
        }
        both.is_none()
    }

    fn atoms(&self) -> Vec<Atom> {
        let mut atoms = Vec::new();
        if !self.hosts.is_empty() {
            atoms.push(Atom::Host(self.hosts.clone()));
        }
        if !self.paths.is_empty() {
            atoms.push(Atom::Path(self.paths.clone()));
        }
        if !self.methods.is_empty() {
            atoms.push(Atom::Method(self.methods.clone()));
        }
        for (kind, name, test) in &self.fields {
            atoms.push(Atom::Field(*kind, name.clone(), test.clone()));
        }
        if !self.sources.is_empty() || !self.not_sources.is_empty() {
            atoms.push(Atom::Source(self.sources.clone(), self.not_sources.clone()));
        }
        atoms
    }

    /// As keys of a route.
    pub(super) fn keys(&self) -> Vec<(&'static str, Toml)> {
        let mut keys = Vec::new();
        let hosts: Vec<Toml> = self.hosts.iter().map(host_toml).collect();
        let paths: Vec<Toml> = self.paths.iter().map(Path::toml).collect();
        let not = self
            .not_sources
            .iter()
            .map(|net| format!("!{}", plain(net)));
        let sources: Vec<String> = self.sources.iter().map(plain).chain(not).collect();
        for (key, mut all) in [("host", hosts), ("path", paths)] {
            match (all.len(), all.pop()) {
                (1, Some(one)) => keys.push((key, one)),
                (_, Some(last)) => {
                    keys.push((key, Toml::List(all.into_iter().chain([last]).collect())))
                }
                (_, None) => {}
            }
        }
        if !self.methods.is_empty() {
            keys.push(("method", Toml::one_or_many(&self.methods)));
        }
        for (key, kind) in [
            ("headers", Kind::Header),
            ("query", Kind::Query),
            ("cookies", Kind::Cookie),
        ] {
            let of = self.fields.iter().filter(|(k, ..)| *k == kind);
            let fields: Vec<_> = of
                .map(|(_, name, test)| (name.clone(), test.toml()))
                .collect();
            if !fields.is_empty() {
                keys.push((key, Toml::Table(fields)));
            }
        }
        if !sources.is_empty() {
            keys.push(("source", Toml::one_or_many(&sources)));
        }
        keys
    }
}

/// A prefix as people write it: an address without its length.
fn plain(net: &IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

fn host_toml(host: &Host) -> Toml {
    match host {
        Host::Exact(name) => name.as_str().into(),
        Host::Wildcard(domain) => format!("*.{domain}").into(),
        Host::Regex(pattern) => Toml::table([("regex", pattern.as_str().into())]),
    }
}

fn mixed(hosts: &[Host]) -> bool {
    let is_regex = |host: &&Host| matches!(host, Host::Regex(_));
    let regexes = hosts.iter().filter(is_regex).count();
    regexes != 0 && regexes != hosts.len()
}
