// SPDX-License-Identifier: MIT
//! The tables are whole: no word has two answers, no answer is for a key that is ours, and what they propose is there.

use std::collections::HashMap;

use super::*;

/// Tables of the language with answers of their own, and their keys.
const PLACES: &[(&str, &[&str])] = &[
    ("RuleFile", language::RuleFile::KEYS),
    ("AcmeText", language::AcmeText::KEYS),
    ("ServiceText", language::ServiceText::KEYS),
    ("TlsText", language::TlsText::KEYS),
    ("CertificateText", language::CertificateText::KEYS),
    (
        "ClientCertificatesText",
        language::ClientCertificatesText::KEYS,
    ),
    ("LimitsText", language::LimitsText::KEYS),
    ("MaintenanceText", language::MaintenanceText::KEYS),
    ("RouteText", language::RouteText::KEYS),
    ("PathText", language::PathText::KEYS),
    ("ValueTable", language::ValueTable::KEYS),
    ("HeaderEditText", language::HeaderEditText::KEYS),
    ("RewriteText", language::RewriteText::KEYS),
    ("PathRewriteText", language::PathRewriteText::KEYS),
    ("RedirectText", language::RedirectText::KEYS),
    ("RespondText", language::RespondText::KEYS),
    ("RateLimitText", language::RateLimitText::KEYS),
    ("StickyText", language::StickyText::KEYS),
    ("ShareText", language::ShareText::KEYS),
    ("MirrorText", language::MirrorText::KEYS),
    ("BasicAuthText", language::BasicAuthText::KEYS),
    ("PoolText", language::PoolText::KEYS),
    ("ServerText", language::ServerText::KEYS),
    ("ServerTlsText", language::ServerTlsText::KEYS),
    ("SchedulerText", language::SchedulerText::KEYS),
    ("HealthText", language::HealthText::KEYS),
    ("PassiveText", language::PassiveText::KEYS),
    ("RetriesText", language::RetriesText::KEYS),
    ("QueueText", language::QueueText::KEYS),
];

fn form(word: &str) -> String {
    word.to_ascii_lowercase().replace(['-', '_'], "")
}

/// Words with two answers in a table.
fn twice<'w>(words: impl Iterator<Item = &'w str>) -> Vec<String> {
    let mut seen = HashMap::<String, u32>::new();
    for word in words {
        *seen.entry(form(word)).or_default() += 1;
    }
    seen.retain(|_, times| *times > 1);
    seen.into_keys().collect()
}

#[test]
fn no_word_has_two_answers() {
    let none: Vec<String> = Vec::new();
    let words = |answers: Answers| {
        answers
            .iter()
            .flat_map(|(words, _)| words.split_whitespace())
    };
    for (place, _) in PLACES {
        assert_eq!(twice(words(of(place))), none, "{place}");
    }
    assert_eq!(twice(words(absent::KEYS)), none);
    assert_eq!(twice(words(absent::OPTIONS)), none);
    assert_eq!(twice(keys::KEYS.iter().map(|(word, _)| *word)), none);
    assert_eq!(twice(words::WORDS.iter().map(|(word, _)| *word)), none);
}

#[test]
fn keys_of_ours_are_no_guesses_at_their_place() {
    for (place, known) in PLACES {
        assert!(!of(place).is_empty(), "{place}");
        for (words, said) in of(place) {
            for word in words.split_whitespace() {
                assert!(!known.contains(&word), "{place}.{word}: {said}");
            }
            // A proposal to take another key of the table names one that is there.
            if let Some(rest) = said.strip_prefix("the key for this is `") {
                let ours = rest.split('`').next().unwrap();
                assert!(known.contains(&ours), "{place}: {said}");
            }
        }
    }
}

#[test]
fn what_is_proposed_is_there() {
    let others = [
        language::PageText::KEYS,
        language::KeyText::KEYS,
        language::CorsText::KEYS,
        language::ExternalAuthText::KEYS,
        language::ExternalAccountText::KEYS,
    ];
    let all = PLACES.iter().map(|(_, keys)| *keys).chain(others);
    let all: Vec<&str> = all.flatten().copied().collect();
    for (theirs, ours) in keys::KEYS {
        for key in *ours {
            let first = key.split('.').next().unwrap();
            assert!(all.contains(&first), "{theirs}: {key}");
        }
    }
    // Examples name keys and tables of ours only.
    let answers = PLACES.iter().flat_map(|(place, _)| of(place));
    for (words, said) in answers.chain(absent::KEYS).chain(absent::OPTIONS) {
        for (before, _) in said.match_indices(" = ") {
            let key = said[..before].rsplit([' ', '{', '(']).next().unwrap();
            let is_field = key.starts_with(char::is_uppercase);
            assert!(
                is_field || key.starts_with('"') || all.contains(&key),
                "{words}: {said}"
            );
        }
    }
}

#[test]
fn options_that_are_named_are_those_of_the_command_line() {
    let page = include_str!("../../../../docs/front.md");
    let mut count = 0;
    let answers = PLACES.iter().flat_map(|(place, _)| of(place));
    for (words, said) in answers.chain(absent::KEYS).chain(absent::OPTIONS) {
        let named = said.split([' ', ',', ';', ':', '`']);
        for option in named.filter(|word| word.starts_with("--")) {
            assert!(page.contains(&format!("`{option}")), "{words}: {said}");
            count += 1;
        }
    }
    assert!(count > 10);
}

#[test]
fn words_are_told_apart_without_case_and_separators() {
    for word in ["maxConns", "max-conns", "MAX_CONNS", "maxconns"] {
        let said = key("ServiceText", word, language::ServiceText::KEYS).unwrap();
        assert!(said.contains("connections = 10000"), "{word}: {said}");
    }
}

#[test]
fn keys_in_the_wrong_table_are_sent_home() {
    assert_eq!(
        key("RouteText", "connect_timeout", language::RouteText::KEYS).unwrap(),
        "`connect_timeout` is a key of pools ([pool.NAME])"
    );
    assert_eq!(
        key(
            "ServiceText",
            "response_timeout",
            language::ServiceText::KEYS
        )
        .unwrap(),
        "`response_timeout` is a key of routes ([[service.NAME.route]]) and of pools ([pool.NAME])"
    );
}

/// Words of the manuals of HAProxy, nginx, Envoy, Traefik and Caddy, in the place where they would be written.
#[test]
fn words_of_other_manuals_are_answered() {
    for (place, known, words) in [
        (
            "RuleFile",
            language::RuleFile::KEYS,
            "frontend backend listen http stream events global defaults cluster static_resources admin entryPoints \
             certificatesResolvers providers log accessLog metrics tracing api serversTransport tcp udp pools services \
             apps stats resolver userlist peers cache program mailers map upstream server worker_processes error_log pid \
             user include daemon nbthread hosts overload_manager layered_runtime pool_defaults name version",
        ),
        (
            "ServiceText",
            language::ServiceText::KEYS,
            "bind mode maxconn default_backend http-request option timeout_client tcp-request acl stats compression \
             listeners filter_chains transport_socket server_name root location ssl_certificate ssl_protocols http2 \
             keepalive_timeout client_max_body_size access_log error_page return rewrite proxy_pass resolver add_header \
             gzip limit_req limit_conn auth_basic allow_from deny satisfy entrypoints middlewares tls_options rule routes \
             handle reverse_proxy encode log bind_address port hosts backlog reuse_port reuseport transparent \
             defer_accept fastopen tcp_nodelay nodelay interface enabled description tags network ipv6only http3 quic \
             proxy_protocol socket workers max_header_bytes h2c headers hsts_max_age ocsp ocsp_stapling session_tickets \
             sni strict_sni default_certificate default_server acme_challenge",
        ),
        (
            "RouteText",
            language::RouteText::KEYS,
            "path_beg path_reg path_end hdr hdr_beg url_param src use_backend http-request redirect_prefix prefix_rewrite \
             regex_rewrite host_rewrite_literal timeout cluster weighted_clusters retry_policy hash_policy \
             request_headers_to_add response_headers_to_remove direct_response metadata typed_per_filter_config \
             proxy_set_header proxy_read_timeout proxy_buffering proxy_http_version auth_basic_user_file limit_except \
             error_page expires sub_filter try_files rule service middlewares entrypoints stripprefix addprefix \
             ipallowlist inflightreq circuitbreaker compress digestauth errors forwardauth passtlsclientcert ratelimit \
             redirectregex redirectscheme replacepath chain handle handle_path uri templates php_fastcgi basicauth vars \
             remote_ip expression protocol header_regexp client_ip not description enabled weight fallback backup strip \
             add_prefix x_forwarded_for security_headers csp frame_deny max_body server_timeout connection_timeout \
             websockets sse grpc_web grpc_json upstream_host default final terminal negate tags content_type accept \
             language user_agent referer query_params parameters host_regexp sni alpn server_names",
        ),
        (
            "PoolText",
            language::PoolText::KEYS,
            "balance option httpchk server default-server cookie stick-table timeout_server timeout_connect http-reuse \
             retry-on fullconn lb_policy load_assignment health_checks circuit_breakers outlier_detection \
             transport_socket http2_protocol_options dns_lookup_family type eds ring_hash_lb_config common_lb_config \
             keepalive_requests least_conn ip_hash random sticky_cookie loadBalancer passHostHeader healthCheck \
             responseForwarding serversTransport lb_try_duration lb_retries fail_duration max_fails unhealthy_status \
             unhealthy_latency transport flush_interval health_uri health_port health_interval health_timeout \
             health_status health_body health_headers dial_timeout keepalive_idle_conns headers rewrite warmup ramp \
             slowstart weight_up description enabled name max_idle idle_timeout tcp_keepalive source local_addr \
             bind_address nat dsr",
        ),
    ] {
        for word in words.split_whitespace() {
            assert!(key(place, word, known).is_some(), "{place}: {word}");
        }
    }
}
