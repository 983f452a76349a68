// SPDX-License-Identifier: MIT
//! nginx's values in our words: durations, sizes, variables, expressions, and why some directives have no counterpart.

use std::collections::HashMap;

/// A duration as nginx writes it: seconds, or numbers with units.
pub(super) fn duration(text: &str) -> Option<String> {
    let mut milliseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let number = number.parse::<u64>().ok()?;
        let unit_end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        milliseconds = milliseconds.checked_add(number.checked_mul(unit)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| match milliseconds {
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    })
}

/// A size as nginx writes it; `None` also for 0, which is no bound.
pub(super) fn size(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse::<u64>().ok().filter(|number| *number != 0)?;
    let unit = match unit {
        "" => "B",
        "k" | "K" => "KiB",
        "m" | "M" => "MiB",
        "g" | "G" => "GiB",
        _ => return None,
    };
    Some(match unit {
        "B" if number % 1024 == 0 => format!("{}KiB", number / 1024),
        "B" => format!("{}KiB", number / 1024 + 1),
        unit => format!("{number}{unit}"),
    })
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Variable(String),
}

/// Takes a value apart.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        if !before.is_empty() {
            all.push(Part::Text(before.to_owned()));
        }
        let after = after.get(1..).unwrap_or_default();
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let braced = after
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'));
        let (name, after) = match braced {
            Some(split) => split,
            None => after.split_at(after.find(word).unwrap_or(after.len())),
        };
        match name {
            "" => all.push(Part::Text("$".to_owned())),
            name => all.push(Part::Variable(name.to_owned())),
        }
        rest = after;
    }
    if !rest.is_empty() {
        all.push(Part::Text(rest.to_owned()));
    }
    all
}

/// A value in our variables. `known`: those that are constant here, such as `$server_name`.
///
/// # Errors
///
/// Why it has no counterpart.
pub(super) fn template(text: &str, known: &HashMap<&str, String>) -> Result<String, String> {
    let mut all = String::new();
    for part in parts(text) {
        let name = match part {
            Part::Text(text) => {
                all += &text.replace('$', "$$");
                continue;
            }
            Part::Variable(name) => name,
        };
        if let Some(value) = known.get(name.as_str()) {
            all += &value.replace('$', "$$");
            continue;
        }
        let ours = match name.as_str() {
            "host" | "http_host" => "host",
            "remote_addr" | "realip_remote_addr" => "client_address",
            "remote_port" => "client_port",
            "scheme" => "scheme",
            "request_uri" => "uri",
            "uri" | "document_uri" => "path",
            "args" | "query_string" => "query",
            "request_method" => "method",
            "request_id" => "request_id",
            "ssl_server_name" => "server_name",
            "ssl_protocol" => "tls_version",
            "ssl_client_s_dn" => "client_subject",
            "remote_user" => "user",
            "upstream_addr" => "server",
            _ => return Err(format!("${name} has no counterpart")),
        };
        all += &format!("${{{ours}}}");
    }
    Ok(all)
}

/// `$1` in a replacement, in our words.
pub(super) fn groups(text: &str) -> Result<String, String> {
    let mut all = String::new();
    for part in parts(text) {
        match part {
            Part::Text(text) => all += &text.replace('$', "$$"),
            Part::Variable(name) if name.len() == 1 && name.bytes().all(|b| b.is_ascii_digit()) => {
                all += &format!("${{{name}}}");
            }
            Part::Variable(name) => return Err(format!("${name} has no counterpart here")),
        }
    }
    Ok(all)
}

/// An expression of nginx (PCRE) in ours; the second value: it takes more than nginx's does.
///
/// # Errors
///
/// It is not understood.
pub(super) fn pattern(text: &str, ignores_case: bool) -> Result<(String, bool), String> {
    let flags = if ignores_case { "(?i)" } else { "" };
    // `(?<name>` is understood; a slash needs no escape.
    let text = text.replace("\\/", "/");
    let whole = format!("{flags}{text}");
    if regex::Regex::new(&whole).is_ok() {
        return Ok((whole, false));
    }
    // Without what must not follow, more is taken.
    let wider = without_lookahead(&text).map(|text| format!("{flags}{text}"));
    match wider.filter(|wider| regex::Regex::new(wider).is_ok()) {
        Some(wider) => Ok((wider, true)),
        None => Err(format!("the expression {text} is not understood (PCRE)")),
    }
}

fn without_lookahead(text: &str) -> Option<String> {
    let (before, after) = text.split_once("(?!")?;
    let mut depth = 1_u32;
    for (at, c) in after.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let rest = after.get(at + 1..)?;
            return Some(format!("{before}{rest}"));
        }
    }
    None
}

/// Why a directive stands as a comment.
pub(super) fn reason(name: &str) -> &'static str {
    match name {
        name if name.starts_with("gzip") || name.starts_with("brotli") => {
            "the switch does not compress"
        }
        name if name.starts_with("proxy_cache") || name.starts_with("open_file_cache") => {
            "the switch has no cache"
        }
        name if name.starts_with("fastcgi")
            || name.starts_with("uwsgi")
            || name.starts_with("scgi") =>
        {
            "the switch speaks HTTP to servers, not FastCGI, uwsgi or SCGI"
        }
        name if name.starts_with("proxy_buffer")
            || name.ends_with("_buffers")
            || name.ends_with("_buffer_size")
            || name.ends_with("_buffering") =>
        {
            "contents are passed on as they come"
        }
        name if name.starts_with("ssl_session") => {
            "TLS sessions are resumed: there is nothing to set"
        }
        name if name.starts_with("ssl_stapling") || name == "ssl_trusted_certificate" => {
            "a response is stapled from a file: ocsp in `certificates`"
        }
        "root" | "alias" | "index" | "try_files" | "autoindex" | "expires" | "sendfile"
        | "tcp_nopush" | "etag" | "default_type" | "types" | "charset" | "directio"
        | "sendfile_max_chunk" | "if_modified_since" => "the switch serves no files",
        "access_log" | "error_log" | "log_format" | "log_not_found" | "log_subrequest" => {
            "logs are options of the command line (--access-log, --log-format)"
        }
        "ssl_ciphers"
        | "ssl_prefer_server_ciphers"
        | "ssl_ecdh_curve"
        | "ssl_dhparam"
        | "ssl_conf_command" => {
            "cipher suites cannot be chosen: only AEAD suites with forward secrecy are spoken (curves: tls.curves)"
        }
        "user"
        | "worker_processes"
        | "pid"
        | "worker_rlimit_nofile"
        | "worker_cpu_affinity"
        | "events"
        | "daemon"
        | "pcre_jit"
        | "load_module"
        | "env"
        | "thread_pool"
        | "timer_resolution" => "settings of the process are options of the command line",
        "resolver" | "resolver_timeout" => "names are resolved as the system is configured",
        "server_tokens" => "the switch does not say its name",
        "set" | "if" => "there are no variables to set, and this condition has no counterpart",
        "mirror" | "mirror_request_body" => "write mirror = { pool = \"…\" }",
        "limit_conn" | "limit_conn_zone" => {
            "write limits = { connections_per_source = … } in the service"
        }
        "stub_status" => "the metrics (--metrics) take its place",
        "error_page" => "write error_pages = { \"502\" = \"502.html\" }",
        "tcp_nodelay" => "it is always set",
        "geo" | "map" | "split_clients" => "write a route for each value",
        _ => "there is no counterpart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(duration("1m30s").as_deref(), Some("90s"));
        assert_eq!(duration("500ms").as_deref(), Some("500ms"));
        assert_eq!(duration("60").as_deref(), Some("60s"));
        assert_eq!(duration("x"), None);
        assert_eq!(size("10m").as_deref(), Some("10MiB"));
        assert_eq!(size("1024").as_deref(), Some("1KiB"));
        assert_eq!((size("0"), size("1x")), (None, None));
    }

    #[test]
    fn values() {
        let known = HashMap::from([("server_name", "a".to_owned())]);
        let read = |text| template(text, &known);
        assert_eq!(
            read("https://$server_name$request_uri").unwrap(),
            "https://a${uri}"
        );
        assert_eq!(read("${host}x$").unwrap(), "${host}x$$");
        assert!(read("$geoip_country").is_err());
        assert_eq!(groups("/$1/b").unwrap(), "/${1}/b");
        assert!(groups("/$args").is_err());
    }

    #[test]
    fn expressions() {
        assert_eq!(
            pattern(r"\.php$", true).unwrap(),
            (r"(?i)\.php$".to_owned(), false)
        );
        assert_eq!(
            pattern(r"/\.(?!well-known).*", false).unwrap(),
            (r"/\..*".to_owned(), true)
        );
        assert!(pattern(r"(a)\1", false).is_err());
    }
}
