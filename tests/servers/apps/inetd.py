# SPDX-License-Identifier: MIT
"""Starts a program for each connection, with the connection as its standard input and output: inetd's "nowait"."""

import os
import socket
import subprocess
import sys

with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))) as listener:
    children = []
    while True:
        connection, _ = listener.accept()
        children = [child for child in children if child.poll() is None]
        children.append(subprocess.Popen(sys.argv[1:], stdin=connection, stdout=connection))
        connection.close()
