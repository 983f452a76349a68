// SPDX-License-Identifier: MIT
//! What is known of a request when it is over.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::SystemTime;

use super::field::Field;
use super::field::Value;
use super::field::escape;

/// What a line can say: [`Field`] has the meaning of each. Empty strings and absent values are not known.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of the same names have the words")]
pub struct Line {
    pub time: SystemTime,
    pub client: String,
    pub service: String,
    pub route: String,
    pub pool: String,
    pub server: String,
    pub method: String,
    pub host: String,
    pub path: String,
    pub version: &'static str,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: f64,
    pub first_byte: Option<f64>,
    pub user: String,
    pub end: &'static str,
    pub request_id: String,
    pub scheme: &'static str,
    pub tls_version: &'static str,
    pub server_name: String,
    pub user_agent: String,
    pub referrer: String,
    pub server_wait: Option<f64>,
    pub server_first_byte: Option<f64>,
    pub attempts: u32,
    pub trace_id: String,
}

impl Line {
    /// Of a request that came at `time`.
    pub fn new(time: SystemTime) -> Self {
        Self {
            time,
            client: String::new(),
            service: String::new(),
            route: String::new(),
            pool: String::new(),
            server: String::new(),
            method: String::new(),
            host: String::new(),
            path: String::new(),
            version: "",
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            duration: 0.0,
            first_byte: None,
            user: String::new(),
            end: "",
            request_id: String::new(),
            scheme: "",
            tls_version: "",
            server_name: String::new(),
            user_agent: String::new(),
            referrer: String::new(),
            server_wait: None,
            server_first_byte: None,
            attempts: 0,
            trace_id: String::new(),
        }
    }

    /// A server is tried.
    pub fn tries(&mut self, server: String) {
        self.server = server;
        self.attempts = self.attempts.saturating_add(1);
    }

    pub(super) fn timestamp(&self) -> String {
        humantime::format_rfc3339_millis(self.time).to_string()
    }

    /// The client's address without its port, where one is known; an IPv6 address without its brackets.
    pub(in crate::observe) fn client_address(&self) -> &str {
        if self.client.parse::<IpAddr>().is_ok() {
            return &self.client;
        }
        let address = self.client.rsplit_once(':').map_or("", |(ip, _)| ip);
        address
            .strip_prefix('[')
            .and_then(|address| address.strip_suffix(']'))
            .unwrap_or(address)
    }

    /// `10/Oct/2000:13:55:36 +0000`.
    pub(super) fn time_local(&self) -> String {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        // "2000-10-10T13:55:36Z".
        let time = humantime::format_rfc3339_seconds(self.time).to_string();
        let part = |range: std::ops::Range<usize>| time.get(range).unwrap_or_default();
        let month = part(5..7)
            .parse()
            .ok()
            .and_then(|n: usize| n.checked_sub(1));
        let month = month.and_then(|n| MONTHS.get(n)).copied();
        format!(
            "{}/{}/{}:{} +0000",
            part(8..10),
            month.unwrap_or("-"),
            part(0..4),
            part(11..19)
        )
    }

    /// `GET /path HTTP/1.1`; of connections of which nothing is read, nothing.
    pub(super) fn request(&self) -> String {
        if self.method.is_empty() {
            return String::new();
        }
        format!("{} {} HTTP/{}", self.method, self.path, self.version)
    }

    /// These fields in text, without the end of the line.
    pub(super) fn text(&self, fields: &[Field]) -> String {
        let mut out = String::with_capacity(256);
        for &field in fields {
            let value = field.value(self);
            let is_optional = matches!(field, Field::User | Field::RequestId | Field::TraceId);
            if is_optional && value == Value::Text("".into()) {
                continue;
            }
            if !out.is_empty() {
                out.push(' ');
            }
            // The time of the request is told apart by its place: `time` is the duration.
            if field != Field::Time {
                out.push_str(field.key());
                out.push('=');
            }
            write(&value, false, &mut out);
        }
        out
    }

    /// These fields as an object of JSON, without the end of the line.
    pub(super) fn json(&self, fields: &[Field]) -> String {
        let mut out = String::with_capacity(384);
        out.push('{');
        for &field in fields {
            let value = match field.value(self) {
                Value::Text(text) if text.is_empty() => continue,
                Value::Seconds(None) => continue,
                Value::Text(text) => serde_json::to_string(&text),
                Value::Number(number) => serde_json::to_string(&number),
                Value::Seconds(seconds) => serde_json::to_string(&seconds),
            };
            if out.len() > 1 {
                out.push(',');
            }
            let _ = write!(
                out,
                "\"{}\":{}",
                field.name(),
                value.as_deref().unwrap_or("null")
            );
        }
        out.push('}');
        out
    }
}

/// Writes a value in text; what is not known is `-`.
pub(super) fn write(value: &Value<'_>, spaces: bool, out: &mut String) {
    match value {
        Value::Text(text) if text.is_empty() => out.push('-'),
        Value::Text(text) => escape(text, spaces, out),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Seconds(Some(seconds)) => {
            let _ = write!(out, "{seconds:.6}");
        }
        Value::Seconds(None) => out.push('-'),
    }
}
