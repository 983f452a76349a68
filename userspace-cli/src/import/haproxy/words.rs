// SPDX-License-Identifier: MIT
//! HAProxy's values in our words: durations, sizes, log formats, and why some keywords have no counterpart.

/// A duration as HAProxy writes it: milliseconds, or a number with a unit.
pub(super) fn duration(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse::<u64>().ok()?;
    let (number, unit) = match unit {
        "" | "ms" if number % 1000 == 0 && number > 0 => (number / 1000, "s"),
        "" | "ms" => (number, "ms"),
        "us" => (number / 1000, "ms"),
        "s" | "m" | "h" => (number, unit),
        "d" => (number.checked_mul(24)?, "h"),
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// A log format as a value with our variables.
pub(super) fn template(text: &str) -> Result<String, String> {
    let mut all = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        let (before, after) = rest.split_at(at);
        all += before;
        if let Some(after) = after.strip_prefix('$') {
            all += "$$";
            rest = after;
        } else if let Some(after) = after.strip_prefix("%%") {
            all.push('%');
            rest = after;
        } else if let Some(after) = after.strip_prefix("%[") {
            let (fetch, after) = after
                .split_once(']')
                .ok_or(format!("`{text}` has no end"))?;
            all += &value(fetch).ok_or(format!("%[{fetch}] has no counterpart"))?;
            rest = after;
        } else {
            let word = |word: &'static str| after.strip_prefix(word);
            let (variable, after) = if let Some(after) = word("%ci") {
                ("${client_address}", after)
            } else if let Some(after) = word("%cp") {
                ("${client_port}", after)
            } else if let Some(after) = word("%ID") {
                ("${request_id}", after)
            } else if let Some(after) = word("%HM") {
                ("${method}", after)
            } else {
                return Err(format!("`{text}` has variables without counterpart"));
            };
            all += variable;
            rest = after;
        }
    }
    Ok(all + rest)
}

fn value(fetch: &str) -> Option<String> {
    let fetch = fetch.trim();
    if let Some(text) = fetch
        .strip_prefix("str(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        return Some(text.trim_matches(['\'', '"']).replace('$', "$$"));
    }
    let name = match fetch.split(',').next().unwrap_or_default() {
        _ if fetch == "ssl_c_sha1,hex" => return None,
        "src" => "client_address",
        "src_port" => "client_port",
        "hdr(host)" | "req.hdr(host)" | "hdr(Host)" | "req.hdr(Host)" | "req.fhdr(host)" => "host",
        "path" => "path",
        "query" => "query",
        "pathq" | "capture.req.uri" | "url" => "uri",
        "method" | "capture.req.method" => "method",
        "ssl_fc_sni" => "server_name",
        "ssl_fc_protocol" => "tls_version",
        "unique-id" | "uuid()" | "uuid" => "request_id",
        "ssl_c_s_dn" => "client_subject",
        "http_auth_user" => "user",
        _ => return None,
    };
    // A converter makes another value of it.
    (!fetch.contains(',')).then(|| format!("${{{name}}}"))
}

/// A substitution of `\1` in our words.
pub(super) fn groups(text: &str) -> Result<String, String> {
    let mut all = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => all += "$$",
            '%' => return Err(format!("`{text}` has variables")),
            '\\' => match chars.next() {
                Some(digit @ '0'..='9') => all += &format!("${{{digit}}}"),
                Some(other) => all.push(other),
                None => {}
            },
            c => all.push(c),
        }
    }
    Ok(all)
}

/// Why a keyword stands as a comment.
pub(super) fn reason(words: &[String]) -> &'static str {
    let word = |number: usize| words.get(number).map_or("", String::as_str);
    match (word(0), word(1)) {
        (
            "log" | "log-format" | "log-tag" | "unique-id-format" | "unique-id-header"
            | "error-log-format",
            _,
        )
        | (
            "option",
            "httplog"
            | "tcplog"
            | "dontlognull"
            | "logasap"
            | "dontlog-normal"
            | "log-separate-errors"
            | "log-health-checks",
        ) => "the access log is an option of the command line (--access-log, --log-format)",
        ("stick-table" | "stick", _) => {
            "there are no stick tables: rate_limit and limits.connections_per_source count, sticky keeps"
        }
        ("http-request" | "tcp-request" | "http-response" | "tcp-response", _) => {
            "there is no counterpart for it"
        }
        (
            "errorfile" | "errorloc" | "errorloc302" | "errorloc303" | "errorfiles" | "http-error",
            _,
        ) => {
            "HAProxy's files have a head: write error_pages = { \"503\" = \"503.html\" } with the page alone"
        }
        ("compression", _) => "the switch does not compress",
        ("cache", _) | ("filter", "cache") => "the switch has no cache",
        ("filter" | "email-alert" | "mailers", _) => "there are no filters",
        ("capture" | "declare", _) => {
            "fields of the access log are options of the command line (--log-fields)"
        }
        ("stats", _) => {
            "l7ctl, the metrics (--metrics) and the admin socket (--admin) take its place"
        }
        ("monitor-uri" | "monitor", _) => "the metrics listener has /live and /ready",
        (
            "option",
            "http-keep-alive"
            | "http-server-close"
            | "httpclose"
            | "forceclose"
            | "http-pretend-keepalive",
        ) => "connections are kept as HTTP says",
        ("http-reuse", _) => {
            "connections to servers are shared by all clients where that is safe (keepalive)"
        }
        ("timeout", _) => "this time cannot be set apart",
        ("user" | "group" | "chroot" | "daemon" | "pidfile" | "uid" | "gid", _) => {
            "the switch runs as systemd starts it"
        }
        (
            "ssl-default-bind-ciphers"
            | "ssl-default-bind-ciphersuites"
            | "ssl-default-server-ciphers"
            | "ssl-default-server-ciphersuites",
            _,
        ) => "cipher suites cannot be chosen: only AEAD suites with forward secrecy are spoken",
        ("resolvers" | "nameserver" | "resolve_retries" | "hold", _) => {
            "names are resolved as the system is configured"
        }
        ("lua-load" | "lua-load-per-thread" | "module-load", _) => "programs cannot be loaded",
        ("maxconn" | "nbthread" | "nbproc" | "cpu-map" | "maxsslconn" | "ulimit-n", _) => {
            "an option of the command line (--threads), or a bound of a service (limits.connections)"
        }
        _ => "there is no counterpart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let read = |text| duration(text);
        assert_eq!(read("5000").as_deref(), Some("5s"));
        assert_eq!(read("1500ms").as_deref(), Some("1500ms"));
        assert_eq!(read("1d").as_deref(), Some("24h"));
        assert_eq!(read("2x"), None);
    }

    #[test]
    fn formats() {
        assert_eq!(template("a%[src]b$").unwrap(), "a${client_address}b$$");
        assert_eq!(
            template("https://%[hdr(host)]%[capture.req.uri]").unwrap(),
            "https://${host}${uri}"
        );
        assert!(template("%[rand(3)]").is_err() && template("%[path,lower]").is_err());
        assert_eq!(groups(r"/\1$").unwrap(), "/${1}$$");
    }
}
