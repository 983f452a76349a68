# SPDX-License-Identifier: MIT
"""The admin API by its description: schemathesis asks a running switch what is described, and what is not."""

import argparse
import contextlib
import os
import pathlib
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).parent
SWITCH = pathlib.Path(os.environ.get("L7SWITCH", HERE.parents[1] / "target/debug/l7switch"))
# The names are those of the description's examples.
RULES = """\
[service.web]
listen = "127.0.0.1:{web}"

[[service.web.route]]
name = "api"
path = {{ prefix = "/api" }}
pool = "api"

[[service.web.route]]
respond = {{ status = 410 }}

[service.bytes]
listen = "127.0.0.1:{bytes}"
protocol = "tcp"
route = [{{ pool = "sockets" }}]

[pool.api]
servers = ["10.0.0.1:80", "10.0.0.2:80"]

[pool.sockets]
servers = ["unix:/nowhere/app.sock"]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy(socketserver.ThreadingTCPServer):
    """Copies bytes between TCP, which schemathesis speaks, and the admin socket."""
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, path):
        self.path = str(path)
        super().__init__(("127.0.0.1", 0), Copies)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Copies(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self.server.path)
            back = threading.Thread(target=copy, args=(admin, self.request), daemon=True)
            back.start()
            copy(self.request, admin)
            back.join()


def copy(source, target):
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def switch(folder):
    """A switch, and its process."""
    rules, admin = folder / "rules.toml", folder / "admin.sock"
    rules.write_text(RULES.format(web=free_port(), bytes=free_port()))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([SWITCH, rules, "--admin", admin, "--kernel", "off", "--access-log", "off", "--no-watch"],
                                   stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        if not process.stdout.readline():
            raise SystemExit("the switch does not start:\n" + (folder / "log").read_text())
        yield admin, process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="requests that are generated for each operation and phase")
    parser.add_argument("more", nargs="*", help="options of schemathesis, behind --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with switch(folder) as (admin, process):
            url = f"http://127.0.0.1:{Proxy(admin).server_address[1]}"
            command = [pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run",
                       HERE.parents[1] / "docs/openapi.json", "--url", url, "--checks", "all", "--max-examples", str(arguments.examples),
                       "--continue-on-failure", "--no-color", *arguments.more]
            found = subprocess.run(command, cwd=folder).returncode
            log = (folder / "log").read_text()
            if process.poll() is not None or "panic" in log:
                raise SystemExit("the switch has ended, or a task of it:\n" + log)
    sys.exit(found)


if __name__ == "__main__":
    main()
