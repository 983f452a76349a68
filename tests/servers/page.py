# SPDX-License-Identifier: MIT
"""The page docs/servers.md: what was asked of which server, and what came of it."""

import pathlib

PAGE = pathlib.Path(__file__).parents[2] / "docs/servers.md"
TOP = """\
<!-- SPDX-License-Identifier: MIT -->
# Servers behind the switch

`make test-servers` starts each of these servers on a loopback port, in its package's own configuration but for port and
folder, asks it direct and through the switch, and compares: status and reason, every field but those of one connection
and `Date`, and the content byte by byte. It writes this page. The table of servers is `tests/servers/servers.toml`;
`tests/servers/run.py --only NAME` asks one.

Each is asked for a page (GET, HEAD, with gzip, over HTTP/1.0 and HTTP/2, by its validators and ranges where it has
them), a missing one, 2 MiB; it gets POST with its content at once, 100 ms later, in chunks, and after `100 Continue`;
and HEAD and GET of twenty distinct resources in turn by clients of their own, pipelined by one, over connections
that stay, and by six clients at once. After each answer the client's connection through the switch has to carry another request.

"Goes on" is how many of the server's own connections carried another request, of those that it did not say to close.

| Server | Version | From | Requests | Differences | Goes on | Notes |
|---|---|---|---|---|---|---|
"""


def cell(text):
    """Text that is safe in a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def package(entry):
    """Where a server is from, in words."""
    kinds = {"debian": "Debian", "pypi": "PyPI", "npm": "npm"}
    return next(f"{words}: {entry[kind]}" for kind, words in kinds.items() if kind in entry)


def row(entry, result):
    """One server's row."""
    if result["error"]:
        return f"| {entry['name']} | {result['version']} | {package(entry)} | - | failed | - | {cell(result['error'])} |"
    found = result["found"]
    differences = f"{len(result['bad'])}" if result["bad"] else "none"
    if result["explained"]:
        differences += f", {len(result['explained'])} explained"
    notes = "; ".join(([entry["note"]] if "note" in entry else []) + found.notes)
    goes_on = f"{found.persisted} of {found.tried}" if found.tried else "never"
    return (f"| {entry['name']} | {result['version']} | {package(entry)} | {found.asked} | {differences} | {goes_on} "
            f"| {cell(notes)} |")


def write(results, missing):
    """Writes the page. `results` are pairs of an entry and what came of it, `missing` are entries without a program."""
    lines = [row(entry, result) for entry, result in results]
    asked = sum(result["found"].asked for _, result in results if result["found"])
    bad = sum(len(result["bad"]) for _, result in results)
    text = TOP + "\n".join(lines) + f"\n\n{len(results)} servers, {asked} requests, {bad} differences without a reason.\n"
    reasons = {}
    for entry, result in results:
        for name, what, reason in result["explained"]:
            reasons.setdefault((entry["name"], reason), []).append(name)
    if reasons:
        text += "\n## Differences that have a reason\n\n| Server | Where | Why |\n|---|---|---|\n"
        for (server, reason), names in reasons.items():
            text += f"| {server} | {cell(', '.join(dict.fromkeys(names)))} | {cell(reason)} |\n"
    if any(result["bad"] for _, result in results):
        text += "\n## Differences that have none\n\n| Server | Where | What |\n|---|---|---|\n"
        for entry, result in results:
            where = {}
            for name, what in result["bad"]:
                where.setdefault(what, []).append(name)
            text += "".join(f"| {entry['name']} | {cell(', '.join(names))} | {cell(what)} |\n" for what, names in where.items())
    if missing:
        text += "\nNot installed here: " + ", ".join(entry["name"] for entry in missing) + ".\n"
    PAGE.write_text(text)
