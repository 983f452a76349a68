# SPDX-License-Identifier: MIT
"""Serves the WSGI application by a server that is a library: `serve_wsgi.py NAME`."""

import os
import sys

from wsgi_app import app

PORT = int(os.environ["PORT"])


def cheroot():
    """CherryPy's server."""
    from cheroot.wsgi import Server
    Server(("127.0.0.1", PORT), app).start()


def gevent():
    """gevent's pywsgi."""
    from gevent.pywsgi import WSGIServer
    WSGIServer(("127.0.0.1", PORT), app).serve_forever()


def bjoern():
    """bjoern, in C on libev."""
    import bjoern as server
    server.run(app, "127.0.0.1", PORT)


def wsgiref():
    """The standard library's."""
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", PORT, app).serve_forever()


{"cheroot": cheroot, "gevent": gevent, "bjoern": bjoern, "wsgiref": wsgiref}[sys.argv[1]]()
