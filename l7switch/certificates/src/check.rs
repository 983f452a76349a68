// SPDX-License-Identifier: MIT
//! What is wrong with the files that rules name for TLS, and what will be soon.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use l7switch_rules::RuleSet;
use l7switch_rules::model::ClientCertificates;
use l7switch_rules::model::ServerTls;
use l7switch_rules::model::Service;
use l7switch_rules::model::ServiceCertificate;
use l7switch_rules::text::diagnostic::Diagnostic;
use l7switch_rules::text::diagnostic::Report;
use l7switch_rules::text::source::Span;
use x509_cert::certificate::Raw;
use x509_cert::crl::CertificateList;
use x509_cert::der::DateTime;
use x509_cert::der::Decode;

use crate::client;
use crate::file;
use crate::files::TlsError;
use crate::files::read_crls;
use crate::files::read_roots;
use crate::pair::Pair;
use crate::passwords::Passwords;
use crate::state;

/// A certificate that expires within this time is told of.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Something that was found in a file, with the file.
pub type Finding = (PathBuf, Diagnostic);

/// Reads the certificates, keys, authorities, revocation lists and users that rules name, and looks at the state folder. Gives their report with what was found: what the
/// front would refuse is an error.
pub fn check(rules: &RuleSet, now: SystemTime) -> Report {
    let mut found = Vec::new();
    for service in &rules.model.services {
        let mut pairs = Vec::with_capacity(service.certificates.len());
        let certificates = service.certificates.iter();
        for certificate in certificates.filter_map(ServiceCertificate::files) {
            match Pair::read(certificate) {
                Ok(pair) => pairs.push(pair),
                Err(error) => found.push(unusable(&certificate.cert, &error)),
            }
        }
        found.extend(findings(service, &pairs, now));
        if let Some(clients) = &service.tls.client_certificates
            && let Err(error) = client::verifier(clients)
        {
            found.push(unusable(&clients.ca, &error));
        }
    }
    for tls in rules
        .model
        .pools
        .iter()
        .filter_map(|pool| pool.tls.as_ref())
    {
        towards_servers(tls, now, &mut found);
    }
    users(rules, &mut found);
    if let Some(ca) = rules.model.acme.as_ref().and_then(|acme| acme.ca.as_ref())
        && let Err(error) = read_roots(ca)
    {
        found.push(unusable(ca, &error));
    }
    if let Some(acme) = &rules.model.acme {
        let certificates = rules.model.services.iter().flat_map(|s| &s.certificates);
        let ordered = certificates.filter_map(|certificate| match certificate {
            ServiceCertificate::Ordered(ordered) => Some(ordered),
            ServiceCertificate::Files(_) => None,
        });
        let looked = state::look(acme, ordered).into_iter();
        found.extend(looked.map(|diagnostic| (acme.state.clone(), diagnostic)));
    }
    others(rules, &mut found);
    rules.warnings.clone().with(found)
}

/// Files of users and passwords.
fn users(rules: &RuleSet, found: &mut Vec<Finding>) {
    let routes = rules
        .model
        .services
        .iter()
        .flat_map(|service| &service.routes);
    for auth in routes.filter_map(|route| route.basic_auth.as_ref()) {
        if let Err(error) = Passwords::read(&auth.file) {
            let diagnostic = Diagnostic::error("bad-users", Span::default(), error.to_string());
            found.push((auth.file.clone(), diagnostic));
        }
    }
}

/// Pages, contents and keys of cookies: that they can be read.
fn others(rules: &RuleSet, found: &mut Vec<Finding>) {
    for path in rules.model.files() {
        if found.iter().any(|(known, _)| *known == path) {
            continue;
        }
        if let Err(error) = file::read(&path, file::MOST_PEM) {
            let message = format!("{}: {error}", path.display());
            let diagnostic = Diagnostic::error("unreadable", Span::default(), message);
            found.push((path, diagnostic));
        }
    }
}

fn towards_servers(tls: &ServerTls, now: SystemTime, found: &mut Vec<Finding>) {
    if let Some(ca) = &tls.ca
        && let Err(error) = read_roots(ca)
    {
        found.push(unusable(ca, &error));
    }
    if let Some(certificate) = &tls.certificate {
        match Pair::read(certificate) {
            Ok(pair) => found.extend(expiry(&pair, now)),
            Err(error) => found.push(unusable(&certificate.cert, &error)),
        }
    }
}

/// What is to be said of the certificates of a service: of their time, of those without a name, and of those that are never shown.
pub fn findings(service: &Service, pairs: &[Pair], now: SystemTime) -> Vec<Finding> {
    let mut found: Vec<Finding> = pairs.iter().filter_map(|pair| expiry(pair, now)).collect();
    found.extend(pairs.iter().filter_map(nameless));
    found.extend(clashes(pairs));
    if let Some(clients) = &service.tls.client_certificates {
        found.extend(out_of_date(clients, now));
    }
    found
}

/// What cannot be used. The place is that of the file which is to blame, as far as the error tells it.
fn unusable(path: &Path, error: &TlsError) -> Finding {
    let path = match error {
        TlsError::File { path, .. } => Path::new(path),
        TlsError::Pair { .. } | TlsError::Config(_) => path,
    };
    let diagnostic = Diagnostic::error("bad-certificate", Span::default(), error.to_string());
    let diagnostic = diagnostic.help("the front does not take the rules while this is so");
    (path.to_owned(), diagnostic)
}

fn warning(code: &'static str, path: &Path, message: String) -> Finding {
    let diagnostic = Diagnostic::warning(code, Span::default(), message);
    (path.to_owned(), diagnostic)
}

fn expiry(pair: &Pair, now: SystemTime) -> Option<Finding> {
    let (from, to) = pair.validity?;
    let label = pair.label();
    let message = if now < from {
        format!(
            "the certificate of {label} is not good before {}",
            date(from)
        )
    } else if to < now {
        format!("the certificate of {label} expired on {}", date(to))
    } else if to.duration_since(now).is_ok_and(|left| left < SOON) {
        format!("the certificate of {label} expires on {}", date(to))
    } else {
        return None;
    };
    Some(warning("expiry", &pair.rules.cert, message))
}

/// A certificate that no client takes for a name: a common name alone is not looked at (RFC 9525).
fn nameless(pair: &Pair) -> Option<Finding> {
    let subject = pair.nameless.as_ref()?;
    let message = format!(
        "the certificate {} ({subject}) has no name among its subject alternative names: no client finds it by name, a common name is not looked at",
        pair.rules.cert.display(),
    );
    let (path, diagnostic) = warning("no-name", &pair.rules.cert, message);
    let help = "have it issued with the names, for example: openssl req -addext subjectAltName=DNS:www.example.com";
    Some((path, diagnostic.help(help)))
}

/// Certificates that no client is ever shown for a name: an earlier one has it, and suits the same clients.
fn clashes(pairs: &[Pair]) -> Vec<Finding> {
    let mut known = HashMap::<&str, Vec<&Pair>>::new();
    let mut found = Vec::new();
    for pair in pairs {
        let mut told = false;
        for name in &pair.names {
            let known = known.entry(name).or_default();
            if let Some(first) = known.iter().find(|first| first.signs_as(pair))
                && !told
            {
                // One line for a certificate is enough.
                told = true;
                let message = format!(
                    "two certificates are for {name} with the same kind of key: the second, {}, is not used for it; the first is {}",
                    pair.rules.cert.display(),
                    first.rules.cert.display(),
                );
                found.push(warning("name-clash", &pair.rules.cert, message));
            }
            known.push(pair);
        }
    }
    found
}

/// Revocation lists that should have been renewed: no certificate of their authority is taken any more.
fn out_of_date(clients: &ClientCertificates, now: SystemTime) -> Vec<Finding> {
    let Some(path) = &clients.crl else {
        return Vec::new();
    };
    // One that cannot be read is told of elsewhere.
    let lists = read_crls(path).unwrap_or_default();
    let ends = lists.iter().filter_map(|list| {
        let list = CertificateList::<Raw>::from_der(list).ok()?.tbs_cert_list;
        let end = list.next_update?.to_system_time();
        (end < now).then(|| (list.issuer.to_string(), end))
    });
    ends.map(|(issuer, end)| {
        let message = format!(
            "the revocation list of {issuer} ended on {}: its certificates are refused",
            date(end)
        );
        warning("expiry", path, message)
    })
    .collect()
}

/// As ISO 8601 has it, in UTC.
fn date(time: SystemTime) -> String {
    DateTime::try_from(time).map_or_else(
        |_| "a day that has no date".to_owned(),
        |date| date.to_string(),
    )
}

#[cfg(test)]
mod tests;
