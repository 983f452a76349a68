# SPDX-License-Identifier: MIT
"""A WSGI application (PEP 3333): files, an echo, and content of unknown length."""

import os

ROOT = os.environ["ROOT"]


def app(environ, start_response):
    """One request."""
    path = environ["PATH_INFO"]
    if path == "/echo":
        source, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH")
        if length:
            body = source.read(int(length))
        else:
            # Without a length (chunks) only some servers say that the input ends.
            body = source.read() if environ.get("wsgi.input_terminated") else b""
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
        return [body]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"part %d\n" % number for number in range(3))
    file = os.path.join(ROOT, path.lstrip("/"))
    if ".." in path or not os.path.isfile(file):
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"none\n"]
    kind = "text/html" if path.endswith(".html") else "application/octet-stream"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(os.path.getsize(file))), ("X-Two", "1"),
                              ("X-Two", "2")])
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    opened = open(file, "rb")
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(opened) if wrapper else iter(lambda: opened.read(65536), b"")
