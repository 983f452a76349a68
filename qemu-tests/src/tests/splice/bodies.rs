// SPDX-License-Identifier: MIT
//! That every byte arrives, in every framing.

use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::net::Shutdown;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use super::Setup;
use super::response;
use super::rules_with;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::origin;
use crate::kit::read_head;

pub(in super::super) fn bodies_are_identical() {
    let mut setup = Setup::new(&rules_with("nat"));
    let host = &setup.network.servers[0];
    let sizes = [0usize, 1, 1000, 100_000, 10_000_000];
    let whole = origin::pattern(host, 10_000_000);
    for url in [VIP.to_string(), format!("[{VIP6}]")] {
        for size in sizes {
            for kind in ["len", "chunked", "close"] {
                setup.curl(&format!("-o /tmp/got http://{url}/origin1/{kind}/{size}"));
                let got = std::fs::read("/tmp/got").unwrap_or_default();
                assert!(got == whole[..size], "{kind} {size}: {} bytes", got.len());
                let _ = std::fs::remove_file("/tmp/got");
            }
            std::fs::write("/tmp/up", &whole[..size]).unwrap();
            let sum = setup.network.client.run("sha256sum < /tmp/up");
            let wanted = format!("{size} {}\n", sum.split(' ').next().unwrap());
            for framing in ["", "-H 'Transfer-Encoding: chunked'"] {
                let sent = format!("{framing} --data-binary @/tmp/up http://{url}/origin1/sum");
                assert_eq!(setup.curl(&sent), wanted, "{framing} {size}");
            }
        }
    }
    for status in [200, 204, 304, 404, 503] {
        let asks = format!("-o /dev/null -w '%{{http_code}}' http://{VIP}/origin1/status/{status}");
        assert_eq!(setup.curl(&asks), status.to_string());
    }
    let head = setup.curl(&format!(
        "-I http://{VIP}/origin1/len/1000000 http://{VIP}/origin2/chunked/5"
    ));
    assert_eq!(head.matches("200 OK").count(), 2, "{head}");
    setup.show();
    assert_eq!(setup.counter("to_front"), 0);
}

pub(in super::super) fn clients_may_send_byte_by_byte() {
    let mut setup = Setup::new(&rules_with("nat"));
    // The front is needed: bytes that nobody acknowledges do not all leave the client.
    let address: std::net::SocketAddr = (VIP, 80).into();
    let mut stream = setup.network.client.connect(address);
    stream.set_nodelay(true).unwrap();
    let start = Instant::now();
    for part in b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n".chunks(6) {
        stream.write_all(part).unwrap();
        sleep(Duration::from_millis(3));
    }
    let (_, body) = response(&mut stream);
    assert!(body.starts_with("server1"), "{body}");
    println!("{:?}", start.elapsed());
    setup.show();
}

pub(in super::super) fn upgrades_are_opaque() {
    let mut setup = Setup::new(&rules_with("nat"));
    let mut stream = setup.network.client.connect((VIP, 80));
    let request =
        "GET /origin1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    // What looks like a request for another server stays here.
    for text in [
        "GET /two HTTP/1.1\r\nHost: x\r\n\r\n",
        "\0\u{1}bytes\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        stream.write_all(text.as_bytes()).unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, text.as_bytes());
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    setup.show();
}

pub(in super::super) fn a_gigabyte_is_downloaded() {
    let mut setup = Setup::new(&rules_with("nat"));
    let file = format!("{}/large", setup.nginx[0].folder());
    // Mostly holes, with something else every 8 MiB.
    let mut large = std::fs::File::create(&file).unwrap();
    large.set_len(1 << 30).unwrap();
    for part in 0..128_u64 {
        large
            .seek(SeekFrom::Start((part << 23) + part * 977))
            .unwrap();
        large
            .write_all(&origin::pattern(&setup.network.servers[0], 50_000))
            .unwrap();
    }
    let line = format!("curl -sS http://{VIP}/one/large | cmp - {file} && echo same");
    let answer = setup.network.client.attempt(&line);
    setup.show();
    assert_eq!(answer.stdout, "same\n", "{answer:?}");
}

/// Uploads of 100 KiB on one connection, counted.
const UPLOADS: &str = r#"
import http.client, os, sys
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=float(os.environ["LIMIT"]))
for turn in range(50):
    connection.request("POST", "/one", b"x" * 102400)
    response = connection.getresponse()
    assert response.status == 200 and response.read().startswith(b"server1"), turn
print("all right")
"#;

/// nginx answers before it has the body, and goes on to read it.
pub(in super::super) fn servers_may_answer_before_they_have_the_body() {
    let mut setup = Setup::new(&rules_with("nat"));
    std::fs::write("/tmp/uploads.py", UPLOADS).unwrap();
    let line = format!("python3 -I -S /tmp/uploads.py {VIP}");
    let answer = setup.network.client.attempt(&line);
    setup.show();
    assert_eq!(answer.stdout, "all right\n", "{answer:?}");
    assert_eq!(
        (setup.counter("requests"), setup.counter("connects")),
        (50, 1)
    );
}
