# SPDX-License-Identifier: MIT
"""What a server is asked, direct and through the switch, and how the two answers are compared."""

import concurrent.futures
import subprocess
import time
from dataclasses import dataclass
from dataclasses import field

from client import Answer
from client import Broken
from client import Connection
from client import request

# Fields of one connection, and those that say when.
LEFT_OUT = {"date", "connection", "keep-alive", "transfer-encoding", "via"}
PAGE = "/page.html"
BODY = b"".join(b"line %d of what is sent\n" % number for number in range(80))
LONG_BODY = BODY * 150
NUMBERS = 20
OVER_HTTP2 = {"GET", "HEAD", "GET, accepting gzip", "GET of a missing path", "GET of 2 MiB", "POST"}


@dataclass
class Ask:
    """One request. `wait` is the time between head and content, or "100" for that of an interim response."""

    name: str
    method: str
    target: str
    fields: list = field(default_factory=list)
    body: bytes = b""
    wait: object = 0
    version: str = "1.1"

    def head(self):
        """Its head as bytes."""
        return request(self.method, self.target, self.fields, self.version)

    def over(self, connection):
        """Sends it over a connection and reads the answer."""
        if self.wait:
            connection.send(self.head())
            if self.wait == "100":
                connection.wait_for_byte(1)
            else:
                time.sleep(self.wait)
            connection.send(self.body)
        else:
            connection.send(self.head() + self.body)
        return connection.answer(self.method)


@dataclass
class Found:
    """What asking one server has shown."""

    asked: int = 0
    # (request, what differs)
    differences: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    # Requests whose direct connection carried another one, of all that were tried.
    persisted: int = 0
    tried: int = 0

    def differs(self, name, what):
        """Notes a difference."""
        self.differences.append((name, what))

    def note(self, what):
        """Notes what is worth saying, once."""
        if what not in self.notes:
            self.notes.append(what)


def chunked(body):
    """A body in three chunks."""
    third = len(body) // 3
    parts = [body[:third], body[third:2 * third], body[2 * third:]]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def requests(entry, page):
    """What the server is asked, by its answer to the first GET."""
    post = entry.get("post", "/echo")
    length = [("Content-Length", len(BODY)), ("Content-Type", "text/plain")]
    asks = [
        Ask("GET", "GET", PAGE),
        Ask("HEAD", "HEAD", PAGE),
        Ask("GET, accepting gzip", "GET", PAGE, [("Accept-Encoding", "gzip")]),
        Ask("GET of a missing path", "GET", "/missing.txt"),
        Ask("HEAD of a missing path", "HEAD", "/missing.txt"),
        Ask("GET of 2 MiB", "GET", "/long.bin"),
        Ask("POST", "POST", post, length, BODY),
        Ask("POST, content later", "POST", post, length, BODY, wait=0.1),
        Ask("POST, chunked", "POST", post, [("Transfer-Encoding", "chunked"), *length[1:]], chunked(BODY)),
        Ask("POST, expecting 100", "POST", post, [*length, ("Expect", "100-continue")], BODY, wait="100"),
        Ask("OPTIONS", "OPTIONS", PAGE),
    ]
    asks += [Ask(f"GET {path}", "GET", path) for path in entry.get("paths", [])]
    if tags := page.values("etag"):
        asks.append(Ask("GET If-None-Match", "GET", PAGE, [("If-None-Match", tags[0])]))
        asks.append(Ask("HEAD If-None-Match", "HEAD", PAGE, [("If-None-Match", tags[0])]))
    if times := page.values("last-modified"):
        asks.append(Ask("GET If-Modified-Since", "GET", PAGE, [("If-Modified-Since", times[0])]))
    if "bytes" in page.values("accept-ranges"):
        asks.append(Ask("GET Range", "GET", PAGE, [("Range", "bytes=5-24")]))
        asks.append(Ask("GET Range of the end", "GET", "/long.bin", [("Range", "bytes=-300000")]))
        asks.append(Ask("GET Range beyond the end", "GET", PAGE, [("Range", "bytes=9999999-")]))
    return asks


def compared(direct, switched, varying=()):
    """What differs in two answers, a line each."""
    lines = []
    if direct.status != switched.status:
        lines.append(f"status: {direct.status}, through the switch {switched.status}")
    if direct.reason != switched.reason:
        lines.append(f"reason: {direct.reason!r}, through the switch {switched.reason!r}")
    left_out = LEFT_OUT | set(varying)
    if not {direct.framing, switched.framing} <= {"none", "length"}:
        left_out = left_out | {"content-length"}
    names = {name for name, _ in direct.fields + switched.fields} - left_out
    for name in sorted(names):
        if direct.values(name) != switched.values(name):
            lines.append(f"{name}: {direct.values(name)}, through the switch {switched.values(name)}")
    if direct.content != switched.content:
        lines.append(f"content: {len(direct.content)} bytes {direct.content[:60]!r}, "
                     f"through the switch {len(switched.content)} bytes {switched.content[:60]!r}")
    return lines


def ask_direct(ask, port, page, found):
    """The direct answer, or None where the server gives none; notes what it does on its connection."""
    try:
        with Connection(port) as connection:
            direct = ask.over(connection)
            if direct.bare_lf:
                found.note("lines that end in LF")
            if direct.interim:
                found.note(f"sends {', '.join(map(str, direct.interim))}")
            elif ask.wait == "100":
                found.note(f"{direct.status} to Expect without 100")
            if direct.version != "HTTP/1.1":
                found.note(direct.version)
            if surplus := connection.silent(0.1 if ask.method == "HEAD" else 0.02):
                found.note(f"{len(surplus)} bytes behind {ask.name}")
                return direct
            if not direct.closes():
                found.tried += 1
                found.persisted += goes_on(connection, page)
            return direct
    except (Broken, OSError, ValueError) as error:
        found.note(f"no direct answer to {ask.name}: {error}")
        return None


def goes_on(connection, page):
    """Whether a server's connection carries another request."""
    try:
        connection.send(request("GET", PAGE))
        return connection.answer("GET").status == page.status
    except (Broken, OSError, ValueError):
        return False


def ask_both(ask, ports, page, varying, found):
    """Asks direct and through the switch, and once more on the same client connection; gives the direct answer."""
    direct_port, switch_port = ports
    direct = ask_direct(ask, direct_port, page, found)
    found.asked += 1
    with Connection(switch_port) as connection:
        try:
            switched = ask.over(connection)
            if direct is None:
                found.note(f"{ask.name} through the switch: {switched.status}")
                return None
            for line in compared(direct, switched, varying):
                found.differs(ask.name, line)
            if direct.interim and direct.interim != switched.interim:
                found.differs(ask.name, f"interim: {direct.interim}, through the switch {switched.interim}")
            if switched.closes():
                found.differs(ask.name, "the switch ends the client's connection")
                return direct
            if surplus := connection.silent(0.02):
                found.differs(ask.name, f"bytes behind the answer: {surplus[:60]!r}")
            try:
                connection.send(request("GET", PAGE))
                for line in compared(page, connection.answer("GET"), varying):
                    found.differs(f"GET after {ask.name}", line)
            except Broken as error:
                said = "; direct, the server said so" if direct.closes() else ""
                found.differs(ask.name, f"the switch ends the client's connection without saying so{said}: {error}")
        except (Broken, OSError, ValueError) as error:
            if direct is None:
                found.note(f"{ask.name} through the switch: {error}")
            else:
                found.differs(ask.name, f"through the switch: {error}")
    return direct


def old_version(ports, page, varying, found):
    """HTTP/1.0: the server is asked in HTTP/1.1 by the switch, so its answer to both is looked at."""
    ask = Ask("GET over HTTP/1.0", "GET", PAGE, version="1.0")
    found.asked += 1
    try:
        with Connection(ports[0]) as connection:
            direct = ask.over(connection)
        with Connection(ports[1]) as connection:
            switched = ask.over(connection)
        if switched.framing == "chunked":
            found.differs(ask.name, "chunks for an HTTP/1.0 client")
        for line in compared(page, switched, varying):
            found.differs(ask.name, line)
        if direct.content != page.content or direct.status != page.status:
            found.note(f"HTTP/1.0 gets {direct.status} and {len(direct.content)} bytes direct")
    except (Broken, OSError, ValueError) as error:
        found.differs(ask.name, str(error))


def second_version(port, directs, varying, folder, found):
    """HTTP/2 without TLS through the switch, by curl, compared with the direct answers over HTTP/1.1."""
    head, content, sent = (folder / name for name in ("curl-head", "curl-content", "curl-sent"))
    sent.write_bytes(BODY)
    for ask, direct in directs:
        if ask.name not in OVER_HTTP2:
            continue
        name = f"{ask.name}, over HTTP/2"
        found.asked += 1
        fields = [part for field in ask.fields if field[0] != "Content-Length" for part in ("--header", "%s: %s" % field)]
        how = {"HEAD": ["--head"], "POST": ["--data-binary", f"@{sent}"]}.get(ask.method, [])
        content.write_bytes(b"")
        said = subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "20", "--http2-prior-knowledge", "--dump-header", head,
             *(["--output", "/dev/null"] if ask.method == "HEAD" else ["--output", content]), *how, *fields,
             "--header", "Host: servers.test", f"http://127.0.0.1:{port}{ask.target}"],
            capture_output=True, text=True, check=False)
        if said.returncode:
            found.differs(name, f"curl: {said.stderr.strip()}")
            continue
        lines = head.read_text("latin-1").strip().split("\n\n")[-1].splitlines()
        pairs = [line.split(":", 1) for line in lines[1:]]
        switched = Answer("HTTP/2", int(lines[0].split()[1]), direct.reason,
                          [(key.lower(), value.strip()) for key, value in pairs], content.read_bytes(), direct.framing)
        for line in compared(direct, switched, varying):
            found.differs(name, line)


def alternations(ports, varying, found):
    """HEAD and GET by clients of their own, pipelined by one, over connections that stay, and by six clients at once."""
    expected = {}
    for number in range(NUMBERS):
        for method in ("HEAD", "GET"):
            with Connection(ports[0]) as connection:
                connection.send(request(method, f"/n/{number}.txt"))
                expected[method, number] = connection.answer(method)
    if len({answer.content for answer in expected.values()}) != NUMBERS + 1:
        found.differs("numbers", "the direct answers are not distinct")

    def check(name, number, method, answer):
        found.asked += 1
        for line in compared(expected[method, number], answer, varying):
            found.differs(name, f"{method} {number}: {line}")

    def ask(name, connection, number, method):
        try:
            connection.send(request(method, f"/n/{number}.txt"))
            check(name, number, method, connection.answer(method))
        except (Broken, OSError, ValueError) as error:
            found.differs(name, f"{number}: {error}")

    for number in range(NUMBERS):
        with Connection(ports[1]) as one, Connection(ports[1]) as other:
            ask("HEAD and GET in turn", one, number, "HEAD")
            ask("HEAD and GET in turn", other, (number * 7 + 3) % NUMBERS, "GET")

    name = "pipelined HEAD and GET"
    with Connection(ports[1]) as connection:
        pipelined = [(method, number) for number in range(5) for method in ("HEAD", "GET")]
        connection.send(b"".join(request(method, f"/n/{number}.txt") for method, number in pipelined))
        try:
            for method, number in pipelined:
                check(name, number, method, connection.answer(method))
        except (Broken, OSError, ValueError) as error:
            found.differs(name, str(error))

    name = "clients that stay"
    clients = [Connection(ports[1]) for _ in range(4)]
    for number in range(NUMBERS):
        ask(name, clients[number % 4], number, "HEAD" if number % 3 == 0 else "GET")
    for client in clients:
        client.socket.close()

    def at_once(first):
        with Connection(ports[1]) as connection:
            for number in range(first, first + NUMBERS):
                ask("clients at once", connection, number % NUMBERS, "HEAD" if number % 2 else "GET")

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        list(threads.map(at_once, range(0, NUMBERS, 3)))


def ask_all(entry, ports, folder):
    """Everything that one server is asked. Ports are the server's own, and the switch's before it."""
    found = Found()
    varying = entry.get("varying", [])
    with Connection(ports[0]) as connection:
        connection.send(request("GET", PAGE))
        page = connection.answer("GET")
    directs = []
    for ask in requests(entry, page):
        direct = ask_both(ask, ports, page, varying, found)
        if direct:
            directs.append((ask, direct))
        if ask.name == "POST" and direct and direct.content == BODY:
            head = [("Content-Length", len(LONG_BODY))]
            ask_both(Ask("POST of 280 kB", "POST", ask.target, head, LONG_BODY), ports, page, varying, found)
    old_version(ports, page, varying, found)
    second_version(ports[1], directs, varying, folder, found)
    alternations(ports, varying, found)
    return found
