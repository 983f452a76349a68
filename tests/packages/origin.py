# SPDX-License-Identifier: MIT
"""A server on port 8081 of the guest: WebSockets are echoed, an upload is answered with its SHA-256."""

import hashlib
import socket
import threading

from websockets.frames import OP_CLOSE
from websockets.frames import OP_TEXT
from websockets.server import ServerProtocol
from websockets.http11 import Request


def head(connection: socket.socket) -> tuple[bytes, bytes]:
    """A request's head, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b"", b""
        data += part
    first, rest = data.split(b"\r\n\r\n", 1)
    return first + b"\r\n\r\n", rest


def upload(connection: socket.socket, text: str, rest: bytes) -> None:
    """Takes content of a known length."""
    fields = dict(line.lower().split(": ", 1) for line in text.split("\r\n")[1:] if line)
    left = int(fields["content-length"]) - len(rest)
    if "expect" in fields:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = hashlib.sha256(rest)
    while left > 0:
        part = connection.recv(65536)
        if not part:
            return
        digest.update(part)
        left -= len(part)
    body = digest.hexdigest().encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))


def echo(connection: socket.socket, received: bytes) -> None:
    """Echoes messages of a WebSocket until its end."""
    protocol = ServerProtocol()
    while received:
        protocol.receive_data(received)
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
            elif event.opcode == OP_TEXT:
                protocol.send_text(event.data)
            elif event.opcode == OP_CLOSE:
                pass
        for data in protocol.data_to_send():
            if data:
                connection.sendall(data)
        received = connection.recv(65536)


def serve(connection: socket.socket) -> None:
    """Serves one connection."""
    with connection:
        first, rest = head(connection)
        if b"upgrade: websocket" in first.lower():
            echo(connection, first + rest)
        elif first:
            upload(connection, first.decode(), rest)


with socket.create_server(("127.0.0.1", 8081)) as listener:
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted,), daemon=True).start()
