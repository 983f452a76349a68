// SPDX-License-Identifier: MIT
//! Checking what services and pools say of TLS: certificates, versions, certificates of clients. Files are not read.

use super::Check;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::CertificateText;
use crate::text::language::ClientCertificatesText;
use crate::text::language::TlsText;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::OneOrMany;

/// Where TLS ends for a service that does not end it itself.
const ELSEWHERE: &str = "a tls service passes TLS through; the real server has the certificate";

impl Check<'_> {
    /// The certificates of a service.
    pub(super) fn certificates(
        &mut self,
        service: &mut Service,
        (broken, span): (bool, Span),
        given: Option<At<OneOrMany<At<CertificateText>>>>,
    ) {
        let https = service.protocol == Protocol::Https;
        let list = given.as_ref().map(|given| given.span);
        let given = given.map_or_else(Vec::new, |given| given.value.0);
        if given.is_empty() && https {
            let message = format!("service `{}` has no certificate", service.name);
            let help = "add: certificates = { cert = \"chain.pem\", key = \"key.pem\" }, or { acme = \"www.example.com\" }";
            self.absent(broken, (span, list), message, help);
        }
        for given in given {
            if !https {
                let message = "certificates are for protocol = \"https\"";
                self.note(Diagnostic::error("impossible", given.span, message).help(ELSEWHERE));
            }
            let certificate = match &given.value.acme {
                Some(names) => self.ordered(&given, names).map(ServiceCertificate::Ordered),
                None => self.certificate(&given).map(ServiceCertificate::Files),
            };
            if let Some(certificate) = certificate {
                service.certificates.push(certificate);
            }
        }
    }

    /// A certificate with its key.
    pub(super) fn certificate(&mut self, given: &At<CertificateText>) -> Option<Certificate> {
        let text = &given.value;
        if let Some(names) = &text.acme {
            let message = "`acme` is for certificates that clients are shown";
            let help = "give `cert` and `key`: this one is shown to servers";
            self.note(Diagnostic::error("impossible", names.span, message).help(help));
            return None;
        }
        let (Some(cert), Some(key)) = (&text.cert, &text.key) else {
            let message = "a certificate needs `cert` and `key`".to_owned();
            let help = "give both as paths of PEM files";
            self.missing(text.broken, given.span, message, help);
            return None;
        };
        Some(Certificate {
            cert: self.file(cert),
            key: self.file(key),
            ocsp: text.ocsp.as_ref().map(|ocsp| self.file(ocsp)),
        })
    }

    /// The certificates that clients are asked for.
    pub(super) fn client_certificates(
        &mut self,
        protocol: Protocol,
        given: Option<At<ClientCertificatesText>>,
    ) -> Option<ClientCertificates> {
        let At { value: text, span } = given?;
        if protocol != Protocol::Https {
            let message = "client certificates are for protocol = \"https\"";
            self.note(Diagnostic::error("impossible", span, message).help(ELSEWHERE));
        }
        let Some(ca) = &text.ca else {
            let message = "the authority of the client certificates is missing".to_owned();
            self.missing(text.broken, span, message, "add: ca = \"ca.pem\"");
            return None;
        };
        Some(ClientCertificates {
            ca: self.file(ca),
            required: text.required.unwrap_or(true),
            crl: text.crl.as_ref().map(|crl| self.file(crl)),
        })
    }

    /// How a service speaks TLS, but for certificates of clients.
    pub(super) fn tls(&mut self, protocol: Protocol, given: Option<At<TlsText>>) -> ServiceTls {
        let mut tls = ServiceTls::default();
        let Some(At { value, span }) = given else {
            return tls;
        };
        if protocol != Protocol::Https {
            let message = "`tls` of a service is for protocol = \"https\"";
            let help = match protocol {
                Protocol::Tls => ELSEWHERE,
                _ => "write protocol = \"https\", and give the service `certificates`",
            };
            self.note(Diagnostic::error("impossible", span, message).help(help));
        }
        if let Some(version) = value.min_version {
            tls.min_version = version.value.0;
        }
        if let Some(curves) = value.curves {
            if curves.value.0.is_empty() {
                let message = "without a curve there is no key exchange";
                self.note(
                    Diagnostic::error("empty-list", curves.span, message)
                        .help("name some, or leave `curves` out"),
                );
            }
            tls.curves.clear();
            for At { value: word, span } in curves.value.0 {
                if tls.curves.contains(&word.0) {
                    let message = "the curve was named before";
                    self.note(Diagnostic::error("duplicate", span, message));
                } else {
                    tls.curves.push(word.0);
                }
            }
            let is_common = tls.curves.iter().any(|curve| curve.is_for_12());
            if tls.min_version == TlsVersion::V12 && !is_common && !tls.curves.is_empty() {
                let message = "no client of TLS 1.2 has one of these curves";
                self.note(
                    Diagnostic::error("impossible", curves.span, message)
                        .help("add \"X25519\", or write min_version = \"1.3\""),
                );
            }
        }
        tls
    }
}
