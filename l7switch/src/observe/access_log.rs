// SPDX-License-Identifier: MIT
//! The access log: one line per request, written by a thread of its own that never blocks the data
//! path. A queue that is full loses lines, and counts them.

use std::fmt::Write as _;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use std::time::SystemTime;

use serde::Serialize;

/// Lines that may wait for the writer.
const QUEUE: usize = 16 * 1024;

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What a line says. Empty strings and absent values are written as `-` in text, left out in JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// When the request came, RFC 3339, UTC.
    pub time: String,
    /// The client's address and port.
    pub client: String,
    /// The virtual service.
    pub service: String,
    /// The route: its name, or `#n`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// The pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// The real server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Method, as sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Host or TLS server name, as sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Path and query, as sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// HTTP version: `1.0`, `1.1` or `2`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub version: &'static str,
    /// Status of the response; 0: none was sent.
    pub status: u16,
    /// Content bytes from the client.
    pub bytes_in: u64,
    /// Content bytes to the client.
    pub bytes_out: u64,
    /// Seconds from the head of the request to the end of the response.
    pub duration: f64,
    /// Seconds from the head of the request to the head of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<f64>,
    /// The user whose password the request has.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// How it ended: `ok`, or a [reason](crate::observe::reason::Reason).
    pub end: &'static str,
    /// The request's identifier, where the route says `$request_id` or another variable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

impl Line {
    /// The time that a line has for something that began at `time`.
    pub fn timestamp(time: SystemTime) -> String {
        humantime::format_rfc3339_millis(time).to_string()
    }

    /// The line in text, without its end.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(256);
        out.push_str(&self.time);
        for (key, value) in [
            ("client", self.client.as_str()),
            ("service", &self.service),
            ("route", &self.route),
            ("pool", &self.pool),
            ("server", &self.server),
            ("method", &self.method),
            ("host", &self.host),
            ("path", &self.path),
            ("version", self.version),
        ] {
            out.push(' ');
            out.push_str(key);
            out.push('=');
            escape(value, &mut out);
        }
        let _ = write!(
            out,
            " status={} in={} out={} time={:.6}",
            self.status, self.bytes_in, self.bytes_out, self.duration
        );
        match self.first_byte {
            Some(first) => {
                let _ = write!(out, " ttfb={first:.6}");
            }
            None => out.push_str(" ttfb=-"),
        }
        out.push_str(" end=");
        out.push_str(self.end);
        for (key, value) in [("user", &self.user), ("request_id", &self.request_id)] {
            if !value.is_empty() {
                let _ = write!(out, " {key}=");
                escape(value, &mut out);
            }
        }
        out
    }

    /// The line in JSON, without its end.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A value such that no client can forge a line or a key: visible ASCII stays, a quotation mark, a
/// backslash, white space and all else is written as `\xHH`.
fn escape(value: &str, out: &mut String) {
    if value.is_empty() {
        out.push('-');
    }
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => {
                let _ = write!(out, "\\x{byte:02x}");
            }
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

enum Command {
    Line(String),
    Reopen,
    Flush(SyncSender<()>),
}

/// The log's near end. Cheap to use from any thread.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Command>>,
    format: Format,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or the thread not be started.
    pub fn open(target: &Target, format: Format) -> io::Result<Self> {
        let sink = match target {
            Target::Off => {
                return Ok(Self {
                    queue: None,
                    format,
                    dropped: AtomicU64::new(0),
                });
            }
            Target::Stdout => Sink {
                path: None,
                out: None,
            },
            Target::File(path) => Sink {
                out: Some(append(path)?),
                path: Some(path.clone()),
            },
        };
        let (queue, commands) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(sink, &commands))?;
        Ok(Self {
            queue: Some(queue),
            format,
            dropped: AtomicU64::new(0),
        })
    }

    /// Whether lines are wanted at all.
    pub const fn enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a line over, or drops and counts it where the queue is full.
    pub fn write(&self, line: &Line) {
        let Some(queue) = &self.queue else { return };
        let text = match self.format {
            Format::Text => line.text(),
            Format::Json => line.json(),
        };
        if queue.try_send(Command::Line(text)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file anew, after it was renamed.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue
            && queue.try_send(Command::Reopen).is_err()
        {
            tracing::warn!("the access log is busy and was not reopened: send the signal again");
        }
    }

    /// Waits, blocking, until all lines are written, but not longer than a second.
    pub fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, wait) = mpsc::sync_channel(1);
        if queue.try_send(Command::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

struct Sink {
    path: Option<PathBuf>,
    out: Option<BufWriter<File>>,
}

impl Sink {
    fn line(&mut self, text: &str) -> io::Result<()> {
        match &mut self.out {
            Some(out) => {
                out.write_all(text.as_bytes())?;
                out.write_all(b"\n")
            }
            None => writeln!(io::stdout().lock(), "{text}"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Some(out) => out.flush(),
            None => io::stdout().flush(),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let fresh = append(path)?;
            self.flush()?;
            self.out = Some(fresh);
        }
        Ok(())
    }
}

fn append(path: &PathBuf) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::new(
        OpenOptions::new().create(true).append(true).open(path)?,
    ))
}

fn write_lines(mut sink: Sink, commands: &Receiver<Command>) {
    let mut failed = false;
    let mut check = |result: io::Result<()>| {
        if let Err(error) = &result
            && !failed
        {
            tracing::error!(%error, "the access log cannot be written");
        }
        failed = result.is_err();
    };
    while let Ok(first) = commands.recv() {
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Line(text) => check(sink.line(&text)),
                Command::Reopen => check(sink.reopen()),
                Command::Flush(done) => {
                    check(sink.flush());
                    let _ = done.send(());
                }
            }
            next = commands.try_recv().ok();
        }
        check(sink.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            time: "2026-01-01T00:00:00.000Z".to_owned(),
            client: "127.0.0.1:5".to_owned(),
            service: "web".to_owned(),
            path: "/a b\"\n=".to_owned(),
            version: "1.1",
            status: 200,
            bytes_out: 7,
            duration: 0.5,
            end: "ok",
            ..Line::default()
        }
    }

    #[test]
    fn an_identifier_stands_last() {
        let line = Line {
            request_id: "a-1".to_owned(),
            ..line()
        };
        assert!(line.text().ends_with(" end=ok request_id=a-1"));
        assert!(line.json().contains("\"request_id\":\"a-1\""));
    }

    #[test]
    fn text_cannot_be_forged() {
        assert_eq!(
            line().text(),
            "2026-01-01T00:00:00.000Z client=127.0.0.1:5 service=web route=- pool=- server=- method=- \
             host=- path=/a\\x20b\\x22\\x0a= version=1.1 status=200 in=0 out=7 time=0.500000 ttfb=- \
             end=ok"
        );
    }

    #[test]
    fn json_leaves_out_what_is_not_known() {
        let value: serde_json::Value = serde_json::from_str(&line().json()).unwrap();
        assert_eq!(value["path"], "/a b\"\n=");
        assert_eq!(value["status"], 200);
        assert!(value.get("pool").is_none());
    }

    #[test]
    fn a_renamed_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = AccessLog::open(&Target::File(path.clone()), Format::Text).unwrap();
        log.write(&line());
        log.flush();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        log.reopen();
        log.write(&line());
        log.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(
            std::fs::read_to_string(folder.path().join("old"))
                .unwrap()
                .lines()
                .count(),
            1
        );
    }
}
