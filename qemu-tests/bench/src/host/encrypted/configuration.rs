// SPDX-License-Identifier: MIT
//! The configurations of the contenders where the client speaks TLS: those in clear text, with a certificate, TLS 1.3 and
//! X25519 only, and HTTP/2 and HTTP/1.1 by ALPN.

use std::net::SocketAddr;

use super::super::configuration as plain;
use super::BOTH;
use super::CERTIFICATE;
use super::KEY;

/// Idle connections to the real server that a proxy may keep: more than there are requests at a time.
const KEPT: u32 = 512;

/// Where a contender stands.
#[derive(Debug)]
pub(super) struct Place {
    /// Where it listens.
    pub(super) at: SocketAddr,
    /// The real server.
    pub(super) to: SocketAddr,
    /// Whether that one is a server of gRPC: it speaks HTTP/2, with prior knowledge.
    pub(super) grpc: bool,
    /// The folder of all files.
    pub(super) folder: String,
}

impl Place {
    fn certificate(&self) -> String {
        format!("{}/{CERTIFICATE}", self.folder)
    }

    fn key(&self) -> String {
        format!("{}/{KEY}", self.folder)
    }
}

/// The real server of gRPC: a file as the answer, with the trailer that says that all is well. Its files are below `root`;
/// `kinds` are their media types.
pub(super) fn nghttpd(place: &Place, kinds: &str) -> Vec<String> {
    let Place { to, folder, .. } = place;
    let line = format!(
        "nghttpd --no-tls -a {} -d {folder}/root -m 1000 --mime-types-file={kinds} --no-content-length",
        to.ip()
    );
    let trailer = ["--trailer", "grpc-status: 0"].map(str::to_owned);
    let words = line.split(' ').map(str::to_owned);
    words
        .chain(trailer)
        .chain([to.port().to_string()])
        .collect()
}

/// For the front.
pub(super) fn rules(place: &Place) -> String {
    let protocol = if place.grpc { "http2" } else { "http1" };
    format!(
        "[service.bench]\nlisten = \"{}\"\nprotocol = \"https\"\n\
         certificates = [{{ cert = \"{}\", key = \"{}\" }}]\n\
         tls = {{ min_version = \"1.3\", curves = [\"X25519\"] }}\n\
         [[service.bench.route]]\npath = {{ prefix = \"/\" }}\npool = \"p\"\n\
         [pool.p]\nservers = [\"{}\"]\nprotocol = \"{protocol}\"\nkeepalive = {KEPT}\n",
        place.at,
        place.certificate(),
        place.key(),
        place.to
    )
}

/// As in clear text; its configuration manual's `bind` has the rest.
pub(super) fn haproxy(place: &Place) -> String {
    let Place { at, to, folder, .. } = place;
    let protocol = if place.grpc { " proto h2" } else { "" };
    format!(
        "global\n  maxconn 4096\n  nbthread 1\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         option splice-auto\n  http-reuse always\n\
         frontend bench\n  \
         bind {at} ssl crt {folder}/{BOTH} ssl-min-ver TLSv1.3 curves X25519 alpn h2,http/1.1\n  \
         use_backend servers if {{ path_beg / }}\n\
         backend servers\n  server s {to}{protocol}\n"
    )
}

/// As in clear text; ngx_http_ssl_module, ngx_http_v2_module and ngx_http_grpc_module have the rest. Tickets are on where
/// nothing is said.
pub(super) fn nginx(place: &Place) -> String {
    let Place { at, to, folder, .. } = place;
    let pass = if place.grpc {
        "grpc_pass grpc://servers;"
    } else {
        "proxy_pass http://servers;"
    };
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000;\n  \
         client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_request_buffering off;\n  \
         ssl_certificate {};\n  ssl_certificate_key {};\n  ssl_protocols TLSv1.3;\n  ssl_ecdh_curve X25519;\n  \
         upstream servers {{ server {to}; keepalive {KEPT}; keepalive_requests 1000000; }}\n  \
         server {{ listen {at} ssl http2 default_server; location / {{ {pass} }} }}\n}}\n",
        place.certificate(),
        place.key()
    )
}

/// As in clear text, with a transport socket of TLS; for gRPC the cluster speaks HTTP/2.
pub(super) fn envoy(place: &Place) -> String {
    let kind = "type.googleapis.com/envoy.extensions";
    let chain = format!(
        r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": {kind}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params:
              tls_minimum_protocol_version: TLSv1_3
              tls_maximum_protocol_version: TLSv1_3
              ecdh_curves: [X25519]
            tls_certificates:
            - {{ certificate_chain: {{ filename: "{}" }}, private_key: {{ filename: "{}" }} }}
"#,
        place.certificate(),
        place.key()
    );
    let cluster = format!(
        r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {kind}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
"#
    );
    let cluster = if place.grpc { &cluster } else { "" };
    plain::envoy(place.at, place.to, &chain, cluster)
}

/// As in clear text, with a certificate that is shown whatever is asked for.
pub(super) fn traefik_routes(place: &Place) -> String {
    let scheme = if place.grpc { "h2c" } else { "http" };
    let (certificate, key) = (place.certificate(), place.key());
    plain::traefik_routes(&format!("{scheme}://{}", place.to), KEPT)
        + &format!(
            "[http.routers.bench.tls]\n\
             [tls.stores.default.defaultCertificate]\ncertFile = \"{certificate}\"\nkeyFile = \"{key}\"\n\
             [tls.options.default]\nminVersion = \"VersionTLS13\"\ncurvePreferences = [\"X25519\"]\n"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(grpc: bool) -> Place {
        Place {
            at: SocketAddr::from(([127, 0, 0, 1], 2)),
            to: SocketAddr::from(([127, 0, 0, 1], 1)),
            grpc,
            folder: "/f".to_owned(),
        }
    }

    #[test]
    fn the_front_takes_its_rules() {
        for (grpc, protocol) in [(false, "http1"), (true, "http2")] {
            let text = rules(&place(grpc));
            let loaded = l7switch_rules::load_text("rules", &text);
            assert!(loaded.is_ok(), "{text}");
            assert!(text.contains(&format!("protocol = \"{protocol}\"")));
        }
    }

    #[test]
    fn all_speak_http2_to_a_server_of_grpc_only() {
        type Write = fn(&Place) -> String;
        let configurations: [(Write, &str); 4] = [
            (haproxy, " proto h2\n"),
            (nginx, "grpc_pass"),
            (envoy, "http2_protocol_options"),
            (traefik_routes, "h2c://"),
        ];
        for (configuration, sign) in configurations {
            assert!(configuration(&place(true)).contains(sign), "{sign}");
            assert!(!configuration(&place(false)).contains(sign), "{sign}");
        }
    }
}
