// SPDX-License-Identifier: MIT
//! Checking what rules say of ACME: the authority, the account, names of certificates that are ordered. Nobody is asked.

use std::net::IpAddr;

use super::Check;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::AcmeText;
use crate::text::language::CertificateText;
use crate::text::language::ExternalAccountText;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::OneOrMany;

/// The directory of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Most names of a certificate: no authority is known to take more.
const MOST_NAMES: usize = 100;

/// What is wrong with a value: code, message, help.
type Wrong = (&'static str, &'static str, &'static str);

impl Check<'_> {
    /// A certificate that is ordered for these names.
    pub(super) fn ordered(
        &mut self,
        given: &At<CertificateText>,
        names: &At<OneOrMany<At<String>>>,
    ) -> Option<OrderedCertificate> {
        let text = &given.value;
        self.ordered.push(names.span);
        if text.cert.is_some() || text.key.is_some() || text.ocsp.is_some() {
            let message = "a certificate is either ordered or comes from files";
            let help = "remove `acme`, or remove `cert`, `key` and `ocsp`";
            self.note(Diagnostic::error("not-one", given.span, message).help(help));
        }
        if names.value.0.is_empty() {
            let message = "the certificate would be for no name";
            let help = "write acme = \"www.example.com\", or a list of names";
            self.note(Diagnostic::error("empty-list", names.span, message).help(help));
        }
        if names.value.0.len() > MOST_NAMES {
            let message = format!("{} names are too many", names.value.0.len());
            let help = format!("give at most {MOST_NAMES}, and a second certificate for the rest");
            self.note(Diagnostic::error("out-of-range", names.span, message).help(help));
        }
        let mut good = Vec::<String>::with_capacity(names.value.0.len());
        for name in &names.value.0 {
            match certificate_name(&name.value) {
                Ok(form) if good.contains(&form) => {
                    let message = format!("{form} is listed twice");
                    self.note(Diagnostic::error("duplicate", name.span, message).label("again"));
                }
                Ok(form) => good.push(form),
                Err((code, message, help)) => {
                    self.note(Diagnostic::error(code, name.span, message).help(help));
                }
            }
        }
        Some(OrderedCertificate { acme: good })
    }

    /// The authority. Absent where no certificate is ordered.
    pub(super) fn acme(&mut self, given: Option<At<AcmeText>>, model: &Model) -> Option<Acme> {
        let Some(At { value: text, span }) = given else {
            if let Some(first) = self.ordered.first()
                && self.syntax_is_good
            {
                let message = "nobody is named of whom the certificate is ordered";
                let help = "add a table [acme] with terms_agreed = true and state = \"/var/lib/l7switch/acme\"";
                self.note(Diagnostic::error("missing-key", *first, message).help(help));
            }
            return None;
        };
        if self.ordered.is_empty() && self.syntax_is_good {
            let message = "no certificate is ordered";
            let help = "give an https service certificates = { acme = \"www.example.com\" }, or remove [acme]";
            self.note(Diagnostic::warning("unused-acme", span, message).help(help));
        }
        match &text.terms_agreed {
            Some(At { value: true, .. }) => (),
            Some(At { span, .. }) => {
                let message = "no authority gives certificates to those who do not agree";
                let help = "read the authority's terms of service, then write terms_agreed = true";
                self.note(Diagnostic::error("bad-value", *span, message).help(help));
            }
            None => {
                let message =
                    "`acme` does not say that you agree to the authority's terms".to_owned();
                let help = "read the authority's terms of service, then add: terms_agreed = true";
                self.missing(text.broken, span, message, help);
            }
        }
        if text.state.is_none() {
            let message = "`acme` has no folder for keys and certificates".to_owned();
            let help = "add: state = \"/var/lib/l7switch/acme\"";
            self.missing(text.broken, span, message, help);
        }
        let challenge = text.challenge.as_ref().map(|word| word.value.0);
        let challenge = challenge.unwrap_or_default();
        if !self.ordered.is_empty() {
            let span = text.challenge.as_ref().map_or(span, |word| word.span);
            self.reachable(challenge, span, model);
        }
        let mut contact = Vec::new();
        for address in text.contact.unwrap_or_default().0 {
            match mail(&address.value) {
                Ok(url) => contact.push(url),
                Err((code, message, help)) => {
                    self.note(Diagnostic::error(code, address.span, message).help(help));
                }
            }
        }
        Some(Acme {
            directory: match &text.directory {
                Some(directory) => {
                    self.directory(directory);
                    directory.value.clone()
                }
                None => LETS_ENCRYPT.to_owned(),
            },
            contact,
            // No file that is read as the rules are: what is in it is the front's own.
            state: text
                .state
                .as_ref()
                .map_or_else(Default::default, |state| self.file(state)),
            challenge,
            ca: text.ca.as_ref().map(|ca| self.file(ca)),
            profile: text.profile.map(|profile| profile.value),
            external_account: self.external_account(text.external_account),
        })
    }

    fn external_account(
        &mut self,
        given: Option<At<ExternalAccountText>>,
    ) -> Option<ExternalAccount> {
        let At { value: text, span } = given?;
        let (Some(id), Some(key)) = (&text.id, &text.key) else {
            let message = "an external account needs `id` and `key`".to_owned();
            let help = "give the identifier, and the path of a file with the key, as the authority gave them";
            self.missing(text.broken, span, message, help);
            return None;
        };
        Some(ExternalAccount {
            id: id.value.clone(),
            key: self.file(key),
        })
    }

    /// That the authority can come where challenges are answered.
    fn reachable(&mut self, challenge: Challenge, span: Span, model: &Model) {
        let (protocol, word, port) = match challenge {
            Challenge::Http => (Protocol::Http, "http", 80),
            Challenge::TlsAlpn => (Protocol::Https, "https", 443),
        };
        let services = model.services.iter();
        let mut services = services
            .filter(|service| service.protocol == protocol)
            .peekable();
        if services.peek().is_none() {
            // Services with certificates are `https`, or noted as mistakes.
            if challenge == Challenge::Http && self.syntax_is_good {
                let message = "nobody answers the challenge: there is no http service";
                let help =
                    "add a service with listen = \"0.0.0.0:80\", or write challenge = \"tls-alpn\"";
                self.note(Diagnostic::error("impossible", span, message).help(help));
            }
            return;
        }
        let mut listens = services.flat_map(|service| &service.listen);
        if !listens.any(|address| address.port() == port) {
            let message =
                format!("no {word} service listens on port {port}, where the authority comes");
            let help = format!("somebody has to pass connections to port {port} on to the switch");
            self.note(Diagnostic::warning("challenge-port", span, message).help(help));
        }
    }

    fn directory(&mut self, given: &At<String>) {
        const HELP: &str = "write the URL of the authority's directory, as in \"https://acme.example.com/directory\"";
        let rest = given.value.strip_prefix("https://");
        let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
        // What of RFC 3986 is in use for directories.
        let is_good = given
            .value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?[]!$&'()*+,;=%".contains(&byte));
        let message = match authority {
            Some(authority) if !authority.is_empty() && is_good => return,
            Some(_) => "this is not a URL",
            None => "a directory is spoken with over https (RFC 8555, 6.1)",
        };
        self.note(Diagnostic::error("bad-value", given.span, message).help(HELP));
    }
}

/// A name that a certificate can be ordered for, in lower case.
fn certificate_name(text: &str) -> Result<String, Wrong> {
    const HELP: &str = "write it as \"www.example.com\"";
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if name.contains('*') {
        Err((
            "impossible",
            "a certificate for a wildcard cannot be ordered: it would need the DNS-01 challenge",
            "list the names, or give a certificate from files by `cert` and `key`",
        ))
    } else if address.parse::<IpAddr>().is_ok() {
        Err((
            "impossible",
            "certificates for addresses are not ordered",
            "give a name, or a certificate from files by `cert` and `key`",
        ))
    } else if !name.is_ascii() {
        Err((
            "bad-value",
            "the name has non-ASCII characters",
            "write internationalised names in their xn-- form (RFC 5891)",
        ))
    } else if name.contains(':') {
        Err((
            "bad-value",
            "a certificate is for a name, without a port",
            HELP,
        ))
    } else if name.len() > 253 || !name.split('.').all(label) {
        Err(("bad-value", "this is not a name", HELP))
    } else {
        Ok(name)
    }
}

/// A mail address as a URL (RFC 6068); one address, without header fields (RFC 8555, 7.3).
fn mail(text: &str) -> Result<String, Wrong> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let is_good = address
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b",?<>\"\\()".contains(&byte));
    match address.split_once('@') {
        Some((local, domain))
            if is_good && !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
        {
            Ok(format!("mailto:{address}"))
        }
        _ => Err((
            "bad-value",
            "this is not a mail address",
            "write it as \"admin@example.com\"",
        )),
    }
}
