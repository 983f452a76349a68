// SPDX-License-Identifier: MIT
//! curl as a client.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use super::PATIENCE;
use super::process::program;

/// A call of curl that is being put together.
#[derive(Debug)]
pub(crate) struct Curl(Command);

/// What curl got.
#[derive(Clone)]
pub(crate) struct Answer {
    /// curl's exit status, see curl(1); 0 is success.
    pub(crate) exit: i32,
    /// What curl says about a failure.
    pub(crate) errors: String,
    /// Status code, 0 where there was no response.
    pub(crate) status: u16,
    /// `1.0`, `1.1` or `2`.
    pub(crate) version: String,
    /// Every response head, interim ones included, in order.
    pub(crate) heads: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// Printed behind the body; curl's write-out cannot go elsewhere.
const MARK: &str = "\n--curl-- ";

/// curl that knows no configuration and no proxies of the machine.
pub(crate) fn curl() -> Curl {
    let mut command = program("curl", "curl");
    command.stdin(Stdio::null());
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time"]);
    command.arg(PATIENCE.as_secs().to_string());
    Curl(command)
}

impl Curl {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn header(self, field: &str) -> Self {
        self.args(["-H", field])
    }

    /// Uploads a file without saying its length beforehand.
    pub(crate) fn upload_stream(mut self, file: &Path) -> Self {
        self.0.args(["-T", "-"]).stdin(File::open(file).unwrap());
        self
    }

    /// The command, for those who want to start it themselves.
    pub(crate) fn command(mut self, url: &str) -> Command {
        self.0.arg(url);
        self.0
    }

    /// Runs it with this URL and gathers what it gets.
    pub(crate) fn get(mut self, url: &str) -> Answer {
        let heads = tempfile::NamedTempFile::new().unwrap();
        self.0.arg("-D").arg(heads.path());
        self.0.args([
            "-w",
            &format!(
                "{}%{{http_code}} %{{http_version}}",
                MARK.replace('\n', "\\n")
            ),
        ]);
        let out = self.command(url).output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        let mark = out
            .stdout
            .windows(MARK.len())
            .rposition(|window| window == MARK.as_bytes())
            .unwrap_or_else(|| panic!("curl wrote no summary: {errors}"));
        let summary = std::str::from_utf8(&out.stdout[mark + MARK.len()..]).unwrap();
        let (status, version) = summary.split_once(' ').unwrap();
        let heads = std::fs::read_to_string(heads.path()).unwrap();
        Answer {
            exit: out.status.code().unwrap_or(-1),
            errors,
            status: status.parse().unwrap(),
            version: match version {
                "1" => "1.0".to_owned(),
                other => other.to_owned(),
            },
            heads: heads
                .split_inclusive("\r\n\r\n")
                .map(str::to_owned)
                .collect(),
            body: out.stdout[..mark].to_vec(),
        }
    }

    /// The same, and it has to succeed with 200.
    #[track_caller]
    pub(crate) fn ok(self, url: &str) -> Answer {
        let answer = self.get(url);
        assert_eq!((answer.exit, answer.status), (0, 200), "{url}: {answer:?}");
        answer
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first field of a name in the final head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.heads.last()?.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The real server that says it has answered; empty where none does.
    pub(crate) fn served_by(&self) -> &str {
        self.field("x-served-by").unwrap_or_default()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "curl {} {} {:?} ", self.exit, self.errors, self.heads)?;
        shorten(&self.body).fmt(f)
    }
}

/// The beginning of a body, for messages.
pub(crate) fn shorten(body: &[u8]) -> String {
    const LENGTH: usize = 300;
    let shown = String::from_utf8_lossy(&body[..body.len().min(LENGTH)]).into_owned();
    if body.len() > LENGTH {
        format!("{shown}… ({} bytes)", body.len())
    } else {
        shown
    }
}
