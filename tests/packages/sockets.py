# SPDX-License-Identifier: MIT
"""WebSockets through the switch that stay open: sockets.py NUMBER. Each sends and gets a message twice a second, until SIGTERM. Exit
status 1 where one was cut or a message was not echoed."""

import signal
import sys
import threading

from websockets.sync.client import connect

over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
faults: list[str] = []
echoed = 0


def talk(number: int) -> None:
    """One WebSocket."""
    global echoed
    try:
        with connect("ws://127.0.0.1/socket", open_timeout=60, ping_interval=None, close_timeout=60) as websocket:
            sent = 0
            while not over.wait(0.5):
                message = f"{number}: {sent}"
                websocket.send(message)
                answer = websocket.recv(timeout=60)
                if answer != message:
                    raise ValueError(f"{message!r} was answered by {answer!r}")
                sent += 1
            echoed += sent
    except Exception as error:  # each is one cut stream
        faults.append(f"{number}: {type(error).__name__}: {error}")


threads = [threading.Thread(target=talk, args=(number,)) for number in range(int(sys.argv[1]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{len(threads)} WebSockets, {echoed} messages echoed, {len(faults)} cut {faults[:3]}")
sys.exit(1 if faults or not echoed else 0)
