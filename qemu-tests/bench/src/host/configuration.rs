// SPDX-License-Identifier: MIT
//! The configurations of the contenders that are measured on a machine only. Those of the others are
//! [`super::super::configuration`]'s.

use std::net::SocketAddr;

/// Envoy's "What are best practices for benchmarking Envoy?": no circuit breaking, no generated request IDs, no dynamic
/// statistics. Nothing is logged where nothing is said; connections to servers stay. `chain` and `cluster` are more lines of
/// the filter chain and of the cluster, for what is not in clear text or not HTTP/1.1.
pub(super) fn envoy(at: SocketAddr, to: SocketAddr, chain: &str, cluster: &str) -> String {
    let address = |of: SocketAddr| {
        format!(
            "{{ socket_address: {{ address: \"{}\", port_value: {} }} }}",
            of.ip(),
            of.port()
        )
    };
    let (at, to) = (address(at), address(to));
    let limits = ["connections", "pending_requests", "requests", "retries"]
        .map(|what| format!("max_{what}: 1000000000"))
        .join(", ");
    let kind = "type.googleapis.com/envoy.extensions.filters";
    format!(
        r#"static_resources:
  listeners:
  - address: {at}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {kind}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{ name: bench, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: servers }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {kind}.http.router.v3.Router, dynamic_stats: false }}
{chain}  clusters:
  - name: servers
    type: STATIC
    circuit_breakers: {{ thresholds: [{{ {limits} }}] }}
    load_assignment:
      cluster_name: servers
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {to} }} }}] }}]
{cluster}"#
    )
}

/// Traefik's install configuration, which names the file `routes` with the rest. Nothing is logged of requests where
/// nothing is said.
pub(super) fn traefik(at: SocketAddr, routes: &str) -> String {
    format!(
        "[global]\ncheckNewVersion = false\nsendAnonymousUsage = false\n\
         [log]\nlevel = \"ERROR\"\n\
         [entryPoints.bench]\naddress = \"{at}\"\n\
         [providers.file]\nfilename = \"{routes}\"\nwatch = false\n"
    )
}

/// Traefik's routing configuration; `to` is the server's URL. Connections to servers stay, up to as many as the client has,
/// or 200, what Traefik takes otherwise.
pub(super) fn traefik_routes(to: &str, connections: u32) -> String {
    let kept = connections.max(200);
    format!(
        "[http.routers.bench]\nrule = \"PathPrefix(`/`)\"\nservice = \"servers\"\n\
         [http.services.servers.loadBalancer]\nserversTransport = \"kept\"\n\
         [[http.services.servers.loadBalancer.servers]]\nurl = \"{to}\"\n\
         [http.serversTransports.kept]\nmaxIdleConnsPerHost = {kept}\n"
    )
}
