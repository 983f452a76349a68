# SPDX-License-Identifier: MIT
"""Makes docs/status-page.png: the status page of a small shop, one of whose servers is ill and one of which is drained."""

import datetime
import pathlib
import sys
import tempfile
import threading
import time

import run
from browser import Browser, Page

PICTURE = run.HERE.parents[1] / "docs/status-page.png"
SECONDS = 250  # until the charts are full
RULES = """\
[service.shop]
listen = "127.0.0.1:{shop}"

[[service.shop.route]]
name = "orders"
path = {{ prefix = "/api" }}
pool = "orders"

[[service.shop.route]]
name = "beta"
headers = {{ "X-Beta" = "yes" }}
pool = "next"

[[service.shop.route]]
name = "moved"
path = {{ prefix = "/old" }}
redirect = {{ status = 301, path = {{ replace_full = "/" }} }}

[[service.shop.route]]
name = "pages"
pools = [{{ name = "pages", weight = 9 }}, {{ name = "next", weight = 1 }}]

[pool.orders]
servers = ["127.0.0.1:{a}", "127.0.0.1:{b}", "127.0.0.1:{ill}"]
health = {{ http = "/health", interval = "1s", fall = 1, rise = 1 }}

[pool.pages]
servers = ["127.0.0.1:{a}", "127.0.0.1:{b}"]
health = {{ http = "/", interval = "1s" }}

[pool.next]
servers = ["127.0.0.1:{c}"]

[service.secure]
listen = "127.0.0.1:{secure}"
protocol = "https"
certificates = [{{ cert = "expired.pem", key = "key.pem" }}]

[[service.secure.route]]
pool = "pages"
"""


def main():
    picture = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=9)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run.certificates(folder, [("expired", "shop.example", "20250101000000Z", soon.strftime("%Y%m%d%H%M%SZ"))])
        servers = {"a": run.Server(), "b": run.Server(), "c": run.Server(), "ill": run.Server()}
        ports = {name: server.server_address[1] for name, server in servers.items()}
        shop = run.free_port()
        (folder / "rules.toml").write_text(RULES.format(**ports, shop=shop, secure=run.free_port()))
        browser, ends = Browser(run.CHROMIUM), threading.Event()
        try:
            with run.switch(folder, ports) as (base, _, admin):
                for _ in range(2):
                    threading.Thread(target=run.load, args=(shop, ends), daemon=True).start()
                page = Page(browser, base + "/status", 1200, 1000, "light")
                time.sleep(SECONDS / 2)
                servers["ill"].is_ill = True
                time.sleep(SECONDS / 4)
                run.drain(admin, f"/v1/servers/pages/127.0.0.1:{ports['b']}", "drain")
                time.sleep(SECONDS / 4)
                page.picture(picture, whole=False)
        finally:
            ends.set()
            browser.close()
    print(f"{picture}: {picture.stat().st_size} bytes")


main()
