# SPDX-License-Identifier: MIT
"""Two servers of one kind, asked direct and through the switch: the answers are the same, and so is what becomes of the connection.

asking.py FOLDER SECONDS POST PORT SERVER SERVER SWITCH,PORT...

FOLDER has client.py (tests/servers), POST is where the servers take POST, PORT is theirs. It prints one line of JSON: how many
requests went through the switch, what differs, and what is worth knowing."""
import json
import re
import sys
import time
from dataclasses import dataclass
from dataclasses import field

sys.path.insert(0, sys.argv[1])
import client  # noqa: E402
from client import Broken  # noqa: E402
from client import Connection  # noqa: E402

client.SECONDS = float(sys.argv[2])
POST, PORT, SERVERS = sys.argv[3], int(sys.argv[4]), sys.argv[5:7]
SWITCHES = [(address, int(port)) for address, port in (switch.split(",") for switch in sys.argv[7:])]
# The rules choose the server by these.
HOSTS = ("one.test", "two.test")
BODY = b"".join(b"line %d of what is sent\n" % number for number in range(40))
LONG_BODY = BODY * (300_000 // len(BODY) + 1)
FAILURES = (Broken, OSError, ValueError)


@dataclass
class Ask:
    """One request. `cut`: where its head is cut into two segments; `wait`: its content is held back for a 100 (Continue)."""

    name: str
    method: str
    target: str
    fields: list = field(default_factory=list)
    body: bytes = b""
    version: str = "1.1"
    cut: int = 0
    wait: bool = False

    def bytes(self, server):
        """All of it, for the server of this number."""
        return client.request(self.method, self.target, self.fields, self.version, HOSTS[server]) + self.body

    def over(self, connection, server):
        """Sends it over a connection and reads the answer."""
        whole = self.bytes(server)
        if self.cut:
            connection.send(whole[:self.cut])
            time.sleep(0.05)
            connection.send(whole[self.cut:])
        elif self.wait:
            connection.send(whole[:-len(self.body)])
            connection.wait_for_byte(client.SECONDS)
            connection.send(self.body)
        else:
            connection.send(whole)
        return connection.answer(self.method)


class Found:
    """What asking has shown."""

    asked = 0
    differences = []
    notes = []

    def differs(self, name, what):
        """Notes a difference."""
        self.differences.append([name, what])

    def note(self, what):
        """Notes what is worth saying, once."""
        if what not in self.notes:
            self.notes.append(what)


FOUND = Found()
SMALL = Ask("GET", "GET", "/small.txt")


def asks(page):
    """What is asked, by the answer to the first GET of the page."""
    length = [("Content-Length", len(BODY)), ("Content-Type", "text/plain")]
    long = [("Content-Length", len(LONG_BODY)), ("Content-Type", "text/plain")]
    third = len(BODY) // 3
    parts = [BODY[:third], BODY[third:], b""]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    found = [
        SMALL,
        Ask("GET of an empty file", "GET", "/empty.txt"),
        Ask("GET of 1 MiB", "GET", "/mib.bin"),
        Ask("GET of a file on disk", "GET", "/disk.txt"),
        Ask("GET in two segments", "GET", "/page.html", cut=20),
        Ask("GET, accepting gzip", "GET", "/page.html", [("Accept-Encoding", "gzip")]),
        Ask("GET of a missing path", "GET", "/missing.txt"),
        Ask("GET, Connection: close", "GET", "/small.txt", [("Connection", "close")]),
        Ask("GET of 1 MiB, Connection: close", "GET", "/mib.bin", [("Connection", "close")]),
        Ask("GET over HTTP/1.0", "GET", "/small.txt", version="1.0"),
        Ask("GET of 1 MiB over HTTP/1.0", "GET", "/mib.bin", version="1.0"),
        Ask("GET over HTTP/1.0, keep-alive", "GET", "/small.txt", [("Connection", "keep-alive")], version="1.0"),
        Ask("HEAD", "HEAD", "/small.txt"),
        Ask("HEAD of 1 MiB", "HEAD", "/mib.bin"),
        Ask("HEAD of a missing path", "HEAD", "/missing.txt"),
        Ask("OPTIONS", "OPTIONS", "/page.html"),
        Ask("POST", "POST", POST, length, BODY),
        Ask("POST, chunked", "POST", POST, [("Transfer-Encoding", "chunked"), *length[1:]], chunks),
        Ask("POST of 300 KB", "POST", POST, long, LONG_BODY),
        Ask("POST, expecting 100", "POST", POST, [*length, ("Expect", "100-continue")], BODY, wait=True),
        Ask("POST of 300 KB, expecting 100", "POST", POST, [*long, ("Expect", "100-continue")], LONG_BODY, wait=True),
    ]
    if tags := page.values("etag"):
        found.append(Ask("GET If-None-Match", "GET", "/page.html", [("If-None-Match", tags[0])]))
        found.append(Ask("HEAD If-None-Match", "HEAD", "/page.html", [("If-None-Match", tags[0])]))
    if times := page.values("last-modified"):
        found.append(Ask("GET If-Modified-Since", "GET", "/page.html", [("If-Modified-Since", times[0])]))
    if "bytes" in page.values("accept-ranges"):
        for what, ranges in [("", "5-24"), (" of the end", "-300000"), ("s", "0-9,20-29,1000-500000,-5"), (" beyond", "9999999-")]:
            found.append(Ask(f"GET Range{what}", "GET", "/mib.bin", [("Range", f"bytes={ranges}")]))
    return found


def shown(answer):
    """What has to be the same of an answer: all but the time. The line between parts is another in every answer."""
    fields = [(name, value) for name, value in answer.fields if name != "date"]
    content = answer.content
    if line := re.search("boundary=(.+)", ",".join(answer.values("content-type"))):
        fields = [(name, value.replace(line[1], "LINE")) for name, value in fields]
        content = content.replace(line[1].encode(), b"LINE")
    return {"status": (answer.version, answer.status, answer.reason), "interim": answer.interim, "fields": fields,
            "framing": answer.framing, "content": content}


def compare(name, direct, switched):
    """Notes what differs in two answers."""
    one, other = shown(direct), shown(switched)
    for what in one:
        if one[what] != other[what]:
            FOUND.differs(name, f"{what}: {str(one[what])[:300]}, through the switch {str(other[what])[:300]}")


def ends(connection):
    """Waits for the end of a connection on which nothing may come; says what is wrong. A server that closes before it has read all
    resets the connection or not, as what comes is late or not."""
    connection.socket.settimeout(client.SECONDS / 4)
    try:
        more = connection.waiting or connection.socket.recv(60)
    except ConnectionResetError:
        return ""
    except TimeoutError:
        return "none"
    return f"behind bytes: {more[:60]!r}" if more else ""


def again(connection, ask, server):
    """One more request to a server itself: over its connection, or over another where the server has ended that meanwhile. While a slow
    guest asks through the switch, more time may pass than servers keep a connection. Gives the answer and the connection."""
    try:
        return ask.over(connection, server), connection
    except Broken as error:
        if str(error) not in ("the end, after b''", "reset after b''"):
            raise
    connection.socket.close()
    connection = Connection(PORT, SERVERS[server])
    return ask.over(connection, server), connection


def ask_both(ask, server, switch):
    """One request on connections of their own, and, where these stay, another behind it."""
    FOUND.asked += 1
    with Connection(PORT, SERVERS[server]) as one, Connection(switch[1], switch[0]) as other:
        try:
            direct = ask.over(one, server)
        except FAILURES as error:
            FOUND.note(f"no direct answer to {ask.name}: {error}")
            try:
                ask.over(other, server)
                FOUND.note(f"{ask.name}: an answer through the switch")
            except FAILURES:
                pass
            return
        try:
            compare(ask.name, direct, ask.over(other, server))
            if direct.closes():
                if direct.framing == "close":
                    return
                if (here := ends(one)) != (there := ends(other)):
                    FOUND.differs(ask.name, f"the end: {here!r}, through the switch {there!r}")
                return
            goes_on, used = again(one, SMALL, server)
            used.socket.close()
        except FAILURES as error:
            FOUND.differs(ask.name, f"through the switch or behind it: {error}")
            return
        FOUND.asked += 1
        try:
            compare(f"GET behind {ask.name}", goes_on, SMALL.over(other, server))
        except FAILURES as error:
            FOUND.differs(f"GET behind {ask.name}", f"through the switch: {error}")


def in_turn(name, steps, switch, pipelined):
    """Requests of one client connection, to both servers; direct, a connection to each. `steps`: server, request."""
    directs = {server: Connection(PORT, SERVERS[server]) for server, _ in steps}
    switched = Connection(switch[1], switch[0])
    if pipelined:
        for server, direct in directs.items():
            direct.send(b"".join(ask.bytes(server) for to, ask in steps if to == server))
        switched.send(b"".join(ask.bytes(server) for server, ask in steps))
    for number, (server, ask) in enumerate(steps):
        where = f"{name}, {number}: {ask.name}"
        FOUND.asked += 1
        try:
            if pipelined:
                one, other = directs[server].answer(ask.method), switched.answer(ask.method)
            else:
                one, directs[server] = again(directs[server], ask, server)
                other = ask.over(switched, server)
        except FAILURES as error:
            FOUND.differs(where, str(error))
            break
        compare(where, one, other)
        if one.closes():
            FOUND.note("answers one request of a connection")
            if pipelined:
                break
            directs[server], switched = Connection(PORT, SERVERS[server]), Connection(switch[1], switch[0])
    for connection in [*directs.values(), switched]:
        connection.socket.close()


def main():
    """Asks everything, through each address of the switch."""
    with Connection(PORT, SERVERS[0]) as connection:
        page = Ask("GET", "GET", "/page.html").over(connection, 0)
    mib, head = Ask("GET of 1 MiB", "GET", "/mib.bin"), Ask("HEAD", "HEAD", "/small.txt")
    larger = Ask("GET of a page", "GET", "/page.html")
    mixed = [SMALL, head, larger, mib, SMALL, head, mib, larger]
    for switch in SWITCHES:
        for number, ask in enumerate(asks(page)):
            ask_both(ask, number % 2, switch)
        in_turn("one server", [(0, ask) for ask in mixed * 2], switch, False)
        in_turn("two servers", [(number % 2, ask) for number, ask in enumerate(mixed + mixed[1:] + mixed)], switch, False)
        in_turn("one server, pipelined", [(1, ask) for ask in mixed], switch, True)
        in_turn("two servers, pipelined", [(number % 2, ask) for number, ask in enumerate(mixed + mixed[1:])], switch, True)
    print(json.dumps({"asked": FOUND.asked, "differences": FOUND.differences, "notes": FOUND.notes}))


main()
