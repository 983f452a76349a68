# SPDX-License-Identifier: MIT
"""An HTTP/1.1 client over a raw socket. It keeps what a server sent as it was sent, and says how the content's end was told."""

import re
import socket
import time
from dataclasses import dataclass
from dataclasses import field

SECONDS = 15


class Broken(Exception):
    """What came is no whole response."""


@dataclass
class Answer:
    """One response. Names of fields are in lower case, in the order in which they came."""

    version: str
    status: int
    reason: str
    fields: list
    content: bytes = b""
    # How the end was told: "none", "length", "chunked" or "close".
    framing: str = "none"
    # Status codes of the interim responses before it.
    interim: list = field(default_factory=list)
    # Lines of the head that end in LF alone were among it.
    bare_lf: bool = False

    def values(self, name):
        """The values of all fields of this name."""
        return [value for known, value in self.fields if known == name]

    def closes(self):
        """Whether the sender says, or shows, that the connection carries no other response."""
        options = ",".join(self.values("connection")).lower()
        kept = self.version != "HTTP/1.0" or "keep-alive" in options
        return "close" in options or not kept or self.framing == "close"


class Connection:
    """A connection to a port, of loopback where nothing else is said."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waiting = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends; a peer that has closed may have answered before, so that is no error here."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def more(self):
        """Reads what comes; false at the end."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            raise Broken(f"reset after {self.waiting[:60]!r}") from None
        except TimeoutError:
            raise Broken(f"nothing for {SECONDS} s after {self.waiting[:60]!r}") from None
        self.waiting += data
        return bool(data)

    def silent(self, seconds):
        """Waits so long; says what came meanwhile that no answer has taken."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not data:
                break
            self.waiting += data
        self.socket.settimeout(SECONDS)
        return self.waiting

    def line(self):
        """One line without its end, and whether the end was LF alone."""
        while b"\n" not in self.waiting:
            if not self.more():
                raise Broken(f"the end, after {self.waiting[:60]!r}")
        line, self.waiting = self.waiting.split(b"\n", 1)
        return (line[:-1], False) if line.endswith(b"\r") else (line, True)

    def take(self, length):
        """So many bytes."""
        parts = [self.waiting]
        got = len(self.waiting)
        while got < length:
            self.waiting = b""
            if not self.more():
                raise Broken(f"the end after {got} of {length} bytes")
            parts.append(self.waiting)
            got += len(self.waiting)
        whole = b"".join(parts)
        self.waiting = whole[length:]
        return whole[:length]

    def wait_for_byte(self, seconds):
        """Waits for the first byte of an answer, so long at most."""
        if not self.waiting:
            self.socket.settimeout(seconds)
            try:
                self.waiting += self.socket.recv(65536)
            except (TimeoutError, ConnectionResetError):
                pass
            self.socket.settimeout(SECONDS)

    def head(self):
        """The head of one response, interim or not."""
        start, bare = self.line()
        found = re.fullmatch(rb"(HTTP/\d\.\d) (\d{3})(?: (.*))?", start)
        if not found:
            raise Broken(f"no status line: {start[:80]!r}")
        answer = Answer(found[1].decode(), int(found[2]), (found[3] or b"").decode("latin-1"), [], bare_lf=bare)
        while True:
            line, bare = self.line()
            answer.bare_lf |= bare
            if not line:
                return answer
            name, _, value = line.partition(b":")
            answer.fields.append((name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")))

    def answer(self, method):
        """The next final response to a request of this method, with its content."""
        interim = []
        answer = self.head()
        while answer.status < 200:
            interim.append(answer.status)
            answer = self.head()
        answer.interim = interim
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        codings = ",".join(answer.values("transfer-encoding")).lower()
        lengths = answer.values("content-length")
        if codings.endswith("chunked"):
            answer.framing = "chunked"
            answer.content = self.chunks()
        elif lengths:
            answer.framing = "length"
            answer.content = self.take(int(lengths[0]))
        else:
            answer.framing = "close"
            while self.more():
                pass
            answer.content, self.waiting = self.waiting, b""
        return answer

    def chunks(self):
        """Chunked content up to the end of its trailer section."""
        content = []
        while True:
            size = int(self.line()[0].split(b";")[0], 16)
            if size == 0:
                while self.line()[0]:
                    pass
                return b"".join(content)
            content.append(self.take(size))
            self.line()


def request(method, target, fields=(), version="1.1", host="servers.test"):
    """The head of a request as bytes."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
