#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs, runs, upgrades and removes the packages of `make deb` in a Debian 13 that QEMU boots with systemd: `make test-packages`.

run.py [plain] [dkms]: only these machines. The console of each is in target/packages/.
"""

import os
import pathlib
import re
import sys
import time

import machine
from machine import REPOSITORY
from machine import Machine
from machine import in_root
from machine import say
from machine import shell

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
UPGRADES = 20


def debs(name: str) -> list[pathlib.Path]:
    """The files of a package."""
    found = sorted((TARGET / "deb").glob(f"{name}_*.deb"))
    if not found:
        sys.exit(f"no package {name} in {TARGET}/deb: make deb")
    return found


def upgrades(folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders with the same packages of rising versions."""
    shell(f"as_root rm -rf {folder}")
    folder.mkdir(parents=True)
    for package in debs("l7switch") + debs("l7switch-tools"):
        tree = folder / "tree"
        shell(f"as_root dpkg-deb -R {package} {tree}")
        control = tree / "DEBIAN/control"
        before = control.read_text()
        version = re.search(r"^Version: (.*)$", before, re.M)[1]
        for number in range(1, UPGRADES + 1):
            to = folder / str(number)
            to.mkdir(parents=True, exist_ok=True)
            control.write_text(before.replace(version, f"{version}+{number}"))
            name = package.name.replace(version, f"{version}+{number}")
            shell(f"as_root dpkg-deb -Znone --root-owner-group -b {tree} {to}/{name}")
        shell(f"as_root rm -rf {tree}")
    return [folder / str(number) for number in range(1, UPGRADES + 1)]


def plain(folder: pathlib.Path) -> list[dict]:
    """The packages l7switch and l7switch-tools."""
    base = machine.root("plain", machine.PACKAGES, machine.KERNEL)
    guest = Machine("plain", base, folder)
    inside = {
        "/l7/first": debs("l7switch") + debs("l7switch-tools"),
        "/l7": [HERE / name for name in ("checks.py", "origin.py", "sockets.py")],
    }
    for upgrade in upgrades(folder / "upgrades"):
        inside[f"/l7/upgrades/{upgrade.name}"] = sorted(upgrade.glob("*.deb"))
    return guest.boot(HERE / "plain.py", inside, 5400)


def dkms(folder: pathlib.Path) -> list[dict]:
    """The package l7switch-dkms besides. DKMS builds the module before the boot, in the root: an emulated processor is slow."""
    base = machine.root("plain", machine.PACKAGES, machine.KERNEL)
    base = machine.root("dkms", depends("l7switch-dkms"), machine.DKMS, base)
    guest = Machine("dkms", base, folder)
    packages = debs("l7switch") + debs("l7switch-tools") + debs("l7switch-dkms")
    shell(f"as_root mkdir -p {guest.tree}/l7/first; as_root cp {' '.join(map(str, packages))} {guest.tree}/l7/first/")
    say("dkms: the module is built by the package's installation")
    began = time.monotonic()
    printed = in_root(guest.tree, "apt-get install -y --no-install-recommends /l7/first/*.deb 2>&1; dkms status; apt-get check")
    (folder / "dkms-install").write_text(printed)
    release = machine.kernel(guest.tree).name.removeprefix("vmlinuz-")
    if not re.search(rf"^l7switch/\S+, {re.escape(release)}, .*: installed", printed, re.M):
        logs = in_root(guest.tree, "cat /var/lib/dkms/l7switch/*/build/make.log 2>/dev/null | tail -n 40 || true")
        return [{"name": "the module is built", "fault": f"{printed[-1500:]}\n{logs}"}]
    say(f"dkms: built and installed for {release} in {time.monotonic() - began:.0f} s")
    return guest.boot(HERE / "dkms.py", {"/l7": [HERE / "checks.py"]}, 2400)


def depends(package: str) -> list[str]:
    """What a package depends on, by its control file: names, and with them the releases that are wanted of backports."""
    field = shell(f"dpkg-deb -f {debs(package)[0]} Depends")
    names = [re.sub(r"[ :(|].*", "", part.strip()) for part in field.split(",")]
    return [name for name in names if name not in ("linux-source",) and not name.startswith("l7switch")]


def main() -> None:
    """Runs the machines."""
    folder = TARGET / "packages"
    machines = {"plain": plain, "dkms": dkms}
    wanted = sys.argv[1:] or list(machines)
    faults = []
    for name in wanted:
        lines = machines[name](folder)
        faults += [line for line in lines if line.get("fault")]
        if not any(line["name"] == "all steps" for line in lines):
            faults.append({"name": name, "fault": f"it ended before all steps were done; its console: {folder}/{name}/console"})
    for fault in faults:
        print(f"FAILED: {fault['name']}: {fault['fault']}")
    if faults:
        sys.exit(1)
    say("all steps passed")


main()
