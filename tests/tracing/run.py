# SPDX-License-Identifier: MIT
"""Traces between a client, the switch and a server that OpenTelemetry's own Python libraries trace: one tree, in a collector that
reads OTLP by the definitions of opentelemetry-proto."""

import contextlib
import gzip
import http.client
import http.server
import logging
import os
import pathlib
import re
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import wsgiref.simple_server

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

SWITCH = pathlib.Path(os.environ.get("L7SWITCH", pathlib.Path(__file__).parents[2] / "target/debug/l7switch"))
RULES = """\
[service.web]
listen = "127.0.0.1:{front}"
route = [{{ name = "all", pool = "p" }}]
[pool.p]
scheduler = "rr"
servers = ["127.0.0.1:{dead}", "127.0.0.1:{back}"]
passive = {{ failures = 0 }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within {seconds} s")


class Collector:
    """A collector at one port, which can be stopped and started."""

    def __init__(self, tls=None):
        self.port = free_port()
        self.tls = tls
        self.spans = []
        self.fields = []
        self.server = None
        self.start()

    def start(self):
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                if self.headers["Content-Encoding"] == "gzip":
                    content = gzip.decompress(content)
                request = ExportTraceServiceRequest.FromString(content)
                for resource in request.resource_spans:
                    of = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        collector.spans += [(of, span) for span in scope.spans]
                collector.fields.append(dict(self.headers))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def get_request(self):
                connection, address = super().get_request()
                collector.open.append(connection)
                return connection, address

        self.open = []
        self.server = Server(("127.0.0.1", self.port), Handler)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def of(self, service):
        return [span for resource, span in list(self.spans) if resource["service.name"] == service]


def attributes(span):
    def value(of):
        return getattr(of, of.WhichOneof("value"))
    return {pair.key: value(pair.value) for pair in span.attributes}


def provider(service, collector):
    """What traces a Python program, to the same collector."""
    made = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{collector.port}/v1/traces")
    made.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    return made


@contextlib.contextmanager
def application(collector):
    """A WSGI program, traced as its makers say."""
    def hello(_, start):
        start("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
        daemon_threads = True

    class Quiet(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *_):
            pass

    traced = OpenTelemetryMiddleware(hello, tracer_provider=provider("application", collector))
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, traced, Server, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


class Switch:
    """A running switch, and what it logs."""

    def __init__(self, folder, back, *options, **environment):
        self.folder, self.port, self.metrics = folder, free_port(), free_port()
        (folder / "rules.toml").write_text(RULES.format(front=self.port, dead=free_port(), back=back))
        self.log = folder / "log"
        self.log.write_text("")
        own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [SWITCH, folder / "rules.toml", "--kernel", "off", "--admin", folder / "admin",
                 "--metrics", f"127.0.0.1:{self.metrics}", "--access-log", folder / "access",
                 "--log-fields", "status,trace_id", *options],
                env={**own, **environment}, stdout=subprocess.PIPE, stderr=log, text=True)
        if "ready" not in self.process.stdout.readline():
            raise SystemExit(f"the switch does not start: {self.log.read_text()}")

    def ask(self, **fields):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/a?b=secret", headers=fields)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"hello"), answer.status
        connection.close()

    def count(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            return int(re.search(rf"^l7switch_{name} (\d+)$", answer.read().decode(), re.M)[1])

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


def one_tree(switch, collector, service):
    """Client, switch, attempts, application: each below the one before, in one trace."""
    tracer = provider("client", collector).get_tracer("test")
    for _ in range(2):
        fields = {}
        with tracer.start_as_current_span("call", kind=SpanKind.CLIENT):
            propagate.inject(fields)
            switch.ask(**fields)
    until("the spans", 10, lambda: len(collector.of(service)) >= 5 and len(collector.of("application")) >= 2)
    found = {span.span_id: span for _, span in collector.spans}
    for span in collector.of("application"):
        attempt = found[span.parent_span_id]
        own = found[attempt.parent_span_id]
        call = found[own.parent_span_id]
        assert len({s.trace_id for s in (span, attempt, own, call)}) == 1 and not call.parent_span_id
        assert (attempt.kind, own.kind) == (Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER)
        assert call.start_time_unix_nano <= own.start_time_unix_nano <= attempt.start_time_unix_nano
        assert attempt.start_time_unix_nano <= span.start_time_unix_nano
        assert call.end_time_unix_nano >= own.start_time_unix_nano
        assert (own.name, attempt.name) == ("GET all", "GET p")
        assert attributes(own)["url.path"] == "/a" and "secret" not in str(own)
        assert own.trace_id.hex() in (switch.folder / "access").read_text()
    failed = [s for s in collector.of(service) if s.status.code == Status.STATUS_CODE_ERROR]
    assert failed and all(attributes(s)["error.type"] == "connect_failed" for s in failed), failed
    again = [s for s in collector.of(service) if "http.request.resend_count" in attributes(s)]
    assert again and all(attributes(s)["http.request.resend_count"] == 1 for s in again), again
    print(f"one tree: {len(found)} spans of client, switch and application; {len(failed)} attempts that failed")


def stopped_collector(switch, collector):
    """Requests go on; what is lost is counted, and said once; so is that it is back."""
    # The application's library says so each time.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    collector.stop()
    before = switch.count("spans_dropped_total")
    for _ in range(2):
        lost = switch.count("spans_dropped_total")
        switch.ask()
        until("lost spans", 20, lambda: switch.count("spans_dropped_total") > lost)
    collector.start()
    exported = switch.count("spans_exported_total")
    switch.ask()
    until("spans again", 20, lambda: switch.count("spans_exported_total") > exported)
    # An outage of some seconds loses nothing.
    collector.stop()
    lost = switch.count("spans_dropped_total")
    exported = switch.count("spans_exported_total")
    switch.ask()
    time.sleep(3)
    collector.start()
    until("spans that were sent again", 20, lambda: switch.count("spans_exported_total") > exported)
    assert switch.count("spans_dropped_total") == lost
    log = switch.log.read_text()
    said = [log.count(text) for text in ("traces do not reach the collector", "traces reach the collector again")]
    assert said == [1, 1], log
    print(f"a collector that was gone: {lost - before} spans lost, said once: {said}")


def ends(switch, collector, service):
    """What waits when the switch ends, or its successor takes over, is sent."""
    before = len(collector.of(service))
    switch.ask()
    switch.process.send_signal(signal.SIGUSR2)
    assert switch.process.wait(20) == 0
    assert len(collector.of(service)) - before >= 2, len(collector.of(service)) - before
    # The successor is this process's child no more: it is found by the socket.
    pid = int(re.search(r"successor=(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", switch.log.read_text()))[1])
    before = len(collector.of(service))
    switch.ask()
    os.kill(pid, signal.SIGTERM)
    until("the last spans", 5, lambda: len(collector.of(service)) - before >= 2)
    print("the last spans of a front that ends, and of one that was followed, have come")


def certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:false",
         "-keyout", "key.pem", "-out", "cert.pem"],
        check=True, capture_output=True, cwd=folder)
    return folder / "cert.pem", folder / "key.pem"


def by_tls(folder, back):
    """The environment alone, as OpenTelemetry's own programs read it."""
    pair = certificate(folder)
    collector = Collector(pair)
    switch = Switch(
        folder, back, OTEL_EXPORTER_OTLP_ENDPOINT=f"https://localhost:{collector.port}",
        OTEL_EXPORTER_OTLP_CERTIFICATE=str(pair[0]), OTEL_EXPORTER_OTLP_COMPRESSION="gzip", OTEL_EXPORTER_OTLP_HEADERS="x-tenant=a%20b,authorization=Bearer%20t",
        OTEL_RESOURCE_ATTRIBUTES="service.name=edge,deployment.environment.name=test")
    switch.ask()
    switch.end()
    assert len(collector.of("edge")) >= 2, switch.log.read_text()
    resource, _ = collector.spans[0]
    assert resource["deployment.environment.name"] == "test", resource
    assert re.fullmatch(r"\d+\.\d+\.\d+", resource["service.version"]), resource
    sent = {name.lower(): value for name, value in collector.fields[0].items()}
    assert (sent["x-tenant"], sent["authorization"]) == ("a b", "Bearer t"), sent
    assert sent["content-encoding"] == "gzip", sent
    collector.stop()
    print("by TLS and compressed, as the environment says")


def main():
    collector = Collector()
    with application(collector) as back, tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        switch = Switch(folder, back, "--otlp", f"http://127.0.0.1:{collector.port}", OTEL_SERVICE_NAME="edge")
        try:
            one_tree(switch, collector, "edge")
            stopped_collector(switch, collector)
            ends(switch, collector, "edge")
        finally:
            switch.process.kill()
        by_tls(folder, back)


if __name__ == "__main__":
    sys.exit(main())
