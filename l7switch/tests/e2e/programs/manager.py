#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A service manager as far as one service needs it: `manager.py FOLDER PROGRAM [ARGUMENT]...` runs the program as systemd does
with Type=notify, Restart=always, NotifyAccess=main, KillMode=control-group and a descriptor store, until it is told to end.

It prints a line for each process that it starts (`start PID DESCRIPTORS`), for each that ends (`end PID STATUS`), for each message
of the main process (`notify PID ASSIGNMENTS`; one of another process is `stranger PID ASSIGNMENTS`), and for a main process that is
not its child (`alien PID`)."""

import ctypes
import os
import select
import signal
import socket
import struct
import sys

PR_SET_CHILD_SUBREAPER = 36
FIRST = 3


class Manager:
    def __init__(self, folder, command):
        self.path = os.path.join(folder, "notify")
        self.command = command
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(self.path)
        self.store = []
        self.main = None
        self.told_to_end = set()

    def start(self):
        pid = os.fork()
        if pid == 0:
            self.become()
        self.main = pid
        say("start", pid, len(self.store))

    def become(self):
        """What the child does: the descriptors of the store from 3 on, and the environment that tells of them. What it prints goes to
        standard error, as the lines of the manager are read."""
        os.dup2(2, 1)
        high = [os.dup2(fd, 200 + number) for number, (_, fd) in enumerate(self.store)]
        for number, fd in enumerate(high):
            os.dup2(fd, FIRST + number, inheritable=True)
        os.closerange(FIRST + len(high), 1000)
        environment = dict(os.environ, NOTIFY_SOCKET=self.path, WATCHDOG_USEC="200000", WATCHDOG_PID=str(os.getpid()))
        if self.store:
            environment["LISTEN_PID"] = str(os.getpid())
            environment["LISTEN_FDS"] = str(len(self.store))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in self.store)
        os.execve(self.command[0], self.command, environment)

    def message(self):
        size = socket.CMSG_SPACE(64 * 4) + socket.CMSG_SPACE(12)
        text, ancillary, _, _ = self.socket.recvmsg(1 << 16, size)
        pid, descriptors = None, []
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors += [fd for (fd,) in struct.iter_unpack("i", data)]
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, _, _ = struct.unpack("3i", data)
        lines = text.decode().split("\n")
        told = dict(line.split("=", 1) for line in lines if "=" in line)
        is_main = pid == self.main
        say("notify" if is_main else "stranger", pid, " ".join(line for line in lines if line))
        if is_main and "FDSTORE" in told:
            for fd in descriptors:
                self.keep(told["FDNAME"], fd)
            return
        for fd in descriptors:
            os.close(fd)
        if is_main and "FDSTOREREMOVE" in told:
            for name, fd in self.store:
                if name == told["FDNAME"]:
                    os.close(fd)
            self.store = [kept for kept in self.store if kept[0] != told["FDNAME"]]
        if is_main and "MAINPID" in told:
            self.main = int(told["MAINPID"])
            if parent(self.main) != os.getpid():
                say("alien", self.main)

    def keep(self, name, fd):
        """The same socket is kept once, as with systemd."""
        if any(os.fstat(kept).st_ino == os.fstat(fd).st_ino for _, kept in self.store):
            os.close(fd)
        else:
            self.store.append((name, fd))

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # What it has said before its end comes first.
            while select.select([self.socket], [], [], 0)[0]:
                self.message()
            say("end", pid, os.waitstatus_to_exitcode(status))
            if pid == self.main:
                self.main = None

    def restart(self):
        """KillMode=control-group: what is left of the service is told to end, and is waited for."""
        left = children()
        for pid in left:
            if pid not in self.told_to_end:
                os.kill(pid, signal.SIGTERM)
        self.told_to_end |= left
        if not left:
            self.told_to_end.clear()
            self.start()

    def run(self):
        self.start()
        while True:
            if select.select([self.socket], [], [], 0.005)[0]:
                self.message()
            self.reap()
            if self.main is None:
                self.restart()


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as pids:
        return set(map(int, pids.read().split()))


def parent(pid):
    """The parent of a process. systemd looks at it when it is told of a main process: it may not notice the end of one that is not its
    child."""
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def say(*words):
    print(*words, flush=True)


if __name__ == "__main__":
    # Successors are its children once the relays that have started them have ended.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Manager(sys.argv[1], sys.argv[2:]).run()
