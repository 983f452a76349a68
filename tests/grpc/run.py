# SPDX-License-Identifier: MIT
"""gRPC between grpcio and grpcio, direct and through the switch, in clear text and by TLS: each call ends alike."""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import grpc

HERE = pathlib.Path(__file__).parent
SWITCH = pathlib.Path(os.environ.get("L7SWITCH", HERE.parents[1] / "target/release/l7switch"))
RULES = """\
[service.web]
listen = "127.0.0.1:{front}"
{service}
[[service.web.route]]
pool = "p"

[pool.p]
servers = ["127.0.0.1:{back}"]
protocol = "http2"
{pool}
health = {{ grpc = "", interval = "200ms", rise = 1 }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def program(*command):
    """A program that has said its first line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True) as process:
        try:
            if not process.stdout.readline():
                raise SystemExit(f"{command[0]} does not start")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def certificate(folder):
    """An authority's certificate, and one that it has signed for localhost and 127.0.0.1."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
            "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem",
            "-out", "csr", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem",
            "-extfile", "names", "-days", "2")
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"


class Caller:
    """Calls of each kind over one channel."""

    def __init__(self, channel):
        self.unary = channel.unary_unary
        self.down = channel.unary_stream
        self.up = channel.stream_unary
        self.both = channel.stream_stream

    @staticmethod
    def outcome(call):
        """What came of a call: its value, or status, details and trailing metadata."""
        try:
            return call()
        except grpc.RpcError as error:
            metadata = tuple((key, value) for key, value in error.trailing_metadata() or () if key == "why")
            return error.code(), error.details(), metadata

    def calls(self):
        """The kinds, by name."""
        name = "/test.Echo/{}".format
        large = b"x" * 300_000
        return {
            "unary": lambda: self.unary(name("Unary"))(b"hello"),
            "unary, large": lambda: len(self.unary(name("Unary"))(large)),
            "unary, empty": lambda: self.unary(name("Unary"))(b""),
            "server streams": lambda: list(self.down(name("Numbers"))(b"20")),
            "client streams": lambda: self.up(name("Total"))(iter([b"ab"] * 20)),
            "both stream": lambda: list(self.both(name("Both"))(iter([b"ab", b"cd", b"ef"]))),
            "status with details and metadata": lambda: self.unary(name("Refused"))(b""),
            "status in the middle": lambda: list(self.down(name("Breaks"))(b"")),
            "no such method": lambda: self.unary(name("None"))(b""),
        }

    def turns(self):
        """Both sides in turn: each message is answered before the next one is sent."""
        answers = []

        def messages():
            for number in range(5):
                yield b"%d!" % number
                while len(answers) <= number:
                    time.sleep(0.0005)
        for answer in self.both("/test.Echo/Both")(messages()):
            answers.append(answer)
        return answers

    def deadline(self):
        return self.outcome(lambda: self.unary("/test.Echo/Slow")(b"", timeout=0.3))[0]

    def cancel(self):
        call = self.down("/test.Echo/Endless")(b"")
        for _ in range(3):
            next(call)
        call.cancel()
        return self.outcome(lambda: list(call))[0]


def channel(port, ca, options=()):
    if not ca:
        return grpc.insecure_channel(f"127.0.0.1:{port}", options)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes())
    return grpc.secure_channel(f"localhost:{port}", credentials, options)


def many(caller, count, expected):
    """So many calls of each kind from eight threads; those that end otherwise."""
    bad = []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name, call in caller.calls().items():
            begun = time.monotonic()
            number = count // 20 if "large" in name else count
            wrong = [got for got in pool.map(lambda _, call=call: caller.outcome(call), range(number))
                     if got != expected[name]]
            print(f"  {name}: {number} calls in {time.monotonic() - begun:.1f} s, {len(wrong)} otherwise", flush=True)
            bad += [(name, wrong[:3])] if wrong else []
    return bad


class Stream:
    """A call that stays open: each message is answered before the next one is sent."""

    def __init__(self, caller):
        self.messages = queue.Queue()
        self.call = caller.both("/test.Echo/Both")(iter(self.messages.get, None))
        self.said = 0

    def say(self):
        """Says a message; whether it comes back."""
        self.said += 1
        self.messages.put(b"%d!" % self.said)
        return next(self.call)

    def close(self):
        """Ends it; what still comes."""
        self.messages.put(None)
        return list(self.call)


def switch_process(admin):
    """The process that has the front's place."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(admin))
        connection.sendall(b"GET /v1/status HTTP/1.1\r\nHost: switch\r\nConnection: close\r\n\r\n")
        answer = connection.makefile("rb").read()
    return json.loads(answer.partition(b"\r\n\r\n")[2])["pid"]


def take_overs(caller, admin, count):
    """The front's place is taken over again and again: calls in progress go on, others begin. What went wrong."""
    wrong = []
    done = threading.Event()
    counts = [0]

    def unary():
        while not done.is_set():
            got = caller.outcome(lambda: caller.unary("/test.Echo/Unary")(b"x", timeout=30))
            counts[0] += 1
            if got != b"x":
                wrong.append(got)

    threads = [threading.Thread(target=unary) for _ in range(4)]
    for thread in threads:
        thread.start()
    streams = [Stream(caller) for _ in range(10)]
    expected = [streams[0].say()] + [stream.say() for stream in streams[1:]]
    if len(set(expected)) != 1:
        wrong.append(expected)
    pid = switch_process(admin)
    for _ in range(count):
        os.kill(pid, signal.SIGUSR2)
        patience = time.monotonic() + 60
        while switch_process(admin) == pid and time.monotonic() < patience:
            time.sleep(0.01)
        if switch_process(admin) == pid:
            wrong.append("no take-over within a minute")
            break
        pid = switch_process(admin)
        streams.append(Stream(caller))
        for stream in streams:
            try:
                stream.say()
            except (grpc.RpcError, StopIteration) as error:
                wrong.append(repr(error))
    for stream in streams:
        try:
            stream.close()
        except grpc.RpcError as error:
            wrong.append(repr(error))
    done.set()
    for thread in threads:
        thread.join()
    said = sum(stream.said for stream in streams)
    print(f"  {count} take-overs: {len(streams)} streams with {said} messages, {counts[0]} calls, {len(wrong)} wrong", flush=True)
    return pid, [("take-overs", wrong[:3])] if wrong else []


def restart(caller, start, stop):
    """Calls while the server is restarted: their statuses."""
    statuses = {}
    over = time.monotonic() + 6
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        def call(_):
            while time.monotonic() < over:
                got = caller.outcome(lambda: caller.unary("/test.Echo/Unary")(b"x", timeout=5))
                key = "OK" if got == b"x" else got[0].name
                statuses[key] = statuses.get(key, 0) + 1
                time.sleep(0.002)
        calls = [pool.submit(call, number) for number in range(8)]
        time.sleep(1)
        stop()
        time.sleep(1)
        start()
        for each in calls:
            each.result()
    return statuses


def check(count, taken, secure, folder):
    ca, cert, key = certificate(folder) if secure else (None, None, None)
    back, front = free_port(), free_port()
    serve = [sys.executable, str(HERE / "server.py"), f"127.0.0.1:{back}", *([str(cert), str(key)] if secure else [])]
    service = f'protocol = "https"\ncertificates = [{{ cert = "{cert}", key = "{key}" }}]' if secure else ""
    pool = f'tls = {{ ca = "{ca}", server_name = "localhost" }}' if secure else ""
    rules = folder / "rules.toml"
    rules.write_text(RULES.format(front=front, back=back, service=service, pool=pool))
    bad = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(program(*serve))
        admin = folder / "admin"
        stack.enter_context(program(str(SWITCH), str(rules), "--kernel", "off", "--admin", str(admin), "--drain-timeout", "1h"))
        with channel(back, ca) as direct, channel(front, ca) as through:
            here, there = Caller(direct), Caller(through)
            expected = {name: here.outcome(call) for name, call in here.calls().items()}
            bad += many(there, count, expected)
            for name in ("turns", "deadline", "cancel"):
                one, other = getattr(here, name)(), getattr(there, name)()
                print(f"  {name}: {one!r}, through the switch {other!r}", flush=True)
                bad += [(name, other)] if one != other else []
            for _ in range(20):
                there.cancel()
            seen = there.unary("/test.Echo/Ended")(b"22")
            print(f"  cancelled, as the server saw: {seen!r} of 22", flush=True)
            bad += [("cancelled", seen)] if seen != b"22" else []

            # Nothing moves for longer than any server of gRPC lets its clients ping.
            call = Caller.outcome(lambda: there.unary("/test.Echo/Quiet")(b"x"))
            print(f"  quiet for 50 s: {call!r}", flush=True)
            bad += [("quiet", call)] if call != b"x" else []

            last, wrong = take_overs(there, admin, taken)
            stack.callback(os.kill, last, signal.SIGTERM)
            bad += wrong

            servers = [server]

            def stop():
                servers[-1].send_signal(signal.SIGTERM)
                servers[-1].wait(10)

            def start():
                servers.append(stack.enter_context(program(*serve)))
            statuses = restart(there, start, stop)
            print(f"  while the server was restarted: {statuses}", flush=True)
            # grpcio's own server ends some calls with CANCELLED as it stops, direct ones too.
            if set(statuses) - {"OK", "UNAVAILABLE", "CANCELLED"} or statuses.get("OK", 0) < 100:
                bad.append(("restart", statuses))
            call = there.down("/test.Echo/Endless")(b"")
            next(call)
            servers[-1].kill()
            status = there.outcome(lambda: list(call))
            print(f"  when the server was killed: {status!r}", flush=True)
            if status[0] != grpc.StatusCode.UNAVAILABLE:
                bad.append(("killed", status))
            time.sleep(1)
            status = there.outcome(lambda: there.unary("/test.Echo/Unary")(b"x", timeout=5))
            print(f"  without a server: {status!r}", flush=True)
            if status[0] != grpc.StatusCode.UNAVAILABLE:
                bad.append(("without a server", status))
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="calls of each kind")
    parser.add_argument("--take-overs", type=int, default=100, help="take-overs while calls are open")
    arguments = parser.parse_args()
    bad = []
    for secure in (False, True):
        print("by TLS" if secure else "in clear text", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            bad += check(arguments.calls, arguments.take_overs, secure, pathlib.Path(folder))
    for name, what in bad:
        print(f"DIFFERS {name}: {what}")
    return 1 if bad else 0


sys.exit(main())
