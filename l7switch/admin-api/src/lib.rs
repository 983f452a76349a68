// SPDX-License-Identifier: MIT
//! The admin API's requests and answers, shared by `l7switch` and `l7ctl`.
//!
//! HTTP/1 with JSON over a Unix socket, or over TCP with TLS; `docs/admin-api.md` is the reference. Fields may be added;
//! readers ignore those that they do not know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

mod description;
mod events;
mod operation;
mod requests;
mod routes;
mod times;

pub use description::description;
pub use events::Event;
pub use events::Events;
pub use events::Level;
pub use operation::Operation;
pub use requests::Maintenance;
pub use requests::Question;
pub use requests::ServerChange;
pub use requests::ServiceChange;
pub use requests::WantedState;
pub use routes::KernelCounted;
pub use routes::KernelNumbers;
pub use routes::KernelRoute;
pub use routes::KernelServer;
pub use routes::KernelService;
pub use routes::RouteStatus;
pub use routes::Routes;
pub use times::Times;

/// The admin socket unless another is named: `/run/l7switch/admin.sock` as root; else
/// `$XDG_RUNTIME_DIR/l7switch.sock`, or `/tmp/l7switch-UID.sock` without that.
///
/// Root always finds the machine's switch, also in a session that has a folder of its own.
pub fn default_path() -> PathBuf {
    let session = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    path_for(own_uid(), session.map(PathBuf::from))
}

fn path_for(uid: Option<u32>, session: Option<PathBuf>) -> PathBuf {
    match (uid, session) {
        (Some(0), _) => PathBuf::from("/run/l7switch/admin.sock"),
        (_, Some(folder)) => folder.join("l7switch.sock"),
        (Some(uid), None) => PathBuf::from(format!("/tmp/l7switch-{uid}.sock")),
        (None, None) => PathBuf::from("/tmp/l7switch.sock"),
    }
}

/// The user whose process this is, as procfs shows it: no foreign function is needed for it.
fn own_uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|data| data.uid())
}

/// Answer to `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the running switch.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it began.
    pub uptime: f64,
    /// Number of the rule set in force; 1 is the first, each successful reload adds one, as does each change of a name's
    /// addresses.
    pub generation: u64,
    /// Rule file or folder.
    pub rules: Option<PathBuf>,
    /// Successful reloads.
    pub reloads: u64,
    /// Refused reloads.
    pub reload_failures: u64,
    /// Why the last reload was refused; null when it succeeded.
    pub last_error: Option<String>,
    /// Whether the switch is draining before it ends.
    pub draining: bool,
    /// Lines that the access log lost because its reader was too slow.
    pub access_log_dropped: u64,
    /// Virtual services, by name.
    pub services: BTreeMap<String, ServiceStatus>,
    /// Pools in the rules in force.
    #[serde(default)]
    pub pools: BTreeMap<String, PoolStatus>,
    /// Names of servers in the rules in force.
    #[serde(default)]
    pub names: BTreeMap<String, NameStatus>,
    /// The kernel module.
    #[serde(default)]
    pub kernel: KernelStatus,
    /// How often the front's place was taken over, and was not.
    #[serde(default)]
    pub take_overs: TakeOvers,
    /// The state file; null where there is none.
    #[serde(default)]
    pub state_file: Option<StateFileStatus>,
}

/// How often the place of the front was taken over, and was not, over all processes that have had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakeOvers {
    /// Successors that have taken it.
    pub taken: u64,
    /// Successors that failed before they had it.
    pub failed: u64,
    /// Processes that were not let in: of another user or version, or while another one took it.
    pub refused: u64,
}

/// What has become of the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateFileStatus {
    /// Where it is.
    pub path: PathBuf,
    /// How often it was written.
    pub writes: u64,
    /// How often it could not be.
    pub failures: u64,
    /// Why it cannot be now; null: it can.
    pub error: Option<String>,
}

/// How a pool stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStatus {
    /// Requests (or connections) that wait for a server now.
    pub queued: u64,
    /// Requests that were sent to another server since the start, each as often as it was.
    pub retries: u64,
    /// Those that were not, as the budget did not allow it.
    pub retries_refused: u64,
}

/// What the switch knows of a name of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameStatus {
    /// Its addresses that are known.
    pub addresses: u64,
    /// Look-ups that gave addresses.
    pub resolutions: u64,
    /// Look-ups that failed; what was known before is kept.
    pub failures: u64,
    /// Why the last one failed; null when it did not.
    pub error: Option<String>,
}

/// What the switch knows of the kernel module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelStatus {
    /// How it stands.
    pub state: KernelState,
    /// Generation of the table in the kernel, as the kernel counts; null where that is not known.
    pub generation: Option<u64>,
    /// Why it is not used, in words; null where that is clear.
    pub why: Option<String>,
    /// Tables that the kernel took.
    pub loads: u64,
    /// Tables that the kernel refused.
    pub refusals: u64,
    /// Loads that failed otherwise.
    pub failures: u64,
    /// Changes of real servers that were set in the kernel.
    pub changes_sent: u64,
    /// Changes of real servers that others set in the kernel and that were taken over.
    pub changes_taken: u64,
}

/// How the kernel module stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KernelState {
    /// It is not to be used.
    #[default]
    Off,
    /// It is not there.
    Absent,
    /// It is there, and the switch may not use it.
    NotPermitted,
    /// It has the rules in force.
    Loaded,
    /// It has refused the rules in force, and switches nothing of them.
    Refused,
    /// Someone else has loaded a table after the switch did.
    Replaced,
    /// Someone else has taken the table away.
    Unloaded,
    /// It cannot be spoken with; that is tried again.
    Failed,
}

impl KernelState {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Absent => "absent",
            Self::NotPermitted => "not-permitted",
            Self::Loaded => "loaded",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::Unloaded => "unloaded",
            Self::Failed => "failed",
        }
    }
}

/// A virtual service's counts since the switch began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// `http`, `https`, `tls` or `tcp`.
    pub protocol: String,
    /// Addresses that are bound, in the order of the rule file.
    pub listen: Vec<SocketAddr>,
    /// Client connections now.
    pub active: u64,
    /// Client connections since the start.
    pub connections: u64,
    /// Requests (connections, for `tls` and `tcp`).
    pub requests: u64,
    /// Interim responses of servers that were not passed on: a request had more than 100.
    #[serde(default)]
    pub interim_dropped: u64,
    /// Content bytes from clients.
    pub bytes_in: u64,
    /// Content bytes to clients.
    pub bytes_out: u64,
    /// Responses by class: keys `1xx` to `5xx`.
    pub responses: BTreeMap<String, u64>,
    /// What was refused, by reason; reasons that did not occur are absent.
    pub refused: BTreeMap<String, u64>,
    /// Requests by route: the name, or `#n` by position.
    pub routes: BTreeMap<String, u64>,
    /// Times from a request's head to its response's head, in the front.
    #[serde(default)]
    pub first_byte: Times,
    /// Copies of requests to mirrors by what became of them: `sent`, `failed`, `skipped`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mirrored: BTreeMap<String, u64>,
    /// Whether it is closed for maintenance; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Whether an administrator has said so, and not the rule file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maintenance_told: bool,
    /// Certificates of an `https` service, in the order of the rule file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
}

/// A certificate that clients are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateStatus {
    /// Its first name; its file where it has none.
    pub name: String,
    /// All of its DNS names.
    pub names: Vec<String>,
    /// The file.
    pub file: PathBuf,
    /// From when it is good, Unix time in seconds; null where that is not known.
    pub not_before: Option<u64>,
    /// To when it is good, Unix time in seconds; null where that is not known.
    pub not_after: Option<u64>,
    /// How the orders of it go; absent where it is not ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderStatus>,
}

/// How the orders of a certificate by ACME go, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStatus {
    /// Certificates that came.
    pub orders: u64,
    /// Orders that failed.
    pub failures: u64,
    /// When the next one is made, Unix time in seconds; 0: at once.
    pub next: u64,
    /// Why the last one failed; null when it did not.
    pub error: Option<String>,
}

/// Answer to `GET /v1/servers` and, with the changed entries, to `PATCH`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Servers {
    /// One entry for every server of every pool.
    pub servers: Vec<ServerStatus>,
}

/// A real server as a member of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerStatus {
    /// The pool.
    pub pool: String,
    /// The server: an IP address and a port, or `unix:` and the path of a Unix socket.
    pub address: String,
    /// The name in the rules that its address was found by; null: the rules give the address.
    #[serde(default)]
    pub name: Option<String>,
    /// Weight in the rule file.
    pub weight: u32,
    /// Weight in force: what an administrator set, 0 while draining.
    pub effective_weight: u32,
    /// Whether it gets requests only while no other server of the pool can.
    pub backup: bool,
    /// Whether it gets requests.
    pub state: ServerState,
    /// Since when it is in this state, Unix time in seconds.
    #[serde(default)]
    pub since: u64,
    /// Why it is not up, for people; null: it is.
    #[serde(default)]
    pub why: Option<String>,
    /// When its ejection ends, Unix time in seconds; null: it is not ejected.
    #[serde(default)]
    pub back: Option<u64>,
    /// What the active check says; null without one.
    pub health: Option<Health>,
    /// The last active check; null: there was none.
    #[serde(default)]
    pub last_check: Option<LastCheck>,
    /// Requests (or connections) now.
    pub active: u64,
    /// Requests (or connections) since the start.
    pub total: u64,
    /// Those that failed.
    pub failures: u64,
    /// Its responses by class, `1xx` to `5xx`, also those that clients did not get.
    #[serde(default)]
    pub responses: BTreeMap<String, u64>,
    /// Connections on which bytes came behind an answer.
    pub surplus: u64,
    /// Idle connections kept for reuse.
    pub idle: u64,
    /// Peak-EWMA of the time to first byte, milliseconds.
    pub ewma_ms: f64,
    /// Times to the response's head. Null: none, or counted with those of other servers.
    #[serde(default)]
    pub first_byte: Option<Times>,
}

/// The last active check of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastCheck {
    /// When it ended, Unix time in seconds.
    pub at: u64,
    /// How long it took, milliseconds.
    pub took_ms: f64,
    /// What was wrong, for people; null: nothing.
    pub error: Option<String>,
}

/// Whether a real server gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It does.
    Up,
    /// The active check failed.
    Down,
    /// An administrator took it out; requests in progress finish.
    Draining,
    /// Passive checks took it out for a while.
    Ejected,
}

impl ServerState {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Ejected => "ejected",
        }
    }
}

/// What the active check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Healthy.
    Up,
    /// Not.
    Down,
}

/// An object of JSON whose keys are told elsewhere.
type Object = serde_json::Map<String, serde_json::Value>;

/// Answer to `POST /v1/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// Number of the rule set in force.
    pub generation: u64,
    /// What `l7ctl explain --json` shows of a file.
    #[schemars(with = "Object")]
    pub explanation: serde_json::Value,
    /// The same as a person reads it.
    pub text: String,
    /// Servers of the pools that the request may reach.
    pub servers: Vec<ServerStatus>,
}

/// Answer to `GET /v1/rules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RulesInForce {
    /// Number of the rule set in force.
    pub generation: u64,
    /// Rule file or folder.
    pub rules: Option<PathBuf>,
    /// What they mean, every default filled in. Its keys are no interface: they may change with each version.
    #[schemars(with = "Object")]
    pub model: serde_json::Value,
}

/// Answer to `GET /v1/role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allowed {
    /// What whoever asks may do.
    pub role: Role,
    /// Whether anybody may operate here.
    pub operable: bool,
}

/// What somebody may do. Who may do more may do all before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read metrics.
    Scrape,
    /// Read all documents.
    Read,
    /// Change what can be changed.
    Operate,
}

/// Answer to a successful `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Number of the rule set now in force.
    pub generation: u64,
    /// What the check warned of.
    pub warnings: Vec<String>,
}

/// Every error: the body that goes with a status of 400 and above.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What is wrong, for people.
    pub error: String,
    /// Names that exist, where an unknown one was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
    /// For a refused reload: what is wrong in the rule file, as `l7ctl check --json` says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Object>")]
    pub diagnostics: Vec<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_one_path_in_every_session() {
        let path = |uid, session: Option<&str>| path_for(uid, session.map(PathBuf::from));
        let session = Some("/run/user/7");
        for (uid, session, expected) in [
            (Some(0), None, "/run/l7switch/admin.sock"),
            (Some(0), session, "/run/l7switch/admin.sock"),
            (Some(7), session, "/run/user/7/l7switch.sock"),
            (Some(7), None, "/tmp/l7switch-7.sock"),
            (None, session, "/run/user/7/l7switch.sock"),
            (None, None, "/tmp/l7switch.sock"),
        ] {
            assert_eq!(path(uid, session), PathBuf::from(expected), "{uid:?}");
        }
    }
}
