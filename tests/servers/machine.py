# SPDX-License-Identifier: MIT
"""What is started on this machine: the table's servers, and the switch in front of one of them."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import time
import tomllib

HERE = pathlib.Path(__file__).parent
SWITCH = HERE.parents[1] / "target/release/l7switch"
RULES = """\
[service.web]
listen = "127.0.0.1:{switch}"

[[service.web.route]]
pool = "p"

[pool.p]
servers = ["127.0.0.1:{server}"]
"""


class NotStarted(Exception):
    """A program did not come up."""


def servers():
    """The table's entries, each with the differences that are allowed to all."""
    with open(HERE / "servers.toml", "rb") as file:
        table = tomllib.load(file)
    return [entry | {"allowed": table["allowed"] + entry.get("allowed", [])} for entry in table["server"]]


def packages():
    """Where `.ci/install servers` puts what comes from PyPI and npm: a folder named after the pinned lists."""
    pinned = (HERE / "requirements.txt").read_bytes() + (HERE / "package.json").read_bytes()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache) / "l7switch" / f"servers-{hashlib.sha256(pinned).hexdigest()[:12]}"


def version(entry):
    """The version of a server that is installed, else None."""
    where, name = next((kind, entry[kind]) for kind in ("debian", "pypi", "npm") if kind in entry)
    if where == "debian":
        asked = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", name]
    elif where == "pypi":
        code = f"import importlib.metadata as m; print('installed', m.version({name!r}))"
        asked = [str(packages() / "venv/bin/python"), "-c", code]
    else:
        file = packages() / "node_modules" / name / "package.json"
        asked = ["node", "-p", f"'installed ' + JSON.parse(require('fs').readFileSync('{file}')).version"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    status, _, found = said.stdout.strip().partition(" ")
    return found if status == "installed" and said.returncode == 0 else None


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_root(folder):
    """The files that every server serves; their times are long past, so that validators are strong and the same."""
    for number in range(20):
        file = folder / "n" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"number {number}\n" * (number + 1))
    page = "".join(f"<p>Paragraph {number} of a page that is worth compressing.</p>\n" for number in range(100))
    (folder / "page.html").write_text(f"<!DOCTYPE html>\n<title>page</title>\n{page}")
    (folder / "long.bin").write_bytes(b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(65536)))
    (folder / "cgi-bin").mkdir()
    for script in ("lines", "echo"):
        to = folder / "cgi-bin" / script
        to.write_text((HERE / f"apps/cgi-{script}.sh").read_text())
        to.chmod(0o755)
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    folder.parent.chmod(0o755)


@contextlib.contextmanager
def program(command, folder, environment):
    """A shell command in a process group of its own, ended at the end; yields its process."""
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            ["sh", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=3)


def wait_for(port, path, process, seconds, folder):
    """Waits until the port answers a GET of the path (or, without one, takes a connection)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if not path:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            asked.request("GET", path)
            if asked.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise NotStarted((folder / "log").read_text(errors="replace")[-1500:])


@contextlib.contextmanager
def server(entry, folder, root):
    """One of the table's servers; yields its port."""
    port = free_port()
    environment = dict(
        os.environ, PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin", PORT=str(port), ROOT=str(root), DIR=str(folder),
        APPS=str(HERE / "apps"), VENV=str(packages() / "venv/bin"), NODE=str(packages() / "node_modules"),
        NODE_PATH=str(packages() / "node_modules"), PYTHONPATH=str(HERE / "apps"), PYTHONDONTWRITEBYTECODE="1")
    command = f"{entry.get('setup', '')}\nexec {entry['command']}"
    with program(command, folder, environment) as process:
        wait_for(port, entry.get("ready", "/page.html"), process, entry.get("seconds", 40), folder)
        yield port


@contextlib.contextmanager
def switch(server_port, folder):
    """The switch before a server's port; yields its own port."""
    port = free_port()
    (folder / "rules.toml").write_text(RULES.format(switch=port, server=server_port))
    command = f"exec {SWITCH} rules.toml --kernel off --admin admin.sock --access-log off --no-watch"
    with program(command, folder, dict(os.environ)) as process:
        wait_for(port, "", process, 20, folder)
        yield port
        if process.poll() is not None:
            raise NotStarted(f"the switch ended: {(folder / 'log').read_text()[-1500:]}")
