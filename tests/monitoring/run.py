# SPDX-License-Identifier: MIT
"""Alert rules and dashboard of docs/monitoring before a real Prometheus that scrapes a real switch."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import grafana_foundation_sdk.models.dashboard

ROOT = pathlib.Path(__file__).parents[2]
SWITCH = pathlib.Path(os.environ.get("L7SWITCH", ROOT / "target/debug/l7switch"))
PROMETHEUS = pathlib.Path(os.environ["PROMETHEUS"])
FOLDER = ROOT / "docs/monitoring"
# What has no data without the kernel module, or where all is well.
NEEDS_MORE = re.compile(r"kernel|refused_total")

RULES = """\
[service.web]
listen = "127.0.0.1:{front}"
route = [{{ name = "all", pool = "p" }}]
[service.secure]
listen = "127.0.0.1:{secure}"
protocol = "https"
certificates = [{{ cert = "a.pem", key = "a.key" }}]
route = [{{ respond = {{ status = 204 }} }}]
[pool.p]
servers = ["127.0.0.1:{back}", "127.0.0.1:{dead}"]
health = {{ tcp = true, interval = "200ms", fall = 1 }}
"""

CONFIGURATION = """\
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{rules}]
scrape_configs:
  - job_name: l7switch
    static_configs: [{{ targets: ["127.0.0.1:{metrics}"] }}]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def program(*command, **more):
    """A program that runs, until the end."""
    with subprocess.Popen([str(part) for part in command], **more) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def read(url, **fields):
    request = urllib.request.Request(url, headers=fields)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def until(what, seconds, condition):
    """Waits until a condition holds; what is not there yet is no answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if condition():
                return
        time.sleep(0.2)
    raise SystemExit(f"{what}: not within {seconds} s")


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def expressions(dashboard):
    """Each question of a panel, with a choice for every variable."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "10s")
            yield panel["title"], re.sub(r"\$\w+", ".*", expression)


def names_are_in_the_reference(texts):
    """Every metric that is asked for is one that docs/admin-api.md has."""
    reference = (ROOT / "docs/admin-api.md").read_text()
    used = set(re.findall(r"\bl7switch_(\w+)", texts)) | set(re.findall(r"\bprocess_\w+", texts))
    for name in sorted(used):
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        if f"`{name}`" not in reference and f"`{plain}`" not in reference and f"`{plain}`:" not in reference:
            raise SystemExit(f"{name} is not in docs/admin-api.md")
    print(f"{len(used)} metrics are used, all of them in docs/admin-api.md")


def check_rules():
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        subprocess.run([PROMETHEUS / "promtool", *command], check=True, cwd=FOLDER)
    rules = (FOLDER / "alerts.yml").read_text()
    tested = set(re.findall(r"alertname: (\w+)", (FOLDER / "alerts_test.yml").read_text()))
    known = set(re.findall(r"alert: (\w+)", rules))
    assert tested <= known, tested - known


def main():
    alerts = (FOLDER / "alerts.yml").read_text()
    text = (FOLDER / "dashboard.json").read_text()
    names_are_in_the_reference(alerts + text)
    check_rules()
    dashboard = json.loads(text)
    parsed = grafana_foundation_sdk.models.dashboard.Dashboard.from_json(dashboard)
    assert len(parsed.panels) == len(dashboard["panels"]) and parsed.uid == "l7switch"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {name: free_port() for name in ("front", "secure", "dead", "metrics", "prometheus")}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example", "-keyout", "a.key", "-out", "a.pem"],
            check=True, capture_output=True, cwd=folder)
        (folder / "rules.toml").write_text(RULES.format(back=server.server_port, **ports))
        (folder / "prometheus.yml").write_text(CONFIGURATION.format(rules=FOLDER / "alerts.yml", **ports))
        stack.enter_context(program(
            SWITCH, folder / "rules.toml", "--kernel", "off", "--admin", folder / "admin", "--metrics",
            f"127.0.0.1:{ports['metrics']}", stdout=subprocess.DEVNULL))
        switch = f"http://127.0.0.1:{ports['metrics']}"
        until("the switch", 10, lambda: read(f"{switch}/ready"))
        metrics = read(f"{switch}/metrics")
        subprocess.run([PROMETHEUS / "promtool", "check", "metrics"], input=metrics, text=True, check=True)
        stack.enter_context(program(
            PROMETHEUS / "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}", "--log.level=error"))
        prometheus = f"http://127.0.0.1:{ports['prometheus']}/api/v1"

        def ask(expression):
            answer = json.loads(read(f"{prometheus}/query?" + urllib.parse.urlencode({"query": expression})))
            assert answer["status"] == "success", answer
            return answer["data"]["result"]

        def requests_are_seen():
            read(f"http://127.0.0.1:{ports['front']}/")
            found = ask('rate(l7switch_requests_total{service="web"}[10s])')
            return found and float(found[0]["value"][1]) > 0

        until("requests in Prometheus", 60, requests_are_seen)
        empty = 0
        for title, expression in expressions(dashboard):
            if not ask(expression):
                if not NEEDS_MORE.search(expression):
                    raise SystemExit(f"{title}: no data: {expression}")
                empty += 1
        questions = len(list(expressions(dashboard)))
        print(f"{questions} questions of the dashboard, {empty} of them for what is not there")

        def dead_server_is_told():
            return any(a["labels"]["alertname"] == "L7switchServerDown"
                       for a in json.loads(read(f"{prometheus}/alerts"))["data"]["alerts"])

        until("the alert of the dead server", 30, dead_server_is_told)
        groups = json.loads(read(f"{prometheus}/rules"))["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        wrong = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
        assert not wrong, wrong
        told = {rule["name"] for rule in rules if rule["alerts"]}
        assert told == {"L7switchServerDown"}, told
        print(f"{len(rules)} rules are evaluated; what is wrong is told, and nothing else: {', '.join(told)}")


if __name__ == "__main__":
    sys.exit(main())
