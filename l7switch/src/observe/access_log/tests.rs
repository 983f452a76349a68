// SPDX-License-Identifier: MIT
//! Tests of the access log.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::time::SystemTime;

use super::*;

fn line() -> Line {
    Line {
        client: "127.0.0.1:5".to_owned(),
        service: "web".to_owned(),
        path: "/a b\"\n=".to_owned(),
        version: "1.1",
        status: 200,
        bytes_out: 7,
        duration: 0.5,
        end: "ok",
        ..Line::new(SystemTime::UNIX_EPOCH + Duration::from_secs(971_186_136))
    }
}

fn written(format: &str, line: &Line) -> String {
    format.parse::<Format>().unwrap().write(line)
}

fn config(target: Target) -> Config {
    Config {
        target,
        ..Config::default()
    }
}

#[test]
fn an_identifier_stands_last() {
    let line = Line {
        request_id: "a-1".to_owned(),
        ..line()
    };
    assert!(written("text", &line).ends_with(" end=ok request_id=a-1"));
    assert!(written("json", &line).contains("\"request_id\":\"a-1\""));
}

#[test]
fn text_cannot_be_forged() {
    assert_eq!(
        written("text", &line()),
        "2000-10-10T13:55:36.000Z client=127.0.0.1:5 service=web route=- pool=- server=- method=- \
         host=- path=/a\\x20b\\x22\\x0a= version=1.1 status=200 in=0 out=7 time=0.500000 ttfb=- \
         end=ok"
    );
}

#[test]
fn json_leaves_out_what_is_not_known() {
    let value: serde_json::Value = serde_json::from_str(&written("json", &line())).unwrap();
    assert_eq!(value["path"], "/a b\"\n=");
    assert_eq!(value["status"], 200);
    assert_eq!(value["time"], "2000-10-10T13:55:36.000Z");
    assert_eq!(value["duration"], 0.5);
    assert!(value.get("pool").is_none());
    assert!(value.get("scheme").is_none(), "only if it is chosen");
}

#[test]
fn the_common_formats_are_as_other_servers_write_them() {
    let mut line = Line {
        client: "[2001:db8::1]:5".to_owned(),
        method: "GET".to_owned(),
        path: "/a?b".to_owned(),
        user: "ann".to_owned(),
        user_agent: "x \"y\" \u{e9}".to_owned(),
        ..line()
    };
    assert_eq!(
        written("common", &line),
        "2001:db8::1 - ann [10/Oct/2000:13:55:36 +0000] \"GET /a?b HTTP/1.1\" 200 7"
    );
    assert_eq!(
        written("combined", &line),
        "2001:db8::1 - ann [10/Oct/2000:13:55:36 +0000] \"GET /a?b HTTP/1.1\" 200 7 \"-\" \
         \"x \\x22y\\x22 \\xc3\\xa9\""
    );
    (line.status, line.method) = (0, String::new());
    assert_eq!(
        written("common", &line),
        "2001:db8::1 - ann [10/Oct/2000:13:55:36 +0000] \"-\" 000 7"
    );
}

#[test]
fn a_template_has_fields_and_dollars() {
    let line = Line {
        server_wait: Some(0.25),
        ..line()
    };
    assert_eq!(
        written("$$ ${status}x $server_wait $server_first_byte $path", &line),
        "$ 200x 0.250000 - /a\\x20b\\x22\\x0a="
    );
    for (wrong, why) in [
        ("$", "no field ``"),
        ("$statu", "no field `statu`"),
        ("${status", "no `}`"),
        ("jsn", "text, json, common, combined"),
    ] {
        let error = wrong.parse::<Format>().unwrap_err();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn fields_are_chosen_and_added() {
    let with = |format: &str, fields: &str| {
        let fields = fields.parse::<Fields>()?;
        let format = format.parse::<Format>()?.with(&fields)?;
        Ok::<_, String>(format.write(&line()))
    };
    assert_eq!(
        with("text", "status, time,duration,status").unwrap(),
        "status=200 2000-10-10T13:55:36.000Z time=0.500000"
    );
    assert_eq!(with("json", "status").unwrap(), "{\"status\":200}");
    let added = with("text", "+user_agent,+scheme").unwrap();
    assert!(
        added.ends_with(" end=ok scheme=- user_agent=-")
            || added.ends_with(" end=ok user_agent=- scheme=-")
    );
    let all = with("text", "all").unwrap();
    assert!(all.ends_with(" attempts=0"), "{all}");
    assert!(with("common", "status").is_err());
    assert!(
        with("text", "statu")
            .unwrap_err()
            .contains("known here: time, client")
    );
    // What has parts that are fields is for templates.
    assert!(with("text", "request").is_err());
    assert!(with("text", "").is_err());
}

#[test]
fn a_sample_leaves_nothing_out_that_went_wrong() {
    let sample: Sample = "0.0001%".parse().unwrap();
    let takes = |line: &Line| (0..1000).filter(|_| sample.takes(line)).count();
    assert!(takes(&line()) < 10);
    let failed = Line {
        status: 503,
        ..line()
    };
    assert_eq!(takes(&failed), 1000);
    let cut = Line {
        end: "client_gone",
        ..line()
    };
    assert_eq!(takes(&cut), 1000);
    assert!((0..1000).all(|_| Sample::default().takes(&line())));
    let half: Sample = "50%".parse().unwrap();
    let taken = (0..10_000).filter(|_| half.takes(&line())).count();
    assert!((4_000..6_000).contains(&taken), "{taken}");
    for wrong in ["0%", "101%", "10", "-1%", "NaN%", "%", ""] {
        assert!(wrong.parse::<Sample>().is_err(), "{wrong}");
    }
}

#[test]
fn targets_are_told_apart() {
    for (text, target) in [
        ("off", Target::Off),
        ("-", Target::Stdout),
        (
            "journald",
            Target::SyslogUnix("/run/systemd/journal/dev-log".into()),
        ),
        ("syslog", Target::SyslogUnix("/dev/log".into())),
        ("syslog:/run/x", Target::SyslogUnix("/run/x".into())),
        (
            "syslog:[::1]:514",
            Target::SyslogUdp("[::1]:514".parse().unwrap()),
        ),
        ("./syslog", Target::File("./syslog".into())),
    ] {
        assert_eq!(text.parse::<Target>().unwrap(), target, "{text}");
    }
    for wrong in [
        "",
        "stdout",
        "syslog:",
        "syslog:localhost:514",
        "syslog:127.0.0.1",
    ] {
        assert!(wrong.parse::<Target>().is_err(), "{wrong}");
    }
}

#[test]
fn a_renamed_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = AccessLog::open(&config(Target::File(path.clone()))).unwrap();
    log.write(&line());
    log.flush();
    let old = folder.path().join("old");
    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    log.write(&line());
    log.flush();
    for path in [path, old] {
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}

/// A full disk loses lines, and each is counted; no line is half a line.
#[test]
fn what_cannot_be_written_is_counted() {
    let log = AccessLog::open(&config(Target::File("/dev/full".into()))).unwrap();
    for _ in 0..100 {
        log.write(&line());
    }
    log.flush();
    assert_eq!(log.dropped(), 100);
}

/// Takes so many bytes at each call, and then none.
struct Short(Vec<usize>, Vec<u8>);

impl std::io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.pop() {
            Some(0) | None => Err(std::io::ErrorKind::StorageFull.into()),
            Some(most) => {
                let taken = most.min(bytes.len());
                self.1.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a full disk cuts is counted once, and what comes behind it begins a line of its own.
#[test]
fn a_line_that_is_cut_is_lost_and_spoils_no_other() {
    for (first, second, lost, text) in [
        // Nothing; within the first line; at its end; within the second.
        (vec![], vec![99], [Some(2), None], "three\n"),
        (vec![2], vec![99], [Some(2), None], "on\nthree\n"),
        (vec![4], vec![99], [Some(1), None], "one\nthree\n"),
        (vec![6], vec![99], [Some(1), None], "one\ntw\nthree\n"),
        // The line behind a cut one is lost too: as a whole, or but for the end of the cut one.
        (vec![2], vec![], [Some(2), Some(1)], "on"),
        (vec![2], vec![1], [Some(2), Some(1)], "on\n"),
        (vec![2], vec![3], [Some(2), Some(1)], "on\nth"),
        (vec![3, 1, 4], vec![99], [None, None], "one\ntwo\nthree\n"),
    ] {
        let mut batch = target::Batch::default();
        let mut disk = Short(first, Vec::new());
        let lost_at = |outcome: Outcome| outcome.unwrap().err().map(|(lost, _)| lost);
        batch.add("one");
        batch.add("two");
        let before = lost_at(batch.flush(&mut disk));
        disk.0 = second;
        batch.add("three");
        let after = lost_at(batch.flush(&mut disk));
        assert_eq!([before, after], lost, "{text}");
        assert_eq!(String::from_utf8(disk.1).unwrap(), text);
        assert!(
            batch.flush(&mut Short(vec![], vec![])).is_none(),
            "nothing is left"
        );
    }
}

/// A syslog server that is gone is told of once, however often lines come.
#[test]
fn that_lines_are_lost_is_said_once() {
    let dropped = AtomicU64::new(0);
    let mut standing = Standing::default();
    let fails = || Some(Err((2, std::io::Error::other("gone"))));
    assert_eq!(standing.hear(Some(Ok(())), &dropped), None);
    assert_eq!(
        standing.hear(fails(), &dropped),
        Some(Said::Fails("gone".to_owned()))
    );
    for _ in 0..3 {
        assert_eq!(standing.hear(None, &dropped), None, "nothing was written");
        assert_eq!(standing.hear(fails(), &dropped), None);
    }
    assert_eq!(dropped.load(Relaxed), 8);
    assert_eq!(standing.hear(Some(Ok(())), &dropped), Some(Said::Works));
    assert_eq!(standing.hear(Some(Ok(())), &dropped), None);
}

#[test]
fn syslog_servers_get_lines_and_may_go_and_come() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let log = AccessLog::open(&config(Target::SyslogUdp(server.local_addr().unwrap()))).unwrap();
    log.write(&line());
    let mut read = [0; 2048];
    let len = server.recv(&mut read).unwrap();
    let text = String::from_utf8_lossy(&read[..len]).into_owned();
    // local0.info.
    assert!(
        text.starts_with("<134>") && text.contains(" l7switch["),
        "{text}"
    );
    assert!(text.contains("client=127.0.0.1:5 service=web"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let target = config(Target::SyslogUnix(path.clone()));
    assert!(AccessLog::open(&target).is_err(), "nobody listens");
    let server = UnixDatagram::bind(&path).unwrap();
    let log = AccessLog::open(&target).unwrap();
    log.write(&line());
    let len = server.recv(&mut read).unwrap();
    assert!(read[..len].starts_with(b"<134>"));
    drop(server);
    std::fs::remove_file(&path).unwrap();
    log.write(&line());
    log.flush();
    assert_eq!(log.dropped(), 1);
    let server = UnixDatagram::bind(&path).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    while log.dropped() < 1000 {
        log.write(&line());
        log.flush();
        server.set_nonblocking(true).unwrap();
        if server.recv(&mut read).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the server was not found again");
}

/// A client of which a proxy has told has no port.
#[test]
fn addresses_of_clients_have_no_ports() {
    for (client, expected) in [
        ("192.0.2.7:4711", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::7]:9", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("", ""),
    ] {
        let mut line = line();
        client.clone_into(&mut line.client);
        assert_eq!(line.client_address(), expected, "{client}");
    }
}
