// SPDX-License-Identifier: MIT
//! HAProxy's conditions: `acl` lines, anonymous ones in braces, `if`, `unless`, `!`, `or`.

use std::collections::HashMap;

use ipnet::IpNet;

use super::read::Line;
use crate::import::conditions::Atom;
use crate::import::conditions::Host;
use crate::import::conditions::Kind;
use crate::import::conditions::Path;
use crate::import::conditions::Test;
use crate::import::flow::Condition;
use crate::import::flow::Literal;
use crate::import::flow::always;

/// Most alternatives of a condition.
const MOST: usize = 256;

/// What is known where conditions are read.
pub(super) struct Acls<'l> {
    lines: HashMap<&'l str, Vec<&'l Line>>,
    /// Whether clients speak TLS to the service.
    pub(super) tls: bool,
    /// The service's port, if it has one only.
    pub(super) port: Option<u16>,
    /// Whether names are those of TLS that is passed through.
    pub(super) passes_tls: bool,
}

impl<'l> Acls<'l> {
    pub(super) fn new(lines: &'l [Line], tls: bool, port: Option<u16>, passes_tls: bool) -> Self {
        let mut all: HashMap<&str, Vec<&Line>> = HashMap::new();
        for line in lines.iter().filter(|line| line.word(0) == "acl") {
            all.entry(line.word(1)).or_default().push(line);
        }
        Self {
            lines: all,
            tls,
            port,
            passes_tls,
        }
    }

    /// The condition at the end of a line, from its `if` or `unless` on. `strict`: it keeps requests out.
    pub(super) fn condition(&self, words: &[String], strict: bool) -> Result<Condition, String> {
        let (word, rest) = match words.split_first() {
            None => return Ok(always()),
            Some(split) => split,
        };
        let met = self.alternatives(rest, strict)?;
        match word.as_str() {
            "if" => Ok(met),
            "unless" => without(&met),
            other => Err(format!("`{other}` is not understood")),
        }
    }

    fn alternatives(&self, words: &[String], strict: bool) -> Result<Condition, String> {
        let mut all = Vec::new();
        let mut both = always();
        let mut negated = false;
        let mut some = false;
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if word == "or" || word == "||" {
                all.extend(std::mem::replace(&mut both, always()));
                continue;
            }
            let rest = word.trim_start_matches('!');
            negated ^= (word.len() - rest.len()) % 2 == 1;
            let atoms = match rest {
                "" => continue,
                "{" => {
                    let inside: Vec<String> = words
                        .by_ref()
                        .take_while(|w| *w != "}")
                        .map(str::to_owned)
                        .collect();
                    self.atoms(&inside, strict)?
                }
                name => self.named(name, strict)?,
            };
            some = true;
            both = product(&both, &literals(atoms, std::mem::take(&mut negated)))?;
        }
        all.extend(both);
        match some {
            true => Ok(all),
            false => Err("a condition is missing".to_owned()),
        }
    }

    fn named(&self, name: &str, strict: bool) -> Result<Vec<Atom>, String> {
        let Some(lines) = self.lines.get(name) else {
            return predefined(name).ok_or(format!("there is no acl `{name}`"));
        };
        let mut all = Vec::new();
        for line in lines {
            for atom in self.atoms(line.from(2), strict)? {
                add(&mut all, atom);
            }
        }
        Ok(all)
    }

    /// What a fetch and its patterns ask: alternatives.
    fn atoms(&self, words: &[String], strict: bool) -> Result<Vec<Atom>, String> {
        let Some((fetch, rest)) = words.split_first() else {
            return Err("an acl is empty".to_owned());
        };
        let given = Given::read(fetch, rest)?;
        let not_there = || format!("`{fetch}` cannot be asked for");
        let texts = &given.patterns;
        if self.passes_tls
            && !matches!(
                given.name.as_str(),
                "src"
                    | "req.ssl_sni"
                    | "req_ssl_sni"
                    | "req.ssl_hello_type"
                    | "req_ssl_hello_type"
                    | "always_true"
                    | "always_false"
            )
        {
            return Err(not_there());
        }
        let atom = match given.name.as_str() {
            "always_true" => Atom::Constant(true),
            "always_false" => Atom::Constant(false),
            // Nobody is known: users are not taken over, so that what they may do, nobody may.
            "http_auth" | "http_auth_group" => Atom::Constant(false),
            // A TLS service takes nothing but a handshake.
            "req.ssl_hello_type" | "req_ssl_hello_type" if *texts == ["1"] => Atom::Constant(true),
            "ssl_fc" => Atom::Constant(self.tls),
            "dst_port" => {
                let port = self.port.ok_or("dst_port: the service has several ports")?;
                Atom::Constant(texts.iter().any(|text| *text == port.to_string()))
            }
            "src" => {
                let net = |text: &String| net(text).ok_or(format!("`{text}` is not an address"));
                Atom::Source(texts.iter().map(net).collect::<Result<_, _>>()?, Vec::new())
            }
            "method" => Atom::Method(texts.iter().map(|text| text.to_ascii_uppercase()).collect()),
            "path" | "url" => Atom::Path(
                texts
                    .iter()
                    .map(|t| given.path(t))
                    .collect::<Result<_, _>>()?,
            ),
            "req.ssl_sni" | "req_ssl_sni" | "ssl_fc_sni" => self.host(&given)?,
            "hdr" | "req.hdr" | "req.fhdr" | "hdr_fhdr"
                if given.argument.eq_ignore_ascii_case("host") =>
            {
                self.host(&given)?
            }
            "hdr" | "req.hdr" | "req.fhdr" => {
                given.field(Kind::Header, strict && given.name != "req.fhdr")?
            }
            "cook" | "req.cook" => given.field(Kind::Cookie, false)?,
            "url_param" | "urlp" | "query_param" => given.field(Kind::Query, false)?,
            _ => return Err(not_there()),
        };
        match &atom {
            Atom::Source(all, _) if all.is_empty() => Err(not_there()),
            Atom::Path(all) if all.is_empty() => Err(not_there()),
            Atom::Host(all) if all.is_empty() => Err(not_there()),
            Atom::Method(all) if all.is_empty() => Err(not_there()),
            Atom::Path(all) if all.contains(&Path::Begins("/".to_owned())) => {
                Ok(vec![Atom::Constant(true)])
            }
            // Names and expressions are not for one route.
            Atom::Host(all) => {
                let (regexes, names): (Vec<_>, Vec<_>) = all
                    .iter()
                    .cloned()
                    .partition(|h| matches!(h, Host::Regex(_)));
                Ok([names, regexes]
                    .into_iter()
                    .filter(|p| !p.is_empty())
                    .map(Atom::Host)
                    .collect())
            }
            _ => Ok(vec![atom]),
        }
    }

    fn host(&self, given: &Given) -> Result<Atom, String> {
        let all = given.patterns.iter().map(|text| given.host(text));
        Ok(Atom::Host(all.collect::<Result<_, _>>()?))
    }
}

/// A fetch with its method and patterns.
struct Given {
    name: String,
    argument: String,
    method: String,
    ignores_case: bool,
    patterns: Vec<String>,
}

impl Given {
    fn read(fetch: &str, rest: &[String]) -> Result<Self, String> {
        let mut parts = fetch.split(',');
        let (base, mut ignores_case) = (parts.next().unwrap_or_default(), false);
        let (name, argument) = match base.split_once('(') {
            Some((name, argument)) => (name, argument.trim_end_matches(')')),
            None => (base, ""),
        };
        let rest_of_fetch: Vec<&str> = parts.collect();
        let host = argument.eq_ignore_ascii_case("host");
        match rest_of_fetch.as_slice() {
            [] => {}
            ["lower"] => ignores_case = true,
            // The host without its port.
            ["field(1", ":)"] if host => {}
            ["lower", "field(1", ":)"] | ["field(1", ":)", "lower"] if host => {}
            _ => return Err(format!("the converters of `{fetch}` are not there")),
        }
        let mut method = String::new();
        let mut name = name.to_owned();
        for suffix in ["beg", "end", "reg", "sub", "dom", "dir", "str"] {
            let base = name
                .strip_suffix(suffix)
                .and_then(|name| name.strip_suffix('_'));
            if let Some(base) = base {
                (name, method) = (base.to_owned(), suffix.to_owned());
                break;
            }
        }
        let mut patterns = Vec::new();
        let mut rest = rest.iter();
        let mut flags = true;
        while let Some(word) = rest.next() {
            match word.as_str() {
                "-i" if flags => ignores_case = true,
                "-n" if flags => {}
                "-m" if flags => method = rest.next().cloned().unwrap_or_default(),
                "-f" if flags => {
                    let file = rest.next().map(String::as_str).unwrap_or_default();
                    patterns.extend(patterns_of(file)?);
                }
                "--" if flags => flags = false,
                word if flags && word.starts_with('-') && word.len() == 2 => {
                    return Err(format!("the option {word} of an acl is not there"));
                }
                word => {
                    flags = false;
                    patterns.push(word.to_owned());
                }
            }
        }
        if patterns.len() > 4096 {
            return Err("an acl has more than 4096 patterns".to_owned());
        }
        if method == "ip" || method == "bool" {
            method.clear();
        }
        Ok(Self {
            name,
            argument: argument.to_owned(),
            method,
            ignores_case,
            patterns,
        })
    }

    /// A pattern as an expression.
    fn pattern(&self, text: &str) -> Result<String, String> {
        let literal = regex::escape(text);
        let pattern = match self.method.as_str() {
            "" | "str" => format!("^{literal}$"),
            "beg" => format!("^{literal}"),
            "end" => format!("{literal}$"),
            "sub" => literal,
            "reg" => text.to_owned(),
            "dir" => format!("(?:^|/){}(?:/|$)", literal.trim_matches('/')),
            "dom" => format!("(?:^|[/?.:]){}(?:[/?.:]|$)", literal.trim_matches('.')),
            other => return Err(format!("the match `{other}` is not there")),
        };
        let pattern = match self.ignores_case {
            true => format!("(?i){pattern}"),
            false => pattern,
        };
        match regex::Regex::new(&pattern) {
            Ok(_) => Ok(pattern),
            Err(_) => Err(format!("the expression {text} is not understood (PCRE)")),
        }
    }

    fn path(&self, text: &str) -> Result<Path, String> {
        if text.contains('?') && self.name == "url" {
            return Err("a query within url is not asked for".to_owned());
        }
        Ok(match self.method.as_str() {
            "" | "str" if !self.ignores_case && text.starts_with('/') => {
                Path::Exact(text.to_owned())
            }
            "beg" if !self.ignores_case => Path::Begins(text.to_owned()),
            _ => Path::Regex(self.pattern(text)?),
        })
    }

    fn host(&self, sent: &str) -> Result<Host, String> {
        let text = sent.to_ascii_lowercase();
        let domain = text.strip_prefix('.').filter(|domain| !domain.is_empty());
        Ok(match (self.method.as_str(), domain) {
            ("" | "str", _) => {
                let name = text.rsplit_once(':').filter(|(name, port)| {
                    !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit())
                });
                Host::Exact(name.map_or(text.as_str(), |(name, _)| name).to_owned())
            }
            ("end", Some(domain)) => Host::Wildcard(domain.to_owned()),
            ("dom", _) => {
                let name = regex::escape(text.trim_matches('.'));
                Host::Regex(format!("(?:^|\\.){name}(?:\\.|$)"))
            }
            ("reg", _) => {
                // Hosts are compared in lower case and without port.
                let pattern = self.pattern(&sent.replace("(:[0-9]+)?", ""))?;
                Host::Regex(match sent == text || pattern.starts_with("(?i)") {
                    true => pattern,
                    false => format!("(?i){pattern}"),
                })
            }
            _ => Host::Regex(self.pattern(&text)?),
        })
    }

    /// A condition on a field. `listed`: the field may be a list, any element of which counts.
    fn field(&self, kind: Kind, listed: bool) -> Result<Atom, String> {
        let name = match self.argument.split(',').next() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => return Err("the name of a field is missing".to_owned()),
        };
        if self.method == "found" {
            return Ok(Atom::Field(kind, name, Test::Present(true)));
        }
        let exact = matches!(self.method.as_str(), "" | "str");
        if self.patterns.is_empty() {
            return Err("a pattern is missing".to_owned());
        }
        if exact && !self.ignores_case && !listed {
            return Ok(Atom::Field(kind, name, Test::Is(self.patterns.clone())));
        }
        let mut patterns = Vec::new();
        for text in &self.patterns {
            let pattern = self.pattern(text)?;
            // `^` and `$` of an element are at a comma, too.
            let pattern = match listed && self.method != "reg" && self.method != "sub" {
                true => pattern
                    .replacen('^', "(?:^|,)[ \\t]*", 1)
                    .strip_suffix('$')
                    .map_or(pattern.replacen('^', "(?:^|,)[ \\t]*", 1), |p| {
                        format!("{p}[ \\t]*(?:,|$)")
                    }),
                false => pattern,
            };
            patterns.push(pattern);
        }
        let pattern = match patterns.as_slice() {
            [one] => one.clone(),
            all => all
                .iter()
                .map(|p| format!("(?:{p})"))
                .collect::<Vec<_>>()
                .join("|"),
        };
        Ok(Atom::Field(kind, name, Test::Has(pattern)))
    }
}

fn patterns_of(file: &str) -> Result<Vec<String>, String> {
    let text = crate::import::source::read(std::path::Path::new(file))
        .map_err(|wrong| format!("patterns cannot be read: {wrong}"))?;
    let lines = text.lines().map(str::trim);
    Ok(lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

/// An address or a prefix.
pub(in crate::import) fn net(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().map(|net| net.trunc());
    net.or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .ok()
}

fn predefined(name: &str) -> Option<Vec<Atom>> {
    let method = |name: &str| Atom::Method(vec![name.to_owned()]);
    Some(vec![match name {
        "TRUE" | "HTTP" | "WAIT_END" | "REQ_CONTENT" => Atom::Constant(true),
        "FALSE" => Atom::Constant(false),
        "LOCALHOST" => Atom::Source(vec![net("127.0.0.0/8")?, net("::1")?], Vec::new()),
        "METH_GET" => Atom::Method(vec!["GET".to_owned(), "HEAD".to_owned()]),
        name => method(name.strip_prefix("METH_")?),
    }])
}

/// Adds an alternative, to one of its kind if there is one.
fn add(all: &mut Vec<Atom>, atom: Atom) {
    let is_regex = |hosts: &[Host]| hosts.iter().any(|host| matches!(host, Host::Regex(_)));
    for known in all.iter_mut() {
        match (known, &atom) {
            (Atom::Path(known), Atom::Path(more)) => return known.extend(more.iter().cloned()),
            (Atom::Method(known), Atom::Method(more)) => return known.extend(more.iter().cloned()),
            (Atom::Host(known), Atom::Host(more)) if is_regex(known) == is_regex(more) => {
                return known.extend(more.iter().cloned());
            }
            (Atom::Source(known, not), Atom::Source(more, none))
                if not.is_empty() && none.is_empty() =>
            {
                return known.extend(more.iter().copied());
            }
            (Atom::Field(a, b, Test::Is(known)), Atom::Field(c, d, Test::Is(more)))
                if a == c && b == d =>
            {
                return known.extend(more.iter().cloned());
            }
            _ => {}
        }
    }
    all.push(atom);
}

fn literals(atoms: Vec<Atom>, negated: bool) -> Condition {
    let literals = atoms.into_iter().map(|atom| Literal { atom, negated });
    match negated {
        true => vec![literals.collect()],
        false => literals.map(|literal| vec![literal]).collect(),
    }
}

/// What both conditions ask.
pub(in crate::import) fn product(a: &Condition, b: &Condition) -> Result<Condition, String> {
    if a.len().saturating_mul(b.len()) > MOST {
        return Err("its condition has too many alternatives".to_owned());
    }
    let both = |a: &Vec<Literal>| {
        b.iter()
            .map(|b| [a.as_slice(), b].concat())
            .collect::<Vec<_>>()
    };
    Ok(a.iter().flat_map(both).collect())
}

/// The contrary of a condition.
fn without(condition: &Condition) -> Result<Condition, String> {
    let mut all = always();
    for conjunction in condition {
        let contrary = |literal: &Literal| {
            vec![Literal {
                atom: literal.atom.clone(),
                negated: !literal.negated,
            }]
        };
        all = product(&all, &conjunction.iter().map(contrary).collect())?;
    }
    Ok(all)
}
