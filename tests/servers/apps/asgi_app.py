# SPDX-License-Identifier: MIT
"""An ASGI application: files, an echo, and content of unknown length."""

import os

ROOT = os.environ["ROOT"]


async def app(scope, receive, send):
    """One request, or the server's start and end."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    file = os.path.join(ROOT, path.lstrip("/"))
    status, parts, length = 200, [], True
    if path == "/echo":
        message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
    elif path == "/stream":
        parts, length = [b"part %d\n" % number for number in range(3)], False
    elif ".." in path or not os.path.isfile(file):
        status, parts = 404, [b"none\n"]
    else:
        with open(file, "rb") as opened:
            parts = list(iter(lambda: opened.read(65536), b""))
    fields = [(b"content-type", b"application/octet-stream"), (b"x-two", b"1"), (b"x-two", b"2")]
    if length:
        fields.append((b"content-length", b"%d" % sum(map(len, parts))))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    for part in parts if scope["method"] != "HEAD" else []:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
