// SPDX-License-Identifier: MIT
//! The names in a client's certificate by which somebody may be given a role.

use std::fmt::Display;
use std::fmt::Formatter;
use std::str::FromStr;

use x509_cert::certificate::CertificateInner;
use x509_cert::certificate::Raw;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// How names are written.
const FORMS: &str = "cn:NAME, dns:NAME, uri:URI or email:ADDRESS";

/// A name in a certificate. Each kind is a kind of its own: an authority may look at one of them more closely than at another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientName {
    /// The common name of the subject.
    Common(String),
    /// A DNS name of the subject alternative names, in lower case.
    Dns(String),
    /// A URI of them, such as a SPIFFE ID.
    Uri(String),
    /// An e-mail address of them, its domain in lower case.
    Email(String),
}

impl ClientName {
    fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }

    /// Local parts differ by their case, domains do not (RFC 5280, 7.5).
    fn email(address: &str) -> Self {
        Self::Email(match address.rsplit_once('@') {
            Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
            None => address.to_owned(),
        })
    }

    /// The names in a certificate's DER; none where it cannot be read. A subject with several common names has none: nobody could say
    /// which one the authority has looked at.
    pub fn all_of(der: &[u8]) -> Vec<Self> {
        let Ok(parsed) = CertificateInner::<Raw>::from_der(der) else {
            return Vec::new();
        };
        let certificate = parsed.tbs_certificate();
        let subject = certificate.subject();
        let commons = subject.iter().filter(|part| part.oid == COMMON_NAME);
        let common = match commons.count() {
            1 => subject.common_name().ok().flatten(),
            _ => None,
        };
        let common = common.map(|name| Self::Common(name.value().into_owned()));
        // One that cannot be read gives nobody a role.
        let others = certificate.get_extension::<SubjectAltName>();
        let others = others.ok().flatten().map(|(_, names)| names.0);
        let others = others.into_iter().flatten();
        let others = others.filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(Self::dns(name.as_str())),
            GeneralName::UniformResourceIdentifier(uri) => Some(Self::Uri(uri.as_str().to_owned())),
            GeneralName::Rfc822Name(address) => Some(Self::email(address.as_str())),
            _ => None,
        });
        common.into_iter().chain(others).collect()
    }
}

impl Display for ClientName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Common(name) => write!(f, "cn:{name}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Email(address) => write!(f, "email:{address}"),
        }
    }
}

impl FromStr for ClientName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = text.split_once(':').filter(|(_, name)| !name.is_empty());
        let Some((kind, name)) = kind else {
            return Err(format!("`{text}` has no kind: write {FORMS}"));
        };
        let is_ascii = name.bytes().all(|byte| byte.is_ascii_graphic());
        match kind.to_ascii_lowercase().as_str() {
            "cn" => Ok(Self::Common(name.to_owned())),
            "dns" if is_ascii => Ok(Self::dns(name)),
            "uri" if is_ascii && name.contains(':') => Ok(Self::Uri(name.to_owned())),
            "email" if is_ascii && name.contains('@') => Ok(Self::email(name)),
            "dns" | "uri" | "email" => Err(format!("`{text}` stands in no certificate")),
            // What is most often meant.
            _ if text.contains("://") => Err(format!("`{text}` has no kind: write uri:{text}")),
            _ => Err(format!("`{kind}:` is no kind of names: write {FORMS}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;
    use rcgen::DistinguishedName;
    use rcgen::DnType;
    use rcgen::DnValue;
    use rcgen::KeyPair;
    use rcgen::SanType;

    use super::*;

    fn of(commons: &[&str], others: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = others;
        let names = &mut params.distinguished_name;
        names.push(DnType::OrganizationName, "ops");
        for (number, name) in commons.iter().enumerate() {
            // Of one kind, rcgen takes one.
            let kind = match number {
                0 => DnType::CommonName,
                _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
            };
            names.push(kind, DnValue::Utf8String((*name).to_owned()));
        }
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let all = ClientName::all_of(cert.der());
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_those_of_their_kind() {
        let uri = "spiffe://example.com/Ops";
        let others = vec![
            SanType::DnsName("Ops.Example.COM".try_into().unwrap()),
            SanType::URI(uri.try_into().unwrap()),
            SanType::Rfc822Name("Ops@Example.COM".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
        ];
        assert_eq!(
            of(&["Alice"], others),
            [
                "cn:Alice",
                "dns:ops.example.com",
                "uri:spiffe://example.com/Ops",
                "email:Ops@example.com",
            ]
        );
        assert_eq!(of(&["dns:alice"], Vec::new()), ["cn:dns:alice"]);
        assert!(of(&["alice", "root"], Vec::new()).is_empty());
        assert!(of(&[], Vec::new()).is_empty());
        assert!(ClientName::all_of(b"none").is_empty());
    }

    #[test]
    fn a_name_says_its_kind() {
        for (text, expected) in [
            ("cn:alice", Some("cn:alice")),
            ("CN:Alice, Inc.", Some("cn:Alice, Inc.")),
            ("DNS:Ops.Example", Some("dns:ops.example")),
            ("URI:spiffe://a/B", Some("uri:spiffe://a/B")),
            ("email:A@B.Example", Some("email:A@b.example")),
            ("alice", None),
            ("ops.example", None),
            ("a@b.example", None),
            ("spiffe://a/b", None),
            ("uri:ops", None),
            ("email:ops", None),
            ("dns:a b", None),
            ("dns:\u{fc}.example", None),
            ("cn:", None),
            (":alice", None),
            ("ip:10.0.0.1", None),
            ("", None),
        ] {
            let parsed = text.parse::<ClientName>().ok();
            let parsed = parsed.map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
        let why = |text: &str| text.parse::<ClientName>().unwrap_err();
        assert!(why("alice").ends_with(FORMS), "{}", why("alice"));
        assert!(why("spiffe://a/b").ends_with("write uri:spiffe://a/b"));
    }
}
