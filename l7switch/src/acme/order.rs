// SPDX-License-Identifier: MIT
//! One order (RFC 8555, 7.4): account, challenges, certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::Account;
use instant_acme::AccountCredentials;
use instant_acme::AuthorizationHandle;
use instant_acme::AuthorizationStatus;
use instant_acme::CertificateIdentifier;
use instant_acme::ChallengeType;
use instant_acme::ExternalAccountKey;
use instant_acme::Identifier;
use instant_acme::NewAccount;
use instant_acme::NewOrder;
use instant_acme::Order;
use instant_acme::OrderStatus;
use instant_acme::RetryPolicy;
use l7switch_certificates::TlsError;
use l7switch_certificates::file;
use l7switch_rules::model;
use l7switch_rules::model::Challenge;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::pki_types::Der;
use thiserror::Error;

use super::challenge::Challenges;
use super::challenge::Pending;
use super::client::Client;
use crate::net::tls;
use l7switch_certificates::state;
use l7switch_certificates::state::Folder;
use l7switch_certificates::state::StateError;
use l7switch_certificates::state::StoredAccount;

/// For how long the authority may look at challenges, and for how long it may make the certificate.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// Longest key of an external account, bytes of text.
const MOST_KEY: u64 = 16 * 1024;

/// What the authority calls an account that it does not have (RFC 8555, 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// What it calls a nonce that it does not take.
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// Orders that are made one after the other, for want of a good nonce or of an account.
const ATTEMPTS: u32 = 3;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub(super) enum OrderError {
    /// The authority refuses, or cannot be spoken with.
    #[error("{0}")]
    Authority(#[from] instant_acme::Error),
    /// A challenge was not answered as the authority wants it.
    #[error("{name}: {why}")]
    Challenge {
        /// The name.
        name: String,
        /// What the authority says.
        why: String,
    },
    /// A file of the state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file that the rules name.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What an order needs to know.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The authority.
    pub(super) rules: model::Acme,
    /// Where the account is.
    pub(super) folder: Folder,
    /// Names of the certificate.
    pub(super) names: Vec<String>,
    /// The certificate that is replaced (RFC 9773, 5): its identifier.
    pub(super) replaces: Option<(Vec<u8>, Vec<u8>)>,
}

/// Checks the files that the rules name for ACME.
pub(super) fn check_files(rules: &model::Acme) -> Result<(), TlsError> {
    if let Some(ca) = &rules.ca {
        tls::read_roots(ca)?;
    }
    match &rules.external_account {
        Some(bound) => external_key(&bound.key).map(drop),
        None => Ok(()),
    }
}

/// The key of an external account.
fn external_key(path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |why: String| TlsError::File {
        path: path.display().to_string(),
        why,
    };
    let text = file::read(path, MOST_KEY).map_err(|why| error(why.to_string()))?;
    // Some write it with padding, some end the line.
    let text = text.trim_ascii().to_vec();
    let end = text
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |at| at.saturating_add(1));
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.get(..end).unwrap_or_default());
    match key {
        Ok(key) if !key.is_empty() => Ok(key),
        Ok(_) => Err(error("it holds no key".to_owned())),
        Err(why) => Err(error(format!(
            "it holds no key in base64url (RFC 4648, 5): {why}"
        ))),
    }
}

/// A client of the authority.
pub(super) fn client(rules: &model::Acme) -> Result<Client, OrderError> {
    let roots = match &rules.ca {
        Some(ca) => tls::read_roots(ca)?,
        None => tls::system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::from)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::new(&rules.directory, Arc::new(config)))
}

/// The account with the authority; it is made if there is none.
async fn account(wanted: &Wanted, client: Client) -> Result<Account, OrderError> {
    let contact: Vec<&str> = wanted.rules.contact.iter().map(String::as_str).collect();
    if let Some(mut stored) = wanted.folder.account()? {
        let account = known(&stored, client).await?;
        if stored.contact != wanted.rules.contact {
            account.update_contacts(&contact).await?;
            stored.contact.clone_from(&wanted.rules.contact);
            wanted.folder.keep_account(&stored)?;
        }
        return Ok(account);
    }
    let new = NewAccount {
        contact: &contact,
        // The check wants it to be said.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let bound = match &wanted.rules.external_account {
        Some(bound) => {
            let key = external_key(&bound.key)?;
            Some(ExternalAccountKey::new(bound.id.clone(), &key))
        }
        None => None,
    };
    let directory = wanted.rules.directory.clone();
    let builder = Account::builder_with_http(Box::new(client));
    let (account, credentials) = builder.create(&new, directory, bound.as_ref()).await?;
    let credentials = serde_json::to_value(&credentials);
    wanted.folder.keep_account(&StoredAccount {
        contact: wanted.rules.contact.clone(),
        credentials: credentials.map_err(instant_acme::Error::from)?,
    })?;
    Ok(account)
}

async fn known(stored: &StoredAccount, client: Client) -> Result<Account, OrderError> {
    let credentials: AccountCredentials = serde_json::from_value(stored.credentials.clone())
        .map_err(|error| OrderError::Other(format!("account.json: {error}")))?;
    let builder = Account::builder_with_http(Box::new(client));
    Ok(builder.from_credentials(credentials).await?)
}

/// Orders a certificate. Gives a new private key (ECDSA P-256) and the chain, both as PEM.
pub(super) async fn order(
    wanted: &Wanted,
    client: Client,
    challenges: &Arc<Challenges>,
) -> Result<(String, String), OrderError> {
    let mut attempts = 1..ATTEMPTS;
    loop {
        let result = ordered(wanted, client.clone(), challenges).await;
        let has_no_account = is_problem(&result, NO_ACCOUNT);
        if has_no_account {
            // The next order makes another.
            wanted.folder.forget_account()?;
        }
        // A request is sent again three times with another nonce. With some authorities that is not enough.
        let is_worth_it = has_no_account || is_problem(&result, BAD_NONCE);
        if !is_worth_it || attempts.next().is_none() {
            return result;
        }
    }
}

/// Whether an order has failed for this reason.
fn is_problem<T>(result: &Result<T, OrderError>, kind: &str) -> bool {
    match result {
        Err(OrderError::Authority(instant_acme::Error::Api(problem))) => {
            problem.r#type.as_deref() == Some(kind)
        }
        _ => false,
    }
}

async fn ordered(
    wanted: &Wanted,
    client: Client,
    challenges: &Arc<Challenges>,
) -> Result<(String, String), OrderError> {
    let account = account(wanted, client).await?;
    let names: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let mut new = NewOrder::new(&names);
    if let Some(profile) = &wanted.rules.profile {
        new = new.profile(profile);
    }
    if let Some((authority, serial)) = &wanted.replaces {
        new = new.replaces(CertificateIdentifier::new(
            Der::from_slice(authority),
            Der::from_slice(serial),
        ));
    }
    let mut order = account.new_order(&new).await?;
    let pending = answer(&mut order, wanted, challenges).await?;
    if order.state().status != OrderStatus::Ready {
        match order.poll_ready(&POLL).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => (),
            other => return Err(why_not(&mut order, other).await),
        }
    }
    drop(pending);
    let other = |error: rcgen::Error| OrderError::Other(error.to_string());
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(other)?;
    let mut params = CertificateParams::new(wanted.names.clone()).map_err(other)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(other)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLL).await?;
    Ok((key.serialize_pem(), chain))
}

/// Makes the answers to all challenges, and tells the authority that they are there.
async fn answer(
    order: &mut Order,
    wanted: &Wanted,
    challenges: &Arc<Challenges>,
) -> Result<Vec<Pending>, OrderError> {
    let mut pending = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if pending.len() >= wanted.names.len() {
            return Err(OrderError::Other(
                "the authority wants more than was ordered".to_owned(),
            ));
        }
        let name = name_of(&authorization);
        let failed = |why: &str| OrderError::Challenge {
            name: name.clone(),
            why: why.to_owned(),
        };
        if !wanted.names.contains(&name) {
            return Err(failed("it was not ordered"));
        }
        match authorization.status {
            AuthorizationStatus::Pending => (),
            AuthorizationStatus::Valid => continue,
            other => return Err(failed(&format!("the authorization is {other:?}"))),
        }
        let kind = match wanted.rules.challenge {
            Challenge::Http => ChallengeType::Http01,
            Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
        };
        let Some(mut challenge) = authorization.challenge(kind) else {
            return Err(failed("the authority does not offer this challenge"));
        };
        let key = challenge.key_authorization();
        pending.push(match wanted.rules.challenge {
            Challenge::Http => challenges
                .pend_http(&challenge.token, key.as_str())
                .ok_or_else(|| failed("the token of the challenge is none"))?,
            Challenge::TlsAlpn => challenges
                .pend_tls(&name, key.digest().as_ref())
                .map_err(|why| failed(&why))?,
        });
        challenge.set_ready().await?;
    }
    Ok(pending)
}

fn name_of(authorization: &AuthorizationHandle<'_>) -> String {
    match authorization.identifier().identifier {
        Identifier::Dns(name) => name.to_ascii_lowercase(),
        other => format!("{other:?}"),
    }
}

/// Why an order does not become ready: what is said of its challenges, if anything is.
async fn why_not(
    order: &mut Order,
    polled: Result<OrderStatus, instant_acme::Error>,
) -> OrderError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let mut errors = authorization.challenges.iter();
        if let Some(problem) = errors.find_map(|challenge| challenge.error.as_ref()) {
            return OrderError::Challenge {
                name: name_of(&authorization),
                why: problem.to_string(),
            };
        }
    }
    match polled {
        Ok(status) => OrderError::Other(format!("the order is {status:?}")),
        Err(error) => error.into(),
    }
}

/// A time in which the authority wants a certificate to be renewed, and in what time it wants to be asked again (RFC 9773, 4.2);
/// `None`: it says nothing of that.
pub(super) async fn window(
    wanted: &Wanted,
    client: Client,
    (authority, serial): &(Vec<u8>, Vec<u8>),
) -> Result<Option<((SystemTime, SystemTime), Duration)>, OrderError> {
    let Some(stored) = wanted.folder.account()? else {
        return Ok(None);
    };
    let account = known(&stored, client).await?;
    let id = CertificateIdentifier::new(Der::from_slice(authority), Der::from_slice(serial));
    match account.renewal_info(&id).await {
        Ok((info, again)) => {
            let window = info.suggested_window;
            let time = |unix: i64| state::time(u64::try_from(unix).unwrap_or_default());
            let start = time(window.start.unix_timestamp());
            let end = time(window.end.unix_timestamp());
            Ok(Some(((start, end), again)))
        }
        Err(instant_acme::Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_accounts_are_read_as_authorities_write_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            external_key(&path).map_err(|error| error.to_string())
        };
        for good in ["-_8A", "-_8A\n", " -_8A \r\n"] {
            assert_eq!(read(good).unwrap(), [0xfb, 0xff, 0], "{good:?}");
        }
        assert_eq!(read("-_8=\n").unwrap(), [0xfb, 0xff]);
        for bad in ["", "=", "\n", "+/8A", "not a key", "-"] {
            let error = read(bad).unwrap_err();
            assert!(error.contains("it holds no key"), "{bad:?}: {error}");
        }
        assert!(read(&"A".repeat(20_000)).unwrap_err().contains("more than"));
        assert!(external_key(Path::new("/none")).is_err());
    }
}
