# SPDX-License-Identifier: MIT
"""A Debian 13 in which DKMS has built the module, booted: the kernel switches. Runs in the guest."""

import json
import pathlib

import checks
from checks import equal
from checks import reboot
from checks import run
from checks import until
from checks import within

RULES = """
[service.web]
listen = "10.0.1.100:80"
[[service.web.route]]
pool = "app"
[pool.app]
servers = ["10.0.2.2:80"]
"""


def hosts() -> None:
    """A client, this switch and a server, joined by veth."""
    # The image's nginx has port 80.
    run("systemctl disable --now nginx")
    for name, switch, host in (("client", "10.0.1.1", "10.0.1.2"), ("server", "10.0.2.1", "10.0.2.2")):
        run(
            f"ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name};"
            f" ip address add {switch}/24 dev {name}; ip link set {name} up;"
            f" ip -n {name} address add {host}/24 dev eth0; ip -n {name} link set eth0 up; ip -n {name} link set lo up;"
            f" ip -n {name} route add default via {switch}"
        )
    run("ip address add 10.0.1.100/32 dev lo; sysctl -qw net.ipv4.ip_forward=1")
    pathlib.Path("/srv/page").mkdir(parents=True, exist_ok=True)
    pathlib.Path("/srv/page/index.html").write_text("origin\n")
    run("systemd-run --unit l7-origin ip netns exec server python3 -m http.server --directory /srv/page 80")
    until("the origin", lambda: ask("http://10.0.2.2/") == "origin")


def ask(url: str) -> str:
    """What the client gets."""
    return run(f"ip netns exec client curl -sS --fail --max-time 60 {url}")


def kernel() -> dict:
    """How the front says that the module stands."""
    return json.loads(run("l7ctl status --json"))["kernel"]


def it_is_loaded():
    """The module that DKMS has built for this kernel, signed with the machine's key, is loaded at boot."""
    within(run("dkms status"), "installed")
    within(run("lsmod"), "l7switch")
    equal(run("systemctl is-active systemd-modules-load"), "active")
    within(run("modinfo l7switch"), "updates/dkms")
    within(run("modinfo -F signer l7switch"), "DKMS")
    return run("dkms status")


def the_kernel_switches():
    """l7ctl status says that the kernel has the rules; requests are counted by the kernel."""
    hosts()
    pathlib.Path("/etc/l7switch/l7switch.toml").write_text(RULES)
    run("systemctl restart l7switch")
    until("rules in the kernel", lambda: kernel()["state"] == "loaded")
    within(run("l7ctl status"), "kernel")
    for _ in range(10):
        equal(ask("http://10.0.1.100/"), "origin")
    routes = run("l7ctl kernel status")
    front = json.loads(run("l7ctl status --json"))["services"]["web"]["requests"]
    counted = json.loads(run("l7ctl kernel status --json"))
    requests = find(counted, "requests")
    equal((max(requests), front), (10, 0), f"requests of the kernel and of the front; {routes}")
    return "10 requests by the kernel, none by the front"


def find(value, name: str) -> list[int]:
    """All numbers of this name."""
    if isinstance(value, dict):
        own = [value[name]] if isinstance(value.get(name), int) else []
        return own + [number for part in value.values() for number in find(part, name)]
    if isinstance(value, list):
        return [number for part in value for number in find(part, name)]
    return []


def a_successor_keeps_the_kernel():
    """A successor has the module and its table."""
    run("/usr/libexec/l7switch/take-over")
    until("rules in the kernel", lambda: kernel()["state"] == "loaded")
    equal(ask("http://10.0.1.100/"), "origin")


def it_comes_with_the_boot():
    """After a boot the module is there, and has the rules."""
    within(run("lsmod"), "l7switch")
    # The address is this check's, and is not there yet: the front tries until it is.
    hosts()
    until("rules in the kernel", lambda: kernel()["state"] == "loaded", limit=60)
    equal(ask("http://10.0.1.100/"), "origin")


def a_module_in_use_stays():
    """What the prerm of l7switch-dkms does in an upgrade leaves the module that is in use alone."""
    run("dkms remove l7switch/$(dpkg-query --show --showformat '${source:Upstream-Version}' l7switch-dkms) --all")
    run("modinfo l7switch", fails=True)
    within(run("lsmod"), "l7switch")
    equal(kernel()["state"], "loaded")
    equal(ask("http://10.0.1.100/"), "origin")


checks.go([
    it_is_loaded,
    the_kernel_switches,
    a_successor_keeps_the_kernel,
    reboot,
    it_comes_with_the_boot,
    a_module_in_use_stays,
])
