#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A WebSocket client (RFC 6455): `websocket.py PORT PATH` sends messages of many lengths and a ping,
checks that each comes back, closes in order, and prints how many there were."""

import base64
import hashlib
import os
import socket
import struct
import sys

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Client:
    """An open WebSocket."""

    def __init__(self, port, path):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.reader = self.sock.makefile("rb", 1 << 16)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: socket.example\r\nConnection: keep-alive, Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            .encode()
        )
        status = self.reader.readline()
        fields = {}
        while (line := self.reader.readline()) not in (b"\r\n", b""):
            name, value = line.decode().split(":", 1)
            fields[name.lower()] = value.strip()
        expected = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        assert status.startswith(b"HTTP/1.1 101 "), status
        assert fields["upgrade"].lower() == "websocket", fields
        assert fields["connection"].lower() == "upgrade", fields
        assert fields["sec-websocket-accept"] == expected, fields

    def send(self, opcode, payload):
        count = len(payload)
        mask = os.urandom(4)
        if count < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | count)
        elif count < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, count)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, count)
        whole = int.from_bytes((mask * (count // 4 + 1))[:count], "big")
        masked = (int.from_bytes(payload, "big") ^ whole).to_bytes(count, "big")
        self.sock.sendall(head + mask + masked)

    def receive(self):
        first, count = self.reader.read(2)
        assert first & 0x80 and not count & 0x80, (first, count)
        if count == 126:
            (count,) = struct.unpack("!H", self.reader.read(2))
        elif count == 127:
            (count,) = struct.unpack("!Q", self.reader.read(8))
        return first & 0x0F, self.reader.read(count)


def main():
    client = Client(int(sys.argv[1]), sys.argv[2])
    messages = [(BINARY, os.urandom(size)) for size in (0, 1, 125, 126, 65535, 65536, 300_000)]
    messages += [(TEXT, f"message {number}".encode()) for number in range(200)]
    for opcode, payload in messages:
        client.send(opcode, payload)
        got = client.receive()
        assert got == (opcode, payload), (opcode, len(payload), got[0], len(got[1]))
    client.send(PING, b"still there?")
    assert client.receive() == (PONG, b"still there?")
    client.send(CLOSE, struct.pack("!H", 1000))
    assert client.receive() == (CLOSE, struct.pack("!H", 1000))
    assert client.reader.read() == b"", "something after the closing frame"
    print(len(messages))


if __name__ == "__main__":
    sys.exit(main())
