# SPDX-License-Identifier: MIT
"""Asks real HTTP servers direct and through the switch, and ends with status 1 where an answer differs."""

import argparse
import pathlib
import re
import shutil
import sys
import tempfile

import asking
import client
import machine
import page


def judged(entry, found):
    """The differences without a reason, and those with one."""
    bad, explained = [], []
    for name, what in found.differences:
        reason = next((allowed["reason"] for allowed in entry["allowed"]
                       if re.search(allowed["request"], name) and re.search(allowed["what"], what)), None)
        if reason:
            explained.append((name, what, reason))
        else:
            bad.append((name, what))
    return bad, explained


def run(entry, version):
    """Starts one server and the switch, and asks."""
    result = {"version": version, "found": None, "bad": [], "explained": [], "error": ""}
    base = pathlib.Path(tempfile.mkdtemp(prefix="l7switch-servers-"))
    try:
        machine.make_root(base / "root")
        for name in ("server", "switch"):
            (base / name).mkdir()
            (base / name).chmod(0o777)
        with machine.server(entry, base / "server", base / "root") as port, \
                machine.switch(port, base / "switch") as front:
            result["found"] = asking.ask_all(entry, (port, front), base)
        result["bad"], result["explained"] = judged(entry, result["found"])
    except (machine.NotStarted, client.Broken, OSError) as error:
        result["error"] = str(error)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return result


def main():
    """Runs the table, or one server of it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", metavar="NAME", action="append", help="ask this server, and write no page")
    only = arguments.parse_args().only
    entries = machine.servers()
    if unknown := set(only or []) - {entry["name"] for entry in entries}:
        sys.exit(f"no such server: {', '.join(sorted(unknown))}")
    results, missing = [], []
    for entry in entries:
        if only and entry["name"] not in only:
            continue
        version = machine.version(entry)
        if version is None:
            missing.append(entry)
            print(f"{entry['name']}: not installed")
            continue
        result = run(entry, version)
        results.append((entry, result))
        if result["error"]:
            print(f"{entry['name']} {version}: failed: {result['error']}")
            continue
        found = result["found"]
        print(f"{entry['name']} {version}: {found.asked} requests, {len(result['bad'])} differences, "
              f"{len(result['explained'])} explained; goes on {found.persisted} of {found.tried}; {'; '.join(found.notes)}",
              flush=True)
        for name, what in result["bad"]:
            print(f"    {name}: {what}", flush=True)
    if not only:
        page.write(results, missing)
    sys.exit(any(result["bad"] or result["error"] for _, result in results) or not results)


if __name__ == "__main__":
    main()
