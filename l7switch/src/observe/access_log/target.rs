// SPDX-License-Identifier: MIT
//! Where the access log goes, and what writes there.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use std::time::Instant;

use syslog::Facility;
use syslog::Formatter3164;
use syslog::Logger;
use syslog::LoggerBackend;

/// How long is waited before a syslog server that is gone is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where programs on this host find their syslog server.
const LOCAL: &str = "/dev/log";
/// Where the systemd journal listens for the same, also in units without /dev (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/dev-log";

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// A syslog server (RFC 3164) at a UDP address.
    SyslogUdp(SocketAddr),
    /// A syslog server at a Unix socket.
    SyslogUnix(PathBuf),
}

/// `off`, `-`, `journald`, `syslog:ADDRESS`, `syslog:PATH`, or a file.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => return Err("the name of a file is wanted".to_owned()),
            "stdout" | "stderr" => {
                return Err(format!(
                    "- is standard output; ./{text} would be a file of that name"
                ));
            }
            "off" => Self::Off,
            "-" => Self::Stdout,
            "journald" => Self::SyslogUnix(JOURNAL.into()),
            "syslog" => Self::SyslogUnix(LOCAL.into()),
            _ => match text.strip_prefix("syslog:") {
                Some(path) if path.starts_with('/') => Self::SyslogUnix(path.into()),
                Some(address) => Self::SyslogUdp(address.parse().map_err(|_| {
                    format!("`{address}` is neither an IP address with a port nor a path")
                })?),
                None => Self::File(text.into()),
            },
        })
    }
}

/// What has come of an attempt to write: where it has failed, so many lines are lost, and why. `None`: nothing was to be written.
pub(super) type Outcome = Option<Result<(), (u64, io::Error)>>;

/// What writes lines to a target.
pub(super) enum Sink {
    Stdout(Batch),
    File(PathBuf, File, Batch),
    Syslog(Syslog),
}

/// Lines that are written in one piece.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    /// Of the last line that was written, only a part was.
    is_torn: bool,
}

/// Bytes that are gathered at most.
const BATCH: usize = 64 * 1024;

impl Batch {
    /// Takes a line.
    pub(super) fn add(&mut self, line: &str) {
        if std::mem::take(&mut self.is_torn) {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
        self.lines = self.lines.saturating_add(1);
    }

    /// Writes them. Where that fails they are gone, and it says how many.
    pub(super) fn flush(&mut self, out: &mut impl io::Write) -> Outcome {
        if self.bytes.is_empty() {
            return None;
        }
        let lines = std::mem::take(&mut self.lines);
        // The rest of a line that is lost already ends before them.
        let ends_torn = usize::from(self.bytes.first() == Some(&b'\n'));
        let mut rest = self.bytes.as_slice();
        let mut result = Ok(());
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => result = Err((lines, io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => result = Err((lines, error)),
            }
            break;
        }
        if let (Err((lost, _)), Some(written)) =
            (&mut result, self.bytes.len().checked_sub(rest.len()))
        {
            let whole = self.bytes.get(..written).unwrap_or_default();
            let ends = whole.iter().filter(|&&byte| byte == b'\n').count();
            let whole = u64::try_from(ends.saturating_sub(ends_torn)).unwrap_or_default();
            *lost = lost.saturating_sub(whole);
            let last = self.bytes.get(..written).and_then(<[u8]>::last);
            // Where nothing was written, what was torn stays so.
            self.is_torn = last.map_or(ends_torn > 0, |&last| last != b'\n');
        }
        self.bytes.clear();
        Some(result)
    }
}

impl Sink {
    /// Opens a target; `None`: there is nothing to write.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(super) fn open(target: &Target) -> io::Result<Option<Self>> {
        Ok(Some(match target {
            Target::Off => return Ok(None),
            Target::Stdout => Self::Stdout(Batch::default()),
            Target::File(path) => Self::File(path.clone(), append(path)?, Batch::default()),
            Target::SyslogUdp(_) | Target::SyslogUnix(_) => {
                Self::Syslog(Syslog::open(target.clone())?)
            }
        }))
    }

    /// Takes a line. It may be written with [`Sink::flush`] only.
    pub(super) fn line(&mut self, line: &str) -> Outcome {
        match self {
            Self::Stdout(batch) | Self::File(_, _, batch) => {
                batch.add(line);
                if batch.bytes.len() >= BATCH {
                    return self.flush();
                }
                None
            }
            Self::Syslog(syslog) => Some(syslog.send(line).map_err(|error| (1, error))),
        }
    }

    /// Writes what was taken.
    pub(super) fn flush(&mut self) -> Outcome {
        match self {
            Self::Stdout(batch) => {
                let mut out = io::stdout().lock();
                match batch.flush(&mut out) {
                    Some(Ok(())) => Some(out.flush().map_err(|error| (0, error))),
                    outcome => outcome,
                }
            }
            Self::File(_, file, batch) => batch.flush(file),
            Self::Syslog(_) => None,
        }
    }

    /// Opens a file anew, after it was renamed.
    ///
    /// # Errors
    ///
    /// It cannot be opened: the old one stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file, _) = self {
            *file = append(path)?;
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A connection to a syslog server, which may end and come again.
pub(super) struct Syslog {
    target: Target,
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
    /// When it was looked for in vain.
    failed: Option<Instant>,
}

impl Syslog {
    fn open(target: Target) -> io::Result<Self> {
        let logger = Some(connect(&target)?);
        Ok(Self {
            target,
            logger,
            failed: None,
        })
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        if self.logger.is_none() {
            if self.failed.is_some_and(|at| at.elapsed() < AGAIN) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.failed = Some(Instant::now());
            self.logger = Some(connect(&self.target)?);
        }
        let Some(logger) = &mut self.logger else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let sent = logger.info(line);
        sent.map_err(|error| {
            self.logger = None;
            io::Error::other(error.to_string())
        })
    }
}

fn connect(target: &Target) -> io::Result<Logger<LoggerBackend, Formatter3164>> {
    let mut formatter = Formatter3164 {
        facility: Facility::LOG_LOCAL0,
        hostname: None,
        process: "l7switch".to_owned(),
        pid: std::process::id(),
    };
    let connected = match target {
        Target::SyslogUdp(server) => {
            let name = rustix::system::uname();
            formatter.hostname = Some(name.nodename().to_string_lossy().into_owned());
            let any = if server.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            syslog::udp(formatter, any, server)
        }
        Target::SyslogUnix(path) => syslog::unix_custom(formatter, path),
        Target::Off | Target::Stdout | Target::File(_) => {
            return Err(io::ErrorKind::Unsupported.into());
        }
    };
    connected.map_err(|error| io::Error::other(error.to_string()))
}
