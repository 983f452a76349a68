# SPDX-License-Identifier: MIT
"""The status page in Chromium: what it shows of a switch in trouble, on a desk and on a phone, and what may be done there."""

import contextlib
import http.server
import os
import pathlib
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from browser import Browser, Page

HERE = pathlib.Path(__file__).parent
SWITCH = pathlib.Path(os.environ.get("L7SWITCH", HERE.parents[1] / "target/debug/l7switch"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=document.title='taken'>"
RULES = """\
[service.shop]
listen = "127.0.0.1:{shop}"

[[service.shop.route]]
name = "api"
path = {{ prefix = "/api" }}
pool = "api"

[[service.shop.route]]
name = "tester"
headers = {{ "X-Tester" = "{hostile}" }}
pool = "sockets"

[[service.shop.route]]
name = "gone"
path = {{ prefix = "/old" }}
respond = {{ status = 410 }}

[[service.shop.route]]
name = "pages"
pools = [{{ name = "pages", weight = 9 }}, {{ name = "next", weight = 1 }}]

[service.secure]
listen = "127.0.0.1:{secure}"
protocol = "https"
certificates = [{{ cert = "expired.pem", key = "key.pem" }}, {{ cert = "good.pem", key = "key.pem" }}]

[[service.secure.route]]
pool = "pages"

[pool.api]
servers = ["127.0.0.1:{good}", "127.0.0.1:{ill}", "127.0.0.1:{closed}"]
health = {{ http = "/health", interval = "300ms", fall = 1, rise = 1 }}

[pool.pages]
servers = ["127.0.0.1:{good}", "127.0.0.1:{good2}"]

[pool.next]
servers = ["127.0.0.1:{good2}"]

[pool.sockets]
servers = ["unix:{folder}/{hostile_path}"]
health = {{ http = "/", interval = "300ms", fall = 1, rise = 1 }}
"""
READ, OPERATE = "reader-7f3a", "operator-91bc"


class Answers(http.server.BaseHTTPRequestHandler):
    """A server that is well, or is not: 503 to checks."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        is_ill = self.server.is_ill and self.path == "/health"
        time.sleep((hash(self.path) % 7) / 1000)
        content = b"x" * 2000
        self.send_response(503 if is_ill else 404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, is_ill=False):
        self.is_ill = is_ill
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *arguments):
        """A connection that the switch has given up says nothing here."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


CERTIFICATES = [("expired", "old.shop.example", "20200101000000Z", "20200601000000Z"),
                ("good", "shop.example", "20200101000000Z", "20491231000000Z")]


def certificates(folder, wanted=CERTIFICATES):
    """Certificates of one key: name of the file, host, and when they begin and expire."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    (folder / "ca.conf").write_text(
        "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\ncopy_extensions=copy\n[p]\ncommonName=supplied\n")
    (folder / "index").write_text("")
    (folder / "serial").write_text("01\n")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem")
    for name, host, begin, end in wanted:
        openssl("req", "-new", "-key", "key.pem", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-out", "request")
        openssl("ca", "-config", "ca.conf", "-batch", "-selfsign", "-keyfile", "key.pem", "-in", "request", "-startdate", begin,
                "-enddate", end, "-notext", "-out", f"{name}.pem")


def own_address():
    """An address of this machine that is not a loopback address, if it has one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        if not probe.getsockname()[0].startswith("127."):
            return probe.getsockname()[0]
    return None


@contextlib.contextmanager
def switch(folder, ports, *options, host="127.0.0.1"):
    """A switch with trouble, and what its metrics listener is at."""
    metrics = free_port()
    process = subprocess.Popen(
        [SWITCH, folder / "rules.toml", "--admin", folder / f"admin-{metrics}.sock", "--kernel", "off", "--metrics",
         f"{host}:{metrics}", "--access-log", "off", *options],
        stdout=subprocess.PIPE, stderr=(folder / "log").open("a"), text=True)
    try:
        if not process.stdout.readline():
            raise SystemExit("the switch does not start:\n" + (folder / "log").read_text())
        yield f"http://{host}:{metrics}", process, folder / f"admin-{metrics}.sock"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def load(port, ends):
    """Requests until told to end."""
    paths = ["/", "/api/orders", "/api/items?x=1", "/old", "/missing", "/style.css"]
    number = 0
    while not ends.is_set():
        with contextlib.suppress(OSError):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{paths[number % len(paths)]}")
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=5).read()
        number += 1
        time.sleep(0.004 + 0.004 * abs((time.monotonic() % 6) - 3))


def drain(admin, target, state):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(admin))
        body = f'{{"state":"{state}"}}'
        stream.sendall(f"PATCH {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = stream.makefile().read()
    assert answer.startswith("HTTP/1.1 200 "), answer


def states(page):
    """Each server that is shown, with what stands beside it."""
    return page.run("[...document.querySelectorAll('#pools tbody tr')].map((row) => row.innerText.replace(/\\s+/g, ' '))")


OVERFLOW = """(() => {
  const wide = document.documentElement.clientWidth;
  const over = [...document.querySelectorAll('body *')].filter((node) => {
    const box = node.getBoundingClientRect();
    return box.width > 1 && (box.right > wide + 1 || box.left < -1);
  });
  const scrolls = document.documentElement.scrollWidth > wide ? ['the page itself'] : [];
  return [...scrolls, ...over.slice(0, 5).map((node) => node.outerHTML.slice(0, 200))];
})()"""

# Text and what is behind it: contrast as WCAG 2.2, 1.4.3 has it.
CONTRAST = """(() => {
  const parse = (text) => { const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const known = new Map();
  const colour = (text) => { if (!known.has(text)) known.set(text, parse(text)); return known.get(text); };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const behind = (node) => { for (; node; node = node.parentElement) {
    const found = getComputedStyle(node).backgroundColor; if (colour(found)[3] > 250) return colour(found); } return [255, 255, 255]; };
  const weak = [];
  for (const node of document.querySelectorAll('body *')) {
    const has = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!has || !node.checkVisibility() || node.closest('svg, dialog, .hidden, .skip, noscript')) continue;
    const [a, b] = [light(colour(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(ratio.toFixed(2) + ' ' + node.outerHTML.slice(0, 120));
  }
  return weak.slice(0, 5);
})()"""

# Whoever cannot see them: controls and pictures have names, headings are there.
NAMELESS = """[...document.querySelectorAll('button, input, svg, [role=img]')].filter((node) => node.checkVisibility()
  && !(node.getAttribute('aria-label') || node.textContent.trim() || (node.labels && node.labels.length))).map((node) => node.outerHTML.slice(0, 200))"""


def shows_the_trouble(page, ports, folder):
    page.until("document.querySelectorAll('#pools tbody tr').length === 7", "seven servers")
    page.until("document.querySelector('#tiles').innerText.includes('ms')", "latencies")
    text = page.run("document.body.textContent")
    rows = "\n".join(states(page))
    for part in (f"127.0.0.1:{ports['ill']} down status 503, expected 200", f"127.0.0.1:{ports['closed']} down connection refused",
                 f"127.0.0.1:{ports['good2']} draining by an administrator"):
        assert part in rows, f"{part}\n{rows}"
    assert HOSTILE.replace("/", "") in text, "the hostile name is shown as it is"
    assert page.run("document.title").endswith("l7switch"), page.run("document.title")
    assert not page.run("document.querySelector('main img')"), "no name becomes an element"
    assert "The certificate of old.shop.example has expired" in text
    assert "Pool sockets has no server" in text
    assert "server down" in page.text("#events") and "connection refused" in page.text("#events")
    assert "path prefix /api" in text and "pools pages 9, next 1" in text
    page.until("[...document.querySelectorAll('#tiles .chart path')].some((path) => (path.getAttribute('d') ?? '').length > 40)", "charts that move")
    assert page.run("[...document.querySelectorAll('#tiles .value')][0].innerText.trim()") not in ("–", "0"), "requests are counted"


def check_looks(page, scheme):
    assert page.run(OVERFLOW) == [], page.run(OVERFLOW)
    assert page.run(CONTRAST) == [], page.run(CONTRAST)
    assert page.run(NAMELESS) == [], page.run(NAMELESS)
    ground = page.run("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 247)", "dark": "rgb(16, 19, 21)"}[scheme], ground


def only_asks_here(page, base):
    elsewhere = [url for url in page.requests() if not url.startswith((base, "data:", "about:"))]
    assert elsewhere == [], elsewhere


def test_looks(browser, base, ports, folder, pictures):
    for name, width, height in (("desk", 1280, 900), ("phone", 360, 780)):
        for scheme in ("light", "dark"):
            page = Page(browser, base + "/", width, height, scheme)
            shows_the_trouble(page, ports, folder)
            assert page.run("location.pathname") == "/status"
            time.sleep(float(os.environ.get("PAGE_SECONDS", "0")))
            check_looks(page, scheme)
            page.picture(pictures / f"{name}-{scheme}.png")
            only_asks_here(page, base)
            assert page.complaints() == [], page.complaints()
            assert page.run("document.querySelectorAll('#pools button').length > 0 && "
                            "[...document.querySelectorAll('#pools button')].every((button) => !button.checkVisibility())"), "nothing can be changed"
            page.close()
            print(f"ok: {name}, {scheme}")


def test_colours_filter_and_keyboard(browser, base):
    page = Page(browser, base + "/status", 1280, 900, "dark")
    page.until("document.querySelectorAll('#pools tbody tr').length === 7")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.run("document.querySelector('#theme').focus()")
    page.key("Enter", 13)
    page.until(f"{ground} === 'rgb(245, 246, 247)'", "light by the switch")
    page.key("Enter", 13)
    page.until(f"{ground} === 'rgb(16, 19, 21)'", "dark by the switch")
    page.run("document.querySelector('#filter').focus()")
    page.write("refused")
    page.until("document.querySelectorAll('#pools tbody tr').length === 1", "the one that refuses")
    page.run("document.querySelector('#filter').value = ''; document.querySelector('#filter').dispatchEvent(new Event('input'))")
    page.until("document.querySelectorAll('#pools tbody tr').length === 7")
    # A reading changes nothing that has the focus.
    page.run("document.querySelector('#main').focus()")
    page.run("window.kept = document.querySelector('#pools tbody tr'); kept.tabIndex = 0; kept.focus()")
    time.sleep(5)
    assert page.run("document.activeElement === kept && kept.isConnected")
    assert page.complaints() == [], page.complaints()
    page.close()
    print("ok: colours, filter, keyboard")


def test_operating(browser, folder, ports):
    tokens = [folder / "read", folder / "operate"]
    for path, token in zip(tokens, (READ, OPERATE)):
        path.write_text(token + "\n")
    options = ["--metrics-token", tokens[0], "--metrics-operate-token", tokens[1]]
    with switch(folder, ports, *options) as (base, _, _):
        page = Page(browser, base + "/status", 1280, 900, "light")
        page.until("document.querySelector('#ask').open", "the page asks for the token")
        assert page.run("document.querySelectorAll('#pools tbody tr').length") == 0, "nothing is shown without"

        def give(token):
            page.until("document.querySelector('#ask').open")
            page.run("document.querySelector('#ask-token').focus()")
            page.write(token)
            page.key("Enter", 13)

        give("wrong")
        page.until("document.querySelector('#ask-why').innerText.includes('not known')", "a wrong token is said to be one")
        give(READ)
        page.until("document.querySelectorAll('#pools tbody tr').length === 7")
        button = f"[...document.querySelectorAll('#pools button')].find((button) => button.ariaLabel.includes('127.0.0.1:{ports['good']} in pool pages'))"
        state = f"{button}.closest('tr').innerText"
        assert page.run(f"{button}.innerText") == "Drain"
        page.run(f"{button}.click()")
        page.until("document.querySelector('#ask').open", "the token to operate is asked for")
        assert "up" in page.run(state)
        refused = page.run(f"fetch('v1/servers/pages/127.0.0.1:{ports['good']}', {{ method: 'PATCH', headers: {{ Authorization: 'Bearer {READ}' }}, "
                           "body: '{\"state\":\"drain\"}' }).then((answer) => answer.status)")
        assert refused == 403, refused
        without = page.run(f"fetch('v1/servers/pages/127.0.0.1:{ports['good']}', {{ method: 'PATCH', body: '{{\"state\":\"drain\"}}' }}).then((answer) => answer.status)")
        assert without == 401, without
        give(OPERATE)
        page.until("document.querySelector('#token').innerText === 'Operator'")
        page.run(f"{button}.focus()")
        page.key("Enter", 13)
        page.until(f"{state}.includes('draining')", "it is drained")
        assert "by an administrator at 127.0.0.1" in page.run(state).replace("\u00a0", " ")
        page.until(f"{button}.innerText === 'Put back'")
        page.run(f"{button}.click()")
        page.until(f"!{state}.includes('draining')", "it is put back")
        # The last one of a pool is not drained by one click.
        last = button.replace("pool pages", "pool next").replace(str(ports["good"]), str(ports["good2"]))
        page.run(f"{last}.click()")
        page.until(f"{last}.innerText.includes('sure')", "it asks")
        page.run(f"{last}.click()")
        page.until(f"{last}.closest('tr').innerText.includes('draining')", "it is drained all the same")
        assert page.run("Object.keys(localStorage).length + Object.keys(sessionStorage).length + document.cookie.length") == 0
        kept = page.run("document.documentElement.outerHTML")
        assert OPERATE not in kept and READ not in kept, "the token stands nowhere in the page"
        # Of the refusals the browser itself complains, and of nothing else.
        others = [text for text in page.complaints() if "status of 401" not in text and "status of 403" not in text]
        assert others == [], others
        log = (folder / "log").read_text()
        assert "by an administrator at 127.0.0.1" in log and OPERATE not in log, log
        page.close()
    print("ok: operating")


def test_from_another_machine(browser, folder, ports):
    own = own_address()
    if own is None:
        print("left out: from another machine (this one has loopback addresses only)")
        return
    with switch(folder, ports, host=own) as (base, _, _):
        page = Page(browser, base + "/status", 1280, 900, "light")
        page.until("document.querySelector('#state').innerText.includes('--metrics-token')", "it names the option")
        assert page.run("document.querySelectorAll('#pools tbody tr').length") == 0, "nothing is shown"
        assert not page.run("document.querySelector('#ask').open"), "there is no token to ask for"
        assert page.run(OVERFLOW) == [], page.run(OVERFLOW)
        others = [text for text in page.complaints() if "status of 403" not in text]
        assert others == [], others
        page.close()
        page = Page(browser, base + "/status", 360, 780, "dark")
        page.until("document.querySelector('#state').innerText.includes('--metrics-token')", "on a phone, too")
        assert page.run(OVERFLOW) == [], page.run(OVERFLOW)
        page.close()
    print("ok: from another machine")


def test_a_switch_that_ends(browser, folder, ports):
    with switch(folder, ports) as (base, process, _):
        page = Page(browser, base + "/status", 1280, 900, "light")
        page.until("document.querySelectorAll('#pools tbody tr').length === 7")
        process.terminate()
        process.wait(40)
        page.until("document.querySelector('#state').innerText.includes('no numbers')", "it says that nothing answers")
        assert page.run("document.querySelectorAll('#pools tbody tr').length") == 7, "what was known stays"
        page.close()
    print("ok: a switch that ends")


def main():
    if not CHROMIUM:
        raise SystemExit("missing: chromium (Debian: chromium)")
    pictures = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parents[1] / "target/page")
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        certificates(folder)
        servers = {"good": Server(), "good2": Server(), "ill": Server(is_ill=True)}
        ports = {name: server.server_address[1] for name, server in servers.items()}
        ports["closed"] = free_port()
        shop, secure = free_port(), free_port()
        path = HOSTILE.replace("/", "")
        (folder / "rules.toml").write_text(RULES.format(**ports, shop=shop, secure=secure, folder=folder, hostile=HOSTILE, hostile_path=path))
        browser, ends = Browser(CHROMIUM), threading.Event()
        try:
            with switch(folder, ports) as (base, _, admin):
                drain(admin, f"/v1/servers/next/127.0.0.1:{ports['good2']}", "drain")
                drain(admin, f"/v1/servers/pages/127.0.0.1:{ports['good2']}", "drain")
                threading.Thread(target=load, args=(shop, ends), daemon=True).start()
                time.sleep(2)
                test_looks(browser, base, ports, folder, pictures)
                test_colours_filter_and_keyboard(browser, base)
                ends.set()
            test_operating(browser, folder, ports)
            test_from_another_machine(browser, folder, ports)
            test_a_switch_that_ends(browser, folder, ports)
        finally:
            ends.set()
            browser.close()
    print("6 passed, 0 failed")


if __name__ == "__main__":
    main()
