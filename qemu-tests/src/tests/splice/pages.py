# SPDX-License-Identifier: MIT
"""Both ends of HTTP over segments of every layout: pages.py serve PORT | pages.py ask ADDRESS PORT

A message's bytes come from the memory of the program and from files, by every call that Linux has, and so that a head is cut
between them. What is asked for is /PREFIX/LAYOUT/SIZE; a POST is answered with the digest of its body."""
import collections
import hashlib
import os
import socket
import sys
import threading

MORE, ZEROCOPY, SO_ZEROCOPY = 0x8000, 0x4000000, 60
CORK, NODELAY = socket.TCP_CORK, socket.TCP_NODELAY
BLOCK = hashlib.sha256(b"pages").digest() * 32768
FILES = threading.local()


def pattern(size):
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


def file(data):
    """A file on tmpfs with these bytes."""
    FILES.count = getattr(FILES, "count", 0) + 1
    name = f"/tmp/pages.{os.getpid()}.{threading.get_ident()}.{FILES.count}"
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT)
    os.unlink(name)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]
    return descriptor


def sendfile(to, data):
    descriptor, at = file(data), 0
    while at < len(data):
        at += os.sendfile(to.fileno(), descriptor, at, len(data) - at)
    os.close(descriptor)


def splice(to, data):
    descriptor, left = file(data), len(data)
    reader, writer = os.pipe()
    os.lseek(descriptor, 0, 0)
    while left:
        count = os.splice(descriptor, writer, min(left, 65536))
        left -= count
        while count:
            count -= os.splice(reader, to.fileno(), count)
    for one in (descriptor, reader, writer):
        os.close(one)


def corked(to, *parts):
    to.setsockopt(6, CORK, 1)
    for call, data in parts:
        if data:
            call(to, data)
    to.setsockopt(6, CORK, 0)


def send(to, data):
    to.sendall(data)


def zerocopy(to, data):
    to.setsockopt(1, SO_ZEROCOPY, 1)
    # It stays as it is until the other end has it, which answers before this much more is sent.
    if not hasattr(FILES, "sent"):
        FILES.sent = collections.deque(maxlen=16)
    FILES.sent.append(data)
    view = memoryview(data)
    while view:
        view = view[to.send(view, ZEROCOPY):]


def thirds(data):
    third = len(data) // 3
    return data[:third], data[third:2 * third], data[2 * third:]


def answer(to, layout, head, body):
    a, b, c = thirds(head)
    if layout == "memory":
        send(to, head + body)
    elif layout == "file":
        sendfile(to, head + body)
    elif layout == "behind":
        to.sendall(head, MORE if body else 0)
        sendfile(to, body)
    elif layout == "cut":
        corked(to, (send, a), (sendfile, b), (send, c), (sendfile, body))
    elif layout == "before":
        corked(to, (sendfile, a), (send, b), (sendfile, c), (send, body))
    elif layout == "splice":
        corked(to, (send, a), (splice, b + c + body))
    elif layout == "zerocopy":
        zerocopy(to, head + body)
    elif layout == "mixed":
        corked(to, (zerocopy, a), (sendfile, b), (zerocopy, c), (splice, body))
    elif layout == "urgent":
        for part in (a, b, c, body):
            send(to, part[:-1])
            if part:
                to.send(part[-1:], socket.MSG_OOB)
    else:
        raise ValueError(layout)


LAYOUTS = ("memory", "file", "behind", "cut", "before", "splice", "zerocopy", "mixed", "urgent")
SIZES = (0, 1, 128, 3000, 20000, 1 << 20)


def chunks(body):
    """In chunks, so that there is something to be read all along."""
    coded, at, size = b"", 0, 1
    while at < len(body):
        part = body[at:at + size]
        coded += b"%x\r\n%s\r\n" % (len(part), part)
        at, size = at + len(part), size * 3 % 7001 + 1
    return coded + b"0\r\n\r\n"


class Reader:
    def __init__(self, connection):
        self.connection, self.buffer = connection, b""

    def more(self):
        data = self.connection.recv(1 << 18)
        if not data:
            raise EOFError
        self.buffer += data

    def take(self, size):
        while len(self.buffer) < size:
            self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def message(self):
        first, fields = self.line().decode(), {}
        while line := self.line():
            name, value = line.decode().split(": ")
            fields[name] = value
        if "Transfer-Encoding" not in fields:
            return first, self.take(int(fields.get("Content-Length", 0)))
        body = b""
        while size := int(self.line(), 16):
            body += self.take(size)
            self.line()
        self.line()
        return first, body


def framed(first, body, chunked):
    if chunked:
        return f"{first}\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), chunks(body)
    return f"{first}\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body


def serve(connection):
    reader = Reader(connection)
    try:
        while True:
            first, body = reader.message()
            method, path, _ = first.split()
            _, prefix, layout, size = path.split("/")
            body = hashlib.sha256(body).hexdigest().encode() if method == "POST" else pattern(int(size))
            first = f"HTTP/1.1 200 OK\r\nPath: {path}"
            answer(connection, layout, *framed(first, body, size.startswith("0") and method == "GET" or int(size) % 3 == 0))
    except (EOFError, ConnectionError):
        connection.close()


def ask(address, port):
    connection = socket.create_connection((address, port), float(os.environ["LIMIT"]))
    # What writes from files and pipes does not know of timeouts.
    connection.settimeout(None)
    connection.setsockopt(6, NODELAY, 1)
    reader = Reader(connection)
    for prefix in ("one", "two", "one"):
        for layout in LAYOUTS:
            for size in SIZES:
                for method in ("GET", "POST"):
                    path, sent = f"/{prefix}/{layout}/{size}", pattern(size) if method == "POST" else b""
                    answer(connection, layout, *framed(f"{method} {path} HTTP/1.1", sent, method == "POST" and size % 2 == 0))
                    first, body = reader.message()
                    wanted = hashlib.sha256(sent).hexdigest().encode() if sent or method == "POST" else pattern(size)
                    if "200 OK" not in first or body != wanted:
                        raise SystemExit(f"{method} {path}: {first!r}, {len(body)} bytes")
    print("all right")


if sys.argv[1] == "serve":
    listener = socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
ask(sys.argv[2], int(sys.argv[3]))
