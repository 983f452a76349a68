# SPDX-License-Identifier: MIT
"""The packages in a Debian 13 with systemd: installed, run, upgraded, removed. Runs in the guest."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import checks
from checks import equal
from checks import get
from checks import journal
from checks import main_process
from checks import reboot
from checks import run
from checks import until
from checks import within

URL = "http://127.0.0.1/"
RULES = pathlib.Path("/etc/l7switch/l7switch.toml")
SHIPPED = pathlib.Path("/l7/shipped.toml")
OPTIONS = pathlib.Path("/etc/default/l7switch")
TAKE_OVER = "/usr/libexec/l7switch/take-over"
ADMIN = "/run/l7switch/admin.sock"

ORIGIN = """
server {
    listen 127.0.0.1:8080; listen unix:/run/app.sock;
    client_max_body_size 0;
    location / { default_type text/plain; return 200 "origin\\n"; }
    location /files/ { alias /srv/files/; }
}
"""

SERVED = """
[service.web]
listen = "0.0.0.0:80"
[[service.web.route]]
path = { prefix = "/socket" }
pool = "more"
[[service.web.route]]
path = { prefix = "/upload" }
pool = "more"
[[service.web.route]]
path = { exact = "/own" }
respond = { status = 200, body = "one" }
[[service.web.route]]
pool = "app"
[pool.app]
servers = "127.0.0.1:8080"
[pool.more]
servers = "127.0.0.1:8081"
"""


def files() -> set[str]:
    """All files but those that a running system writes by itself, and dpkg's own."""
    left_out = (
        "/proc /sys /dev /run /tmp /var/tmp /l7 /var/log/journal /var/lib/dpkg /var/lib/apt /var/cache /var/lib/l7-stage /srv"
        " /var/lib/systemd /etc/.pwd.lock /root"
    ).split()
    prune = " -o ".join(f"-path {path}" for path in left_out)
    return set(run(f"find / -xdev \\( {prune} \\) -prune -o -print").splitlines())


def options(**values: str) -> None:
    """Sets the front's options, for the next start."""
    OPTIONS.write_text("".join(f"L7SWITCH_{name.upper()}={value}\n" for name, value in values.items()))


def status() -> dict:
    """What the admin socket says."""
    return json.loads(run("l7ctl status --json"))


def ask(path: str) -> str:
    """Connects, sends a request at once, and reads to the end."""
    request = f"GET {path} HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", 80), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.decode()


class Probe:
    """New connections, one after the other, each with one request; counts what fails."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.count = 0
        self.slowest = 0.0
        self.going = True
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()

    def ask(self) -> None:
        """Asks until it is told to end."""
        while self.going:
            began = time.monotonic()
            try:
                within(ask("/"), "\r\n\r\norigin\n")
            except Exception as error:  # each is one failed request
                self.failures.append(f"{type(error).__name__}: {error}")
            self.count += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.02)

    def end(self) -> str:
        """No request failed."""
        self.going = False
        self.thread.join()
        if self.failures or not self.count:
            raise AssertionError(f"{len(self.failures)} of {self.count} requests failed: {self.failures[:3]}")
        return f"{self.count} requests, none failed, the slowest took {self.slowest:.1f} s"


class Streams:
    """Downloads or uploads of a big file, slow ones, one after the other; each has to end whole."""

    def __init__(self, name: str, arguments: str) -> None:
        self.name = name
        self.command = f"set -e -o pipefail; curl -sS --fail --limit-rate 120k {arguments}"
        self.whole = run("sha256sum < /srv/files/big").split()[0]
        self.count = 0
        self.faults: list[str] = []
        self.going = True
        self.thread = threading.Thread(target=self.stream)
        self.thread.start()

    def stream(self) -> None:
        """Streams until it is told to end; the last one ends whole, too."""
        while self.going:
            try:
                equal(run(self.command).split()[0], self.whole, self.name)
            except Exception as error:  # each is one cut stream
                self.faults.append(str(error))
            self.count += 1

    def end(self) -> str:
        """No stream was cut."""
        self.going = False
        self.thread.join()
        equal(self.faults, [], self.name)
        return f"{self.count} {self.name}s whole"


def the_origin_serves():
    """The servers behind the switch stand."""
    pathlib.Path("/etc/nginx/sites-enabled/default").unlink()
    pathlib.Path("/etc/nginx/conf.d/origin.conf").write_text(ORIGIN)
    run("systemctl restart nginx")
    pathlib.Path("/srv/files").mkdir(parents=True)
    run("head -c 40M /dev/urandom > /srv/files/big")
    run("systemd-run --unit l7-origin python3 /l7/origin.py")
    until("the origin", lambda: get("http://127.0.0.1:8080/") == "origin\n")


def from_nothing_to_a_switched_request():
    """From apt install to a switched request, under a minute."""
    pathlib.Path("/l7/before").write_text("\n".join(sorted(files())))
    began = time.monotonic()
    run("apt-get install -y /l7/first/l7switch_*.deb /l7/first/l7switch-tools_*.deb")
    installed = time.monotonic() - began
    until("the welcome", lambda: get(URL, host="other").startswith("l7switch is installed"))
    SHIPPED.write_text(RULES.read_text())
    run(f"sed -i 's/192.0.2.1:8080/127.0.0.1:8080/' {RULES}")
    run("systemctl start l7switch")
    until("a switched request", lambda: get(URL) == "origin\n")
    whole = time.monotonic() - began
    said = f"{whole:.1f} s, of which apt took {installed:.1f}"
    if whole > 60:
        raise AssertionError(said)
    return said


def the_unit_is_strict():
    """systemd-analyze: the unit verifies, exposure under 2.0; the process has two capabilities."""
    equal(run("systemd-analyze verify --man=no /usr/lib/systemd/system/l7switch.service"), "", "verify")
    said = run("systemd-analyze security --no-pager --threshold=20 l7switch.service")
    lines = pathlib.Path(f"/proc/{main_process()}/status").read_text()
    effective = re.search(r"CapEff:\s*(\w+)", lines)[1]
    # CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12.
    equal(int(effective, 16), 1 << 10 | 1 << 12, "capabilities")
    equal(run(f"stat -c %U /proc/{main_process()}"), "l7switch", "user")
    equal(run(f"stat -c '%U %a' {ADMIN} /var/lib/l7switch /var/log/l7switch /etc/l7switch").split("\n"),
          ["l7switch 600", "l7switch 700", "l7switch 750", "root 755"], "modes")
    return said.splitlines()[-1].strip()


def rules_are_reloaded():
    """systemctl reload; a wrong rule file is refused, and the old rules serve."""
    options(no_watch="true")
    RULES.write_text(SERVED)
    run("systemctl restart l7switch")
    equal(get(URL + "own"), "one")
    RULES.write_text(SERVED.replace('"one"', '"two"'))
    time.sleep(1)
    equal(get(URL + "own"), "one", "without a watch")
    run("systemctl reload l7switch")
    until("the new rules", lambda: get(URL + "own") == "two")
    pid = main_process()
    RULES.write_text(SERVED.replace('pool = "app"', 'pool = "apq"'))
    run("systemctl reload l7switch", fails=True)
    equal(get(URL + "own"), "two", "after a refused reload")
    equal(main_process(), pid, "main process")
    equal(run("systemctl is-active l7switch"), "active")
    within(journal(), "apq")
    RULES.write_text(SERVED)
    run("systemctl reload l7switch")
    until("the rules", lambda: get(URL + "own") == "one")


def a_successor_takes_over():
    """Take-over by the script, and by SIGUSR2: no connection is refused; a successor that fails changes nothing."""
    probe = Probe()
    first = main_process()
    run(TAKE_OVER)
    second = main_process()
    if first == second:
        raise AssertionError("the main process is the same")
    run("systemctl kill --kill-whom=main -s USR2 l7switch")
    until("the third front", lambda: main_process() not in (0, first, second))
    third = main_process()
    RULES.write_text("[service.web\n")
    said = run(TAKE_OVER, fails=True)
    within(said, "the successor did not start")
    equal(main_process(), third, "main process")
    within(journal(), "the rules are not valid")
    RULES.write_text(SERVED)
    told = probe.end()
    equal(run("systemctl is-active l7switch"), "active")
    equal(status()["pid"], third, "the admin socket's process")
    equal(status()["take_overs"]["taken"], 2, "take-overs")
    return told


def it_is_restarted():
    """systemctl restart: connections wait, none is refused."""
    probe = Probe()
    run("systemctl restart l7switch")
    until("a request", lambda: get(URL) == "origin\n")
    return probe.end()


def it_is_killed():
    """kill -9: the sockets are kept; connections wait, and are served within seconds."""
    times = []
    for _ in range(3):
        old = main_process()
        os.kill(old, signal.SIGKILL)
        began = time.monotonic()
        # A connection that was not accepted yet waits; one in progress is lost with its process, so none is asked for here.
        within(ask("/"), "200 OK")
        times.append(time.monotonic() - began)
        until("another main process", lambda old=old: main_process() not in (0, old))
    if max(times) > 2 * checks.PATIENCE:
        raise AssertionError(f"answered after {times} s")
    return f"answered after {', '.join(f'{seconds:.1f}' for seconds in times)} s"


def a_successor_is_killed():
    """kill -9 of a successor while the front before it still has a download: noticed at once, not by the watchdog."""
    download = subprocess.Popen(["curl", "-sS", "--limit-rate", "100k", "-o", "/dev/null", f"{URL}files/big"], stderr=subprocess.DEVNULL)
    until("the download", lambda: status()["services"]["web"]["active"] > 0)
    old = main_process()
    run(TAKE_OVER)
    successor = main_process()
    pathlib.Path(f"/proc/{old}/status").read_text()
    os.kill(successor, signal.SIGKILL)
    began = time.monotonic()
    within(ask("/"), "200 OK")
    took = time.monotonic() - began
    until("another main process", lambda: main_process() not in (0, old, successor))
    download.wait()
    if "not our child" in run("journalctl --no-pager -o cat _PID=1 --since -5min"):
        raise AssertionError("systemd does not notice the successor's end")
    if took > 2 * checks.PATIENCE:
        raise AssertionError(f"answered after {took:.1f} s")
    return f"answered after {took:.1f} s"


def the_watchdog_sees():
    """A process that is stopped (SIGSTOP) is killed by the watchdog, and another one serves."""
    old = main_process()
    os.kill(old, signal.SIGSTOP)
    took = until("another main process", lambda: main_process() not in (0, old), limit=60)
    until("a request", lambda: get(URL) == "origin\n")
    within(run("journalctl --no-pager -o cat --since -5min"), "Watchdog timeout")
    return f"after {took:.0f} s"


def logs_go_where_they_are_asked_for():
    """Access log to a file that logrotate turns, to the journal, to syslog; metrics."""
    file = pathlib.Path("/var/log/l7switch/access.log")
    options(access_log=str(file), metrics="127.0.0.1:9100")
    run("systemctl restart l7switch")
    get(URL + "first")
    until("a line", lambda: "/first" in file.read_text())
    equal(get("http://127.0.0.1:9100/ready").strip() != "", True)
    metrics = get("http://127.0.0.1:9100/metrics")
    for name in ("process_open_fds", "process_start_time_seconds", "l7switch_uptime_seconds"):
        within(metrics, name)
    run("logrotate --force /etc/logrotate.d/l7switch")
    within(pathlib.Path(f"{file}.1").read_text(), "/first")

    def second():
        get(URL + "second")
        return "/second" in file.read_text()

    until("a line in the new file", second)
    for target in ("journald", "syslog:/dev/log"):
        options(access_log=target)
        run("systemctl restart l7switch")
        path = f"to-{target.split(':')[0]}"
        get(URL + path)
        until(f"a line by {target}", lambda path=path: f"/{path}" in run("journalctl --sync; journalctl --no-pager -o cat --since -2min"))
    options()


def servers_on_unix_sockets():
    """A server on a Unix socket."""
    RULES.write_text(SERVED.replace('"127.0.0.1:8080"', '"unix:/run/app.sock"'))
    run("systemctl restart l7switch")
    equal(get(URL), "origin\n")
    RULES.write_text(SERVED)


def a_certificate_is_ordered():
    """ACME: a certificate is ordered from Pebble, kept in /var/lib/l7switch, and shown."""
    folder = pathlib.Path("/l7/pebble")
    folder.mkdir(exist_ok=True)
    run(
        f"cd {folder}; openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 9 -subj /CN=pebble"
        " -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE 2>/dev/null; install -m 644 cert.pem /etc/l7switch/authority.pem"
    )
    (folder / "config.json").write_text(json.dumps({"pebble": {
        "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": f"{folder}/cert.pem",
        "privateKey": f"{folder}/key.pem", "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
    }}))
    run(f"systemd-run --unit l7-pebble --setenv PEBBLE_VA_ALWAYS_VALID=1 --setenv PEBBLE_VA_NOSLEEP=1"
        f" pebble -config {folder}/config.json -dnsserver 127.0.0.1:53")
    try:
        until("pebble", lambda: run("curl -sk https://127.0.0.1:14000/dir"), limit=60)
    except AssertionError as error:
        raise AssertionError(f"{error}: {run('journalctl --unit l7-pebble --no-pager -o cat')}") from error
    RULES.write_text(SERVED + """
[acme]
terms_agreed = true
directory = "https://127.0.0.1:14000/dir"
ca = "authority.pem"
state = "/var/lib/l7switch/acme"
[service.secure]
listen = "0.0.0.0:443"
protocol = "https"
certificates = [{ acme = "www.example.com" }]
[[service.secure.route]]
pool = "app"
""")
    run("systemctl reload l7switch")
    took = until(
        "a certificate", lambda: run("curl -sk --resolve www.example.com:443:127.0.0.1 https://www.example.com/") == "origin", limit=30
    )
    issuer = run("openssl s_client -connect 127.0.0.1:443 -servername www.example.com </dev/null 2>/dev/null | openssl x509 -noout -issuer")
    within(issuer, "Pebble")
    run("test -n \"$(ls -A /var/lib/l7switch/acme)\"")
    pathlib.Path("/etc/l7switch/authority.pem").unlink()
    run("systemctl stop l7-pebble")
    RULES.write_text(SERVED)
    run("systemctl restart l7switch")
    return f"after {took:.1f} s"


def a_server_is_drained():
    """An administrator drains a server, as root, without an option."""
    run("l7ctl drain 127.0.0.1:8080")
    within(run("l7ctl servers"), "draining")
    until("the state file", lambda: "8080" in pathlib.Path("/var/lib/l7switch/state").read_text())


def it_comes_with_the_boot():
    """After a boot it serves, and the server is drained still; the journal has the lines of both boots."""
    until("the front", lambda: get(URL + "own") == "one", limit=60)
    within(run("l7ctl servers"), "draining")
    run("l7ctl undrain 127.0.0.1:8080")
    pathlib.Path("/run/x").write_text("")
    run("systemctl start nginx; systemd-run --unit l7-origin python3 /l7/origin.py")
    until("the origin", lambda: get(URL) == "origin\n")
    run("journalctl --sync")
    lines = run("journalctl --unit l7switch --no-pager")
    within(lines, "l7switch: ready")
    if "\x1b" in lines or "[unprintable]" in lines or "blob data" in lines:
        raise AssertionError("lines that cannot be read in the journal")
    for boot in ("-1", "0"):
        within(run(f"journalctl --unit l7switch --boot {boot} --no-pager"), "l7switch: ready")
    manager = run("journalctl --no-pager -o cat _PID=1")
    for complaint in ("reception only permitted", "Failed to parse", "Unknown key", "deprecated"):
        if complaint in manager:
            raise AssertionError(next(line for line in manager.splitlines() if complaint in line))


def packages_are_upgraded_under_load():
    """20 upgrades under load: no refused connect, no failed request, no cut stream."""
    options(drain_timeout="1h")
    RULES.write_text(SERVED)
    run("systemctl restart l7switch")
    probe = Probe()
    wrk = subprocess.Popen(
        ["nice", "-n", "19", "wrk", "-t1", "-c2", "-d3600s", "--timeout", "60s", "-H", "Host: www.example.com", URL], stdout=subprocess.PIPE, text=True
    )
    sockets = subprocess.Popen(["python3", "/l7/sockets.py", "20"], stdout=subprocess.PIPE, text=True)
    streams = [
        Streams("download", f"-o /srv/down {URL}files/big; sha256sum < /srv/down"),
        Streams("upload", f"-T /srv/files/big {URL}upload"),
    ]
    pids = [main_process()]
    times = []
    for number in range(1, 21):
        began = time.monotonic()
        said = run(f"dpkg --install /l7/upgrades/{number}/*.deb")
        times.append(time.monotonic() - began)
        if "did not start" in said:
            raise AssertionError(said)
        pids.append(main_process())
        within(run("dpkg-query --show l7switch"), f"+{number}")
        checks.tell(f"upgrade {number}", times[-1], said=f"{probe.count} requests so far, {len(probe.failures)} failed")
    equal(len(set(pids)), 21, "main processes")
    told = probe.end()
    wrk.send_signal(signal.SIGINT)
    printed = wrk.communicate()[0]
    for word in ("Socket errors", "Non-2xx"):
        if word in printed:
            raise AssertionError(printed)
    told += "".join(f"; {stream.end()}" for stream in streams)
    sockets.send_signal(signal.SIGTERM)
    echoed = sockets.communicate()[0].strip()
    equal(sockets.returncode, 0, echoed)
    requests = re.search(r"(\d+) requests in", printed)[1]
    pathlib.Path("/srv/files/big").unlink()
    return f"{told}; wrk: {requests} requests; {echoed}; an upgrade takes {sum(times) / 20:.1f} s here"


def a_failed_upgrade_says_so():
    """An upgrade whose successor fails: it says so, and the old front serves on."""
    options()
    RULES.write_text(SERVED)
    run("systemctl restart l7switch")
    old = main_process()
    RULES.write_text("[service.web\n")
    said = run("dpkg --install /l7/upgrades/20/*.deb")
    within(said, f"the old front (process {old}) serves on")
    equal(main_process(), old, "main process")
    equal(get(URL), "origin\n")
    RULES.write_text(SERVED)


def a_stopped_front_stays_stopped():
    """An upgrade does not start a front that was stopped; an installation after a removal does."""
    run("systemctl stop l7switch")
    run("dpkg --install /l7/upgrades/20/*.deb")
    equal(run("systemctl is-active l7switch", fails=True), "inactive")
    run("systemctl start l7switch")
    run("dpkg --remove l7switch")
    run("systemctl is-active l7switch", fails=True)
    if pathlib.Path(ADMIN).exists():
        raise AssertionError(f"{ADMIN} is left")
    equal(RULES.exists(), True, "the rules stay after a removal")
    run("dpkg --install /l7/upgrades/20/l7switch_*.deb")
    until("a request", lambda: get(URL) == "origin\n")


def nothing_is_left():
    """Removed and purged: nothing of the packages is left."""
    run("dpkg --remove l7switch l7switch-tools")
    run("dpkg --purge l7switch l7switch-tools")
    before = set(pathlib.Path("/l7/before").read_text().splitlines())
    now = files()
    # The accounts are other ones: the user stays, as Debian advises; so do their backups.
    allowed = re.compile(r"^/etc/(passwd|group|shadow|gshadow)-$|^/var/log/|^/var/lib/logrotate/|^/etc/(hostname|resolv.conf|machine-id)$|^/etc/nginx/")
    left = sorted(path for path in now - before if not allowed.match(path) or "l7switch" in path)
    gone = sorted(path for path in before - now if not allowed.match(path))
    equal((left, gone), ([], []), "files")
    equal(run("systemctl list-unit-files --no-legend 'l7switch*' || true"), "")
    equal(run("systemctl --failed --no-legend"), "")


checks.go([
    the_origin_serves,
    from_nothing_to_a_switched_request,
    the_unit_is_strict,
    rules_are_reloaded,
    a_successor_takes_over,
    it_is_restarted,
    it_is_killed,
    a_successor_is_killed,
    the_watchdog_sees,
    logs_go_where_they_are_asked_for,
    servers_on_unix_sockets,
    a_certificate_is_ordered,
    a_server_is_drained,
    reboot,
    it_comes_with_the_boot,
    packages_are_upgraded_under_load,
    a_failed_upgrade_says_so,
    a_stopped_front_stays_stopped,
    nothing_is_left,
])
