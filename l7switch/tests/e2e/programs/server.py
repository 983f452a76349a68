#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real server over raw sockets: tells what it was sent, and misbehaves where the path asks for it.

    server.py --name NAME --seen FILE [--port PORT]

It prints `ready PORT` when it listens, and writes a line of JSON to FILE for every request head that it
reads, before it acts on it. The first segment of the path says what is done:

    /echo              the request as JSON, with length and SHA-256 of its content (so any other path)
    /chunked           three chunks and two trailer fields
    /until-close       content that ends with the connection
    /length?bytes=N    N bytes of a pattern, with Content-Length
    /gate?file=F&bytes=N   half of the N bytes; the other half when the file F exists
    /before?file=F     no response until the file F exists
    /unread?file=F     as /echo, but the content is not read until the file F exists
    /close             a response that says that it is the last on its connection
    /vanish            a response that does not say so, and then the end of the connection
    /drop              the end of the connection instead of a response
    /overlong          a response, and behind its end another that nobody asked for
    /hints             103, then the response
    /cut?bytes=N       half of the N bytes that Content-Length promised, and then the end
    /early             413 before the content is read
    /gzip              content in a content coding
    /status/CODE       an empty response with this status
    /upgrade           101 to whatever protocol is asked for, then everything comes back
    /speak?text=T      101, the text, and the end
    /websocket         a WebSocket that sends back what it gets (RFC 6455)
    /healthz           200, or 503 when the file NAME.sick stands beside FILE
"""

import argparse
import base64
import errno
import gzip
import hashlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

PATTERN = bytes(range(251))
LOCK = threading.Lock()


def pattern(count, start=0):
    """`count` bytes of an endless sequence of bytes, from `start`."""
    shift = start % len(PATTERN)
    repeated = PATTERN * (count // len(PATTERN) + 2)
    return repeated[shift:shift + count]


class Ended(Exception):
    """The client has ended the connection."""


class Request:
    """A request head, and its content as it is read."""

    def __init__(self, reader, head):
        self.reader = reader
        self.method, self.target, self.version = head[0].split(" ", 2)
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in head[1:]]
        url = urlsplit(self.target)
        self.path = url.path
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.length = 0
        self.hash = hashlib.sha256()
        self.trailers = []

    def field(self, name):
        return ", ".join(value for key, value in self.fields if key.lower() == name)

    def read_content(self):
        """Reads the content and forgets all of it but length and hash."""
        if self.field("transfer-encoding"):
            self.read_chunks()
        else:
            self.read_bytes(int(self.field("content-length") or 0))

    def read_bytes(self, count):
        while count > 0:
            data = self.reader.read1(min(count, 1 << 18))
            if not data:
                raise Ended
            self.hash.update(data)
            self.length += len(data)
            count -= len(data)

    def read_chunks(self):
        while True:
            size = int(read_line(self.reader).split(";")[0], 16)
            if size == 0:
                break
            self.read_bytes(size)
            if read_line(self.reader):
                raise ValueError("a chunk is longer than it says")
        while line := read_line(self.reader):
            self.trailers.append(tuple(part.strip() for part in line.split(":", 1)))


def read_line(reader):
    line = reader.readline(1 << 16)
    if not line.endswith(b"\r\n"):
        raise Ended
    return line[:-2].decode("latin-1")


def wait_for_file(path):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise Ended
        time.sleep(0.005)


class Connection:
    """A connection of a client."""

    def __init__(self, sock, number, server):
        self.sock = sock
        self.number = number
        self.server = server
        self.reader = sock.makefile("rb", 1 << 18)

    def run(self):
        try:
            while self.serve_one():
                pass
        except (Ended, OSError):
            pass
        finally:
            self.reader.close()
            self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def head(self, status, fields, reason="Whatever"):
        lines = [f"HTTP/1.1 {status} {reason}", f"X-Served-By: {self.server.name}"]
        lines += [f"{name}: {value}" for name, value in fields]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def answer(self, request, content, fields=(), status=200):
        self.head(status, [("Content-Length", len(content)), *fields])
        if request.method != "HEAD":
            self.send(content)

    def serve_one(self):
        """Serves a request; true when another may follow."""
        first = self.reader.readline(1 << 16)
        if not first:
            return False
        if not first.endswith(b"\r\n"):
            raise Ended
        head = [first[:-2].decode("latin-1")]
        while line := read_line(self.reader):
            head.append(line)
        self.server.note(self.number, head)
        request = Request(self.reader, head)
        if request.field("expect").lower() == "100-continue" and request.path != "/early":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        action = request.path.split("/")[1].replace("-", "_")
        handler = getattr(self, "do_" + action, self.do_echo)
        return handler(request) is not False

    def do_echo(self, request):
        request.read_content()
        told = {
            "server": self.server.name,
            "connection": self.number,
            "method": request.method,
            "target": request.target,
            "version": request.version,
            "fields": request.fields,
            "length": request.length,
            "sha256": request.hash.hexdigest(),
            "trailers": request.trailers,
        }
        self.answer(request, json.dumps(told).encode(), [("Content-Type", "application/json")])

    def do_chunked(self, request):
        request.read_content()
        self.head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum, X-After")])
        if request.method == "HEAD":
            return
        for part in (b"one ", b"two ", b"three\n"):
            self.send(b"%x\r\n%s\r\n" % (len(part), part))
        self.send(b"0\r\nX-Sum: 14\r\nX-After: all\r\n\r\n")

    def do_until_close(self, request):
        request.read_content()
        self.head(200, [("Content-Type", "text/plain"), ("Connection", "close")])
        self.send(pattern(100_000))
        return False

    def do_length(self, request):
        request.read_content()
        count = int(request.query["bytes"])
        self.head(200, [("Content-Length", count)])
        sent = 0
        while sent < count and request.method != "HEAD":
            part = min(count - sent, 1 << 16)
            self.send(pattern(part, sent))
            sent += part

    def do_gate(self, request):
        request.read_content()
        count = int(request.query["bytes"])
        self.head(200, [("Content-Length", count)])
        self.send(pattern(count // 2))
        wait_for_file(request.query["file"])
        self.send(pattern(count - count // 2, count // 2))

    def do_before(self, request):
        request.read_content()
        wait_for_file(request.query["file"])
        self.answer(request, b"at last\n")

    def do_unread(self, request):
        wait_for_file(request.query["file"])
        self.do_echo(request)

    def do_close(self, request):
        request.read_content()
        self.answer(request, b"closing\n", [("Connection", "close")])
        return False

    def do_vanish(self, request):
        request.read_content()
        self.answer(request, b"vanishing\n")
        return False

    def do_drop(self, request):
        request.read_content()
        return False

    def do_overlong(self, request):
        request.read_content()
        forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
        head = f"HTTP/1.1 200 OK\r\nX-Served-By: {self.server.name}\r\nContent-Length: 3\r\n\r\n"
        self.send(head.encode() + b"abc" + forged)

    def do_hints(self, request):
        self.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        self.do_echo(request)

    def do_cut(self, request):
        request.read_content()
        count = int(request.query["bytes"])
        self.head(200, [("Content-Length", count)])
        self.send(pattern(count // 2))
        return False

    def do_early(self, request):
        self.answer(request, b"too much\n", [("Connection", "close")], status=413)
        # Read on for a while: closing at once would reset the connection.
        self.sock.shutdown(socket.SHUT_WR)
        self.sock.settimeout(5)
        while self.reader.read1(1 << 16):
            pass
        return False

    def do_gzip(self, request):
        request.read_content()
        content = gzip.compress(pattern(50_000), mtime=0)
        fields = [("Content-Encoding", "gzip"), ("ETag", '"abc"'), ("Vary", "Accept-Encoding")]
        self.answer(request, content, fields)

    def do_status(self, request):
        request.read_content()
        code = int(request.path.split("/")[2])
        self.head(code, [] if code in (204, 304) else [("Content-Length", 0)])

    def do_healthz(self, request):
        sick = os.path.exists(os.path.join(self.server.folder, self.server.name + ".sick"))
        self.answer(request, b"sick\n" if sick else b"well\n", status=503 if sick else 200)

    def do_upgrade(self, request):
        fields = [("Connection", "Upgrade"), ("Upgrade", request.field("upgrade"))]
        self.head(101, fields, "Switching Protocols")
        while data := self.reader.read1(1 << 16):
            self.send(data)
        return False

    def do_speak(self, request):
        fields = [("Connection", "Upgrade"), ("Upgrade", request.field("upgrade"))]
        self.head(101, fields, "Switching Protocols")
        self.send(request.query["text"].encode())
        return False

    def do_websocket(self, request):
        key = request.field("sec-websocket-key")
        if not key or request.field("upgrade").lower() != "websocket":
            self.answer(request, b"no WebSocket\n", [("Connection", "close")], status=400)
            return False
        accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Accept", base64.b64encode(accept).decode()),
        ]
        self.head(101, fields, "Switching Protocols")
        while True:
            opcode, payload = self.read_frame()
            if opcode == 9:
                opcode = 10
            self.send(frame(opcode, payload))
            if opcode == 8:
                return False

    def read_frame(self):
        first, second = self.exactly(2)
        count = second & 0x7F
        if count == 126:
            (count,) = struct.unpack("!H", self.exactly(2))
        elif count == 127:
            (count,) = struct.unpack("!Q", self.exactly(8))
        mask = self.exactly(4)
        payload = int.from_bytes(self.exactly(count), "big")
        whole = (mask * (count // 4 + 1))[:count]
        return first & 0x0F, (payload ^ int.from_bytes(whole, "big")).to_bytes(count, "big")

    def exactly(self, count):
        data = self.reader.read(count)
        if len(data) < count:
            raise Ended
        return data


def frame(opcode, payload):
    """An unmasked WebSocket frame."""
    count = len(payload)
    if count < 126:
        head = struct.pack("!BB", 0x80 | opcode, count)
    elif count < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 126, count)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, count)
    return head + payload


def listen(port):
    """Listens on a port; on one that no client is given by itself where it is 0. So no connection can
    take it while the server is down."""
    if port:
        return socket.create_server(("127.0.0.1", port), backlog=512)
    while True:
        try:
            return socket.create_server(("127.0.0.1", random.randrange(10240, 32000)), backlog=512)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


class Server:
    """The listening socket, and the file of what was seen."""

    def __init__(self, name, seen, port):
        self.name = name
        self.folder = os.path.dirname(seen)
        self.seen = open(seen, "a", encoding="ascii")
        self.socket = listen(port)

    def note(self, number, head):
        with LOCK:
            self.seen.write(json.dumps({"connection": number, "head": head}) + "\n")
            self.seen.flush()

    def run(self):
        number = 0
        while True:
            sock, _ = self.socket.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            connection = Connection(sock, number, self)
            threading.Thread(target=connection.run, daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--seen", required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = Server(options.name, options.seen, options.port)
    print("ready", server.socket.getsockname()[1], flush=True)
    server.run()


if __name__ == "__main__":
    sys.exit(main())
