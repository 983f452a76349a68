// SPDX-License-Identifier: MIT
//! A browser: connections that are opened before they are used, many at once, kept, and given to WebSocket.

use super::Setup;
use super::rules_with;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::server;
use crate::kit::origin;

/// How many bodies are fetched from each of two servers, and uploaded.
const FETCHES: usize = 30;
/// Bytes of the longest.
const LONGEST: usize = 200_000;

/// A WebSocket server: gives back what it gets, and prints what begins so.
const SOCKETS: &str = r#"
from websockets.sync.server import serve
def talk(socket):
    for message in socket:
        if isinstance(message, str) and message.startswith("result:"):
            print(message, flush=True)
        socket.send(message)
with serve(talk, "0.0.0.0", 8765, max_size=None) as server:
    print("listening", flush=True)
    server.serve_forever()
"#;

/// Fetches, uploads and talks, and tells the WebSocket server what was wrong.
const PAGE: &str = r#"<!doctype html><title>l7switch</title><script>
const wrong = [];
const mixed = bytes => bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0);
async function fetched(url, length, sum) {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    if (bytes.length !== length || mixed(bytes) !== sum) wrong.push(`${url}: ${bytes.length} bytes`);
}
async function uploaded(url, text, answer) {
    const got = await (await fetch(url, { method: "POST", body: text })).text();
    if (got !== answer) wrong.push(`${url}: ${got}`);
}
const opened = () => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/sockets`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject("no WebSocket");
});
const back = (socket, message) => new Promise(resolve => {
    socket.onmessage = event => resolve(event.data);
    socket.send(message);
});
async function talked() {
    const socket = await opened();
    const request = "GET /one HTTP/1.1\r\nHost: x\r\n\r\n";
    for (const text of ["a", request, "z".repeat(100000)])
        if (await back(socket, text) !== text) wrong.push(`WebSocket: ${text.length} bytes of text`);
    const bytes = Uint8Array.from({ length: 300000 }, (_, at) => at * 7);
    if (mixed(new Uint8Array(await back(socket, bytes))) !== mixed(bytes)) wrong.push("WebSocket: bytes");
    const closed = new Promise(resolve => socket.onclose = event => resolve(event.code));
    socket.close(1000);
    if (await closed !== 1000) wrong.push("WebSocket: closed badly");
}
async function all() {
    await Promise.all([talked(), ORDERS]);
    await back(await opened(), `result: ${wrong.join(", ") || "all right"}`);
}
all().catch(error => opened().then(socket => back(socket, `result: ${error}`)));
</script>"#;

pub(in super::super) fn a_browser_is_served() {
    let text = rules_with("nat").replacen(
        "[[service.v4.route]]",
        "[[service.v4.route]]\npath = { exact = \"/sockets\" }\npool = \"sockets\"\n[[service.v4.route]]",
        1,
    ) + &format!("[pool.sockets]\nservers = [\"{}:8765\"]\n", server(2));
    let mut setup = Setup::new(&text);
    std::fs::write("/tmp/sockets.py", SOCKETS).unwrap();
    let mut sockets = setup.network.servers[1].start("python3 -I /tmp/sockets.py");
    sockets.wait_for_output("listening");

    let mut orders = Vec::new();
    for (number, host) in setup.network.servers.iter().enumerate() {
        let number = number + 1;
        let whole = origin::pattern(host, LONGEST);
        for turn in 0..FETCHES {
            let length = LONGEST * turn / (FETCHES - 1);
            let sum = whole[..length].iter().fold(0u32, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
            });
            let kind = ["len", "chunked", "close"][turn % 3];
            let url = format!("/origin{number}/{kind}/{length}");
            orders.push(format!("fetched(\"{url}\", {length}, {sum})"));
        }
    }
    for turn in 0..FETCHES {
        let text = "u".repeat(turn * 3000);
        std::fs::write("/tmp/up", &text).unwrap();
        let sum = setup.network.client.run("sha256sum < /tmp/up");
        let answer = format!("{} {}\\n", text.len(), sum.split(' ').next().unwrap());
        let url = format!("/origin{}/sum", turn % 2 + 1);
        let text = format!("\"u\".repeat({})", text.len());
        orders.push(format!("uploaded(\"{url}\", {text}, \"{answer}\")"));
    }
    let page = PAGE.replace("ORDERS", &orders.join(",\n"));
    std::fs::write(format!("{}/page", setup.nginx[0].folder()), page).unwrap();

    let browser = setup.network.client.start(&format!(
        "chromium-headless-shell --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir=/tmp/browser \
         --remote-debugging-port=9222 http://{VIP}/one/page"
    ));
    // An emulated processor takes its time to start one.
    sockets.wait_long_for_output("result:", 10 * limit());
    let output = sockets.output();
    drop(browser);
    setup.show();
    assert!(output.contains("result: all right"), "{output}");
    assert!(setup.counter("requests") > 3 * FETCHES as u64);
    // It asks for an icon that no route has.
    assert!(setup.counter("to_front") <= 1);
}
