# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The mutation check: faults of one line each, put on purpose into the policy, the decisions, flows and their environment.

Each must be found by the engine's tests or by the simulator's. The faults stand in the files mutations_*.py. They are
put into a copy of the tree in the target folder, never into the tree itself.

    python3 kmod/sim/mutations.py              all of them
    python3 kmod/sim/mutations.py NAME...      these
    python3 kmod/sim/mutations.py --places     only whether each line to be changed is there, once
"""

import argparse
import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

# The tree stays as it is.
sys.dont_write_bytecode = True

from mutations_bounds import BOUNDS
from mutations_list import FAULTS as MOST
from mutations_proxies import PROXIES

FAULTS = MOST + PROXIES + BOUNDS

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
COPY = TARGET / "mutations" / "tree"
# One of its own: cargo does not tell the packages of two trees apart, and what is built of a fault must not be taken for what is
# built of the tree.
BUILD = TARGET / "mutations" / "target"

# Tests that run for longer hang: that is a finding. All of them take a quarter of a minute.
TEST_SECONDS = 150
# A build that takes longer is a mistake of this program's.
BUILD_SECONDS = 1800
# What runs away is stopped before the machine is out of memory.
TEST_MEMORY = 3 << 30
# Packages whose tests are to find the faults: the lower level first.
PACKAGES = ["l7switch-engine", "l7switch-sim"]
# Only seeds that are the same every time: whether a fault is found must not depend on chance.
ENVIRONMENT = {**os.environ, "L7_SIM_SECONDS": "0", "CARGO_TARGET_DIR": str(BUILD), "CARGO_TERM_COLOR": "never"}

# It needs a seed in which one thing happens by chance, and fails where anything is done otherwise, right or wrong.
SKIPPED = ["--skip", "a_run_ends_where_a_cookie_is_met_by_chance"]

NOT_FOUND = "NOT FOUND"


class Mistake(Exception):
    """The list of faults does not fit the tree, or a tree does not build."""


def copy_tree():
    """Makes COPY the same as ROOT, with what is not committed. What is the same already is not touched, so that builds go on."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    wanted = {name for name in names if name and (ROOT / name).is_file()}
    for path in sorted(COPY.rglob("*")):
        if path.is_file() and str(path.relative_to(COPY)) not in wanted:
            path.unlink()
    for name in wanted:
        source, copy = ROOT / name, COPY / name
        if not copy.is_file() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            shutil.copymode(source, copy)


def mutated(text, fault):
    """The text of a file with a fault in it."""
    lines = text.split("\n")
    places = [number for number, line in enumerate(lines) if line.strip() == fault.old]
    if len(places) != 1:
        raise Mistake(f"{fault.name}: {fault.file} has this line {len(places)} times, not once: {fault.old}")
    line = lines[places[0]]
    lines[places[0]] = line[: len(line) - len(line.lstrip())] + fault.new
    return "\n".join(lines)


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (TEST_MEMORY, TEST_MEMORY))


def run(command, seconds, prepare=None):
    """The exit code and the output of a command; `None` for the code where it took too long."""
    process = subprocess.Popen(
        command,
        cwd=COPY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=prepare,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output.decode(errors="replace")
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def running(output):
    """The tests that were running when a process came to its end."""
    # With one thread a test is named when it begins; with more, when it is over or has run for a minute.
    names = re.findall(r"^test (\S+) (?:has been running|\.\.\. (?!ok$|FAILED$|ignored))", output, re.MULTILINE)
    return ", ".join(dict.fromkeys(names)) or "no test"


def first_failure(output):
    """Which test failed first, and what it said."""
    failed = re.search(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", output, re.MULTILINE)
    if not failed:
        signal_name = re.search(r"\((signal: .*?)\)$", output, re.MULTILINE)
        return f"{running(output)}: dies ({signal_name[1] if signal_name else 'no test has failed'})"
    name = failed[1]
    said = re.search(rf"^---- {re.escape(name)} stdout ----\n(.*?)^(?:----|failures:)", output, re.MULTILINE | re.DOTALL)
    lines = said[1].split("\n") if said else []
    at = next((number for number, line in enumerate(lines) if " panicked at " in line), None)
    message = lines[at + 1].strip() if at is not None and at + 1 < len(lines) else ""
    return f"{name}: {message}" if message else name


def finder():
    """What finds a fault in COPY; `None` where nothing does."""
    for package in PACKAGES:
        test = ["cargo", "test", "--quiet", "--locked", "--package", package, "--tests"]
        code, output = run([*test, "--no-run"], BUILD_SECONDS)
        if code != 0:
            raise Mistake(f"{package} does not build:\n{output}")
        # Not --quiet: it would not name the tests.
        code, output = run([*test[:2], *test[3:], "--", *SKIPPED], TEST_SECONDS, limit_memory)
        short = package.removeprefix("l7switch-")
        if code is None:
            return f"{short} {running(output)}: hangs"
        if code != 0:
            return f"{short} {first_failure(output)}"
    return None


def shortened(text, most=110):
    return text if len(text) <= most else text[: most - 1] + "…"


def check(faults):
    """Looks for faults one by one. Whether all were found."""
    width = max(len(fault.name) for fault in faults)
    missed = []
    for number, fault in enumerate(faults, 1):
        start = time.monotonic()
        file = COPY / fault.file
        text = file.read_text()
        file.write_text(mutated(text, fault))
        try:
            found = finder()
        except Mistake as mistake:
            raise Mistake(f"{fault.name}: {mistake}") from None
        finally:
            file.write_text(text)
        if found is None:
            missed.append(fault)
        seconds = time.monotonic() - start
        print(f"{number:2} {fault.name:{width}}  {shortened(found or NOT_FOUND)}  ({seconds:.0f} s)", flush=True)
    for fault in missed:
        print(f"\n{NOT_FOUND}: {fault.name}, {fault.file}\n  {fault.what}\n  - {fault.old}\n  + {fault.new}")
    print(f"\n{len(faults) - len(missed)} of {len(faults)} faults found")
    return not missed


def run_all(faults):
    """The tree without a fault, then with each. Whether all were found."""
    start = time.monotonic()
    copy_tree()
    found = finder()
    if found is not None:
        raise Mistake(f"the tests fail without a fault: {found}")
    print(f"without a fault all tests pass ({time.monotonic() - start:.0f} s)", flush=True)
    good = check(faults)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--places", action="store_true", help="only look for the lines to be changed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {fault.name for fault in FAULTS}
    if unknown:
        raise Mistake(f"no faults of these names: {', '.join(sorted(unknown))}")
    faults = [fault for fault in FAULTS if not arguments.names or fault.name in arguments.names]
    for fault in faults:
        mutated((ROOT / fault.file).read_text(), fault)
    if arguments.places:
        print(f"{len(faults)} faults have their lines")
        return True
    # What is started is stopped too where this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("mutations: stopped"))
    COPY.mkdir(parents=True, exist_ok=True)
    with (COPY.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(f"another run uses {COPY.parent}") from None
        return run_all(faults)


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except Mistake as mistake:
        sys.exit(f"mutations: {mistake}")
