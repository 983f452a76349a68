# SPDX-License-Identifier: MIT
"""What the checks in a guest stand on: they run in order, also over a boot, and each tells the host how it went."""

import json
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

TOLD = pathlib.Path("/dev/ttyS1")
STAGE = pathlib.Path("/var/lib/l7-stage")
# An emulated machine on a busy host is this much slower than one's own.
PATIENCE = 4


def run(command: str, fails: bool = False) -> str:
    """Runs a line of shell; what it prints, on both outputs."""
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"`{command}` ended with {done.returncode}: {done.stdout.strip()[-1500:]}")
    return done.stdout.strip()


def get(url: str, host: str = "www.example.com", limit: float = 60) -> str:
    """The body of an answer of status 200."""
    request = urllib.request.Request(url, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=limit) as answer:
        return answer.read().decode()


def until(what: str, condition, limit: float = 15) -> float:
    """Waits for a condition; the seconds that it took."""
    began = time.monotonic()
    last = None
    while time.monotonic() - began < limit * PATIENCE:
        try:
            if condition():
                return time.monotonic() - began
        except (OSError, AssertionError, urllib.error.URLError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what}: not after {limit * PATIENCE} s ({last})")


def equal(found, expected, what: str = "") -> None:
    """Both are the same."""
    if found != expected:
        raise AssertionError(f"{what}: found {found!r}, expected {expected!r}")


def within(text: str, part: str) -> None:
    """The text has the part."""
    if part not in text:
        raise AssertionError(f"no {part!r} in {text[-3000:]!r}")


def main_process() -> int:
    """The unit's main process."""
    return int(run("systemctl show --property MainPID --value l7switch"))


def journal(since: str = "-10min") -> str:
    """The unit's lines in the journal."""
    run("journalctl --sync")
    return run(f"journalctl --unit l7switch --output cat --no-pager --since '{since}'")


def tell(name: str, seconds: float, **more) -> None:
    """Tells the host."""
    with TOLD.open("w") as port:
        port.write(json.dumps({"name": name, "seconds": seconds, **more}) + "\n")


def reboot() -> None:
    """A step that boots the machine again."""


def go(steps) -> None:
    """Runs the steps from where the boot before has left off, then switches the machine off."""
    done = int(STAGE.read_text()) if STAGE.exists() else 0
    run("stty -F /dev/ttyS1 raw -echo")
    for number, step in enumerate(steps):
        if number < done:
            continue
        STAGE.write_text(str(number + 1))
        if step is reboot:
            subprocess.run(["sync"], check=True)
            subprocess.run(["systemctl", "reboot"], check=True)
            time.sleep(3600)
        name = (step.__doc__ or step.__name__).splitlines()[0].rstrip(".")
        began = time.monotonic()
        try:
            said = step()
            tell(name, time.monotonic() - began, said=said or "")
        except Exception as error:  # every fault is told, and the next step has its turn
            tell(name, time.monotonic() - began, fault=f"{type(error).__name__}: {error}")
    tell("all steps", 0, said=str(len(steps)))
    subprocess.run(["sync"], check=True)
    subprocess.run(["systemctl", "poweroff", "--force", "--force"], check=True)
    time.sleep(3600)
