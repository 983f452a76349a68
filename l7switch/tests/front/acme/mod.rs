// SPDX-License-Identifier: MIT
//! Certificates that are ordered by ACME, of pebble.

mod authority;
mod hostile;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use l7switch::Options;
use l7switch::Switch;
use l7switch::admin::status;
use l7switch_admin_api::CertificateStatus;
use rcgen::CertificateParams;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use authority::DIRECTORY;
use authority::HTTP;
use authority::HTTPS;
use authority::Identity;
use authority::KEY;
use authority::Pebble;
use authority::Running;
use authority::believing;
use authority::own_address;

use crate::support::get;
use crate::support::load;
use crate::support::until;
use crate::tls::connect;

const QUIET: Pebble = Pebble {
    bad_nonces: 0,
    http: HTTP,
    wants_account: false,
};

/// A test's address, with a folder for what is there.
struct Place {
    address: Ipv4Addr,
    folder: TempDir,
    identity: Identity,
    /// Further lines of the https service.
    secure: String,
}

impl Place {
    fn new() -> Self {
        let (address, folder) = (own_address(), tempfile::tempdir().unwrap());
        let identity = Identity::new(address);
        identity.write(folder.path());
        Self {
            address,
            folder,
            identity,
            secure: String::new(),
        }
    }

    async fn pebble(&self, how: Pebble) -> Running {
        how.start(self.folder.path(), self.address).await
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), port)
    }

    /// Rules that order one certificate for these names; `acme`: further lines of the table.
    fn rules(&self, names: &[&str], acme: &str) -> String {
        let (address, folder) = (self.address, self.folder.path().display());
        let secure = &self.secure;
        format!(
            "[acme]\ndirectory = \"https://{address}:{DIRECTORY}/dir\"\nterms_agreed = true\n\
             state = \"{folder}/state\"\nca = \"{folder}/ca.pem\"\n{acme}\n\
             [service.clear]\nlisten = \"{address}:{HTTP}\"\n\
             [[service.clear.route]]\nrespond = {{ status = 200, body = \"by the rules\" }}\n\
             [service.secure]\nlisten = \"{address}:{HTTPS}\"\nprotocol = \"https\"\n\
             certificates = {{ acme = {names:?} }}\n{secure}\n\
             [[service.secure.route]]\nrespond = {{ status = 200, body = \"fine\" }}\n"
        )
    }

    fn start(&self, names: &[&str], acme: &str) -> Arc<Switch> {
        let rules = load(&self.rules(names, acme));
        Switch::start(rules, None, &Options::default()).unwrap()
    }

    /// Ends a switch, so that the next one finds its addresses free.
    async fn stop(&self, switch: Arc<Switch>) {
        assert!(switch.drain(Duration::from_secs(5)).await);
        drop(switch);
        for port in [HTTP, HTTPS] {
            // A connection's task may hold what is left of it a little longer.
            until(|| std::net::TcpListener::bind((self.address, port)).is_ok()).await;
        }
    }

    /// The certificate that a client of this name is shown, verified by a root.
    async fn shown(&self, root: &CertificateDer<'static>, name: &str) -> Option<Vec<u8>> {
        let stream = connect(&believing(root), self.at(HTTPS), name).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain.first()?.to_vec())
    }

    /// The files of the state folder, below the folder of the directory.
    fn files(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.folder.path().join("state")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The file of the only certificate.
    fn certificate(&self) -> PathBuf {
        let files = self.files();
        let named = |path: &&PathBuf| path.extension().is_some_and(|end| end == "pem");
        files.iter().find(named).unwrap().clone()
    }
}

fn order(switch: &Switch) -> CertificateStatus {
    status(switch).services["secure"].certificates[0].clone()
}

async fn until_ordered(switch: &Switch, times: u64) {
    until(|| {
        let order = order(switch).order.unwrap();
        assert_eq!((&order.error, order.failures), (&None, 0));
        order.orders == times
    })
    .await;
}

async fn until_failed(switch: &Switch, times: u64) -> String {
    until(|| order(switch).order.unwrap().failures == times).await;
    order(switch).order.unwrap().error.unwrap()
}

fn write_private(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A key with its certificate, which expires in so many days of ninety.
fn with_days(names: &[&str], days: u64, place: &Place) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let end = SystemTime::now() + day * u32::try_from(days).unwrap();
    params.not_before = (end - day * 90).into();
    params.not_after = end.into();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &place.identity.issuer).unwrap();
    key.serialize_pem() + &cert.pem()
}

fn refused(switch: &Switch, reason: &str) -> u64 {
    let status = status(switch);
    let refused = &status.services["secure"].refused;
    refused.get(reason).copied().unwrap_or_default()
}

/// Both, though the authority refuses every seventh nonce.
async fn issues(challenge: &str, acme: &str, how: Pebble) {
    let mut place = Place::new();
    // The authority has no certificate to show.
    let ca = place.folder.path().join("ca.pem");
    place.secure = format!("client_certificates = {{ ca = \"{}\" }}", ca.display());
    let pebble = place.pebble(how).await;
    let root = pebble.root(place.folder.path()).await;
    write_private(&place.folder.path().join("account.key"), KEY);
    let names = ["a.acme.test", "b.acme.test"];
    let acme = format!("challenge = \"{challenge}\"\ncontact = \"a@acme.test\"\n{acme}");
    let switch = place.start(&names, &acme);
    assert_eq!(order(&switch).name, "a.acme.test");
    until_ordered(&switch, 1).await;
    let shown = place.shown(&root, "a.acme.test").await.unwrap();
    assert_eq!(place.shown(&root, "b.acme.test").await.unwrap(), shown);
    let told = order(&switch);
    assert_eq!(told.names, names);
    assert!(told.not_after.is_some());
    let metrics = crate::support::metrics(&switch).await;
    for line in [
        "l7switch_certificate_orders_total{name=\"a.acme.test\",result=\"ok\"} 1\n",
        "l7switch_certificate_order_failing{name=\"a.acme.test\"} 0\n",
        "l7switch_certificate_expiry_seconds{service=\"secure\",name=\"a.acme.test\"}",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert_eq!(refused(&switch, "tls_handshake"), 0);
    // Nothing is pending any more.
    for path in [
        "/.well-known/acme-challenge/unknown",
        "/.well-known/acme-challenge/",
        "/",
    ] {
        let (status, _, body) = get(place.at(HTTP), path).await;
        assert_eq!((status, body.as_slice()), (200, &b"by the rules"[..]));
    }
    for file in place.files() {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(place.files().len(), 2, "{:?}", place.files());
}

#[tokio::test]
async fn http_01_gives_a_certificate() {
    let how = Pebble {
        bad_nonces: 15,
        ..QUIET
    };
    issues("http", "", how).await;
}

#[tokio::test]
async fn tls_alpn_01_gives_a_certificate() {
    let how = Pebble {
        bad_nonces: 15,
        ..QUIET
    };
    issues("tls-alpn", "", how).await;
}

#[tokio::test]
async fn an_account_is_bound_to_another() {
    let how = Pebble {
        wants_account: true,
        ..QUIET
    };
    let bound = "external_account = { id = \"kid-1\", key = \"KEY\" }";
    // Without it the account is refused.
    let place = Place::new();
    let _pebble = place.pebble(how).await;
    let switch = place.start(&["a.acme.test"], "");
    let why = until_failed(&switch, 1).await;
    assert!(why.contains("externalAccountRequired"), "{why}");
    drop(switch);
    let key = place.folder.path().join("account.key");
    write_private(&key, format!("{KEY}\n"));
    std::fs::remove_dir_all(place.folder.path().join("state")).unwrap();
    let bound = bound.replace("KEY", &key.display().to_string());
    let second = Place::new();
    let _pebble = second.pebble(how).await;
    until_ordered(&second.start(&["a.acme.test"], &bound), 1).await;
}

#[tokio::test]
async fn a_restart_orders_nothing_and_a_reload_neither() {
    let place = Place::new();
    let pebble = place.pebble(QUIET).await;
    let root = pebble.root(place.folder.path()).await;
    let names = ["a.acme.test"];
    let switch = place.start(&names, "");
    until_ordered(&switch, 1).await;
    let shown = place.shown(&root, "a.acme.test").await.unwrap();
    switch.set(load(&place.rules(&names, ""))).unwrap();
    assert_eq!(order(&switch).order.unwrap().orders, 1);
    assert_eq!(place.shown(&root, "a.acme.test").await.unwrap(), shown);
    place.stop(switch).await;
    drop(pebble);
    // There is no authority any more.
    let switch = place.start(&names, "");
    assert_eq!(place.shown(&root, "a.acme.test").await.unwrap(), shown);
    let order = order(&switch).order.unwrap();
    assert_eq!((order.orders, order.failures), (0, 0));
    let left = Duration::from_secs(order.next) + Duration::from_secs(1);
    assert!(SystemTime::UNIX_EPOCH + left > SystemTime::now() + Duration::from_secs(24 * 3600));
}

/// A name that is added took the certificate from the others until the new one came.
#[tokio::test]
async fn a_name_that_is_added_takes_nothing_from_the_others() {
    let place = Place::new();
    let pebble = place.pebble(QUIET).await;
    let root = pebble.root(place.folder.path()).await;
    let switch = place.start(&["a.acme.test"], "");
    until_ordered(&switch, 1).await;
    let shown = place.shown(&root, "a.acme.test").await.unwrap();
    drop(pebble);
    let both = ["b.acme.test", "a.acme.test"];
    switch.set(load(&place.rules(&both, ""))).unwrap();
    until_failed(&switch, 1).await;
    assert_eq!(place.shown(&root, "a.acme.test").await.unwrap(), shown);
    assert!(place.shown(&root, "b.acme.test").await.is_none());
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_reload() {
    let place = Place::new();
    let pebble = place.pebble(QUIET).await;
    let root = pebble.root(place.folder.path()).await;
    let names = ["a.acme.test"];
    let switch = place.start(&names, "");
    until_ordered(&switch, 1).await;
    let first = place.shown(&root, "a.acme.test").await.unwrap();
    place.stop(switch).await;
    // As if 80 of 90 days had passed.
    write_private(&place.certificate(), with_days(&names, 10, &place));
    let switch = place.start(&names, "");
    let generation = switch.generation().number;
    until_ordered(&switch, 1).await;
    let second = place.shown(&root, "a.acme.test").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(switch.generation().number, generation);
    // Another key.
    let old = public_key(&first);
    assert_ne!(old, public_key(&second));
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    let place = Place::new();
    let names = ["a.acme.test"];
    let pebble = place.pebble(QUIET).await;
    let switch = place.start(&names, "");
    until_ordered(&switch, 1).await;
    place.stop(switch).await;
    drop(pebble);
    // Pebble keeps nothing.
    let _pebble = place.pebble(QUIET).await;
    write_private(&place.certificate(), with_days(&names, 10, &place));
    until_ordered(&place.start(&names, ""), 1).await;
    let old = place.certificate().with_file_name("account.old.json");
    assert!(old.exists());
}

/// The public key of a certificate, with what stands before it in its DER: the point of P-256 that the curve's OID precedes.
fn public_key(der: &[u8]) -> Vec<u8> {
    let curve = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let at = der.windows(curve.len()).position(|part| part == curve);
    der[at.expect("not P-256") + curve.len()..][..68].to_vec()
}

#[tokio::test]
async fn an_authority_that_is_down_or_refuses_is_left_alone_and_what_is_there_is_shown() {
    let place = Place::new();
    let ca = root_of_directory(&place);
    let names = ["a.acme.test"];
    // Nobody is there, and neither is a certificate.
    let switch = place.start(&names, "");
    let why = until_failed(&switch, 1).await;
    assert!(why.contains("/dir: ") && why.contains("refused"), "{why}");
    assert!(place.shown(&ca, "a.acme.test").await.is_none());
    until(|| refused(&switch, "no_certificate") == 1).await;
    let next = order(&switch).order.unwrap().next;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((55..=80).contains(&(next - now)), "{next} {now}");
    let metrics = crate::support::metrics(&switch).await;
    let failing = "l7switch_certificate_order_failing{name=\"a.acme.test\"} 1\n";
    assert!(metrics.contains(failing), "{metrics}");
    place.stop(switch).await;
    // The next process makes no other order before its time.
    let switch = place.start(&names, "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = order(&switch).order.unwrap();
    assert_eq!((told.failures, told.next), (0, next));
    place.stop(switch).await;
    // An old certificate is shown, while an authority is there and finds no answers.
    let retry = place.files().pop().unwrap();
    let name = retry.to_str().unwrap().replace(".retry.json", ".pem");
    std::fs::remove_file(&retry).unwrap();
    write_private(Path::new(&name), with_days(&names, 10, &place));
    let nowhere = Pebble { http: 1, ..QUIET };
    let _pebble = place.pebble(nowhere).await;
    let switch = place.start(&names, "");
    let why = until_failed(&switch, 1).await;
    assert!(
        why.starts_with("a.acme.test: ") && why.contains("onnection"),
        "{why}"
    );
    assert!(place.shown(&ca, "a.acme.test").await.is_some());
}

fn root_of_directory(place: &Place) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(place.folder.path().join("ca.pem")).unwrap()
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_used_is_told_of() {
    let place = Place::new();
    let state = place.folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = || {
        let rules = load(&place.rules(&["a.acme.test"], ""));
        Switch::start(rules, None, &Options::default())
    };
    let error = start().unwrap_err().to_string();
    let wanted = format!("(mode 0755): chmod 700 {}", state.display());
    assert!(
        error.starts_with("acme: ") && error.contains(&wanted),
        "{error}"
    );
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    let switch = start().unwrap();
    until_failed(&switch, 1).await;
    place.stop(switch).await;
    // A certificate that was written by half is told of, and ordered anew.
    let retry = place.files().pop().unwrap();
    let name = retry.to_str().unwrap().replace(".retry.json", ".pem");
    write_private(Path::new(&name), "-----BEGIN CERTIFICATE-----\nMIIB");
    let switch = start().unwrap();
    let error = order(&switch).order.unwrap().error.unwrap();
    assert!(error.contains("a.acme.test-"), "{error}");
    place.stop(switch).await;
    write_private(&retry.with_file_name("account.json"), "{\"contact\": [");
    let error = start().unwrap_err().to_string();
    assert!(
        error.contains("account.json: it holds no account"),
        "{error}"
    );
}
