// SPDX-License-Identifier: MIT
//! The client of requests, h2load: its command line, and what it prints.

use std::path::Path;

use super::super::Contender;
use super::super::stage::address;
use super::Case;
use super::Done;
use super::Load;
use super::MESSAGE;
use super::NAME;

/// For how long, seconds, a proxy may say nothing to what is asked while it comes up.
const PATIENCE: u32 = 2;

/// A command line that asks once.
pub(super) fn once(case: &Case, folder: &Path, contender: Contender) -> Vec<String> {
    let mut line = words(&format!(
        "h2load -n 1 -c 1 -t 1 -T {PATIENCE} -N {PATIENCE}"
    ));
    line.extend(target(case, folder, contender));
    line
}

/// A command line that asks for some seconds: as often as they take by a load `before`, or until they are over.
pub(super) fn line(
    case: &Case,
    folder: &Path,
    contender: Contender,
    seconds: u32,
    before: Option<Done>,
) -> Vec<String> {
    let Case {
        connections,
        streams,
        ..
    } = case;
    let much = match before {
        Some(Done {
            count,
            seconds: took,
        }) => {
            let count = f64::from(seconds) * count / took;
            format!("-n {:.0}", count.max(f64::from(connections * streams)))
        }
        None => format!("-D {seconds}"),
    };
    let mut line = words(&format!("h2load {much} -c {connections} -m {streams} -t 1"));
    line.extend(target(case, folder, contender));
    line
}

/// What is asked for, and how.
fn target(case: &Case, folder: &Path, contender: Contender) -> Vec<String> {
    let at = address(contender);
    let direct = contender == Contender::Direct;
    let mut line = match case.load {
        Load::Handshakes { .. } | Load::Http1 => vec!["--h1".to_owned()],
        Load::Http2 if direct => vec!["--h1".to_owned()],
        Load::Http2 => Vec::new(),
        Load::Grpc => {
            let message = folder.join(MESSAGE).display().to_string();
            let head = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
            let head = head.map(str::to_owned);
            ["-d".to_owned(), message].into_iter().chain(head).collect()
        }
    };
    line.extend(words(&match direct {
        true => format!("http://{at}/{}", case.path),
        false => format!(
            "--tls13-ciphers=TLS_AES_128_GCM_SHA256 --groups=X25519 --connect-to={at} https://{NAME}/{}",
            case.path
        ),
    }));
    line
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Finds how many requests were answered, and in which time; none where one failed.
pub(super) fn done(printed: &str) -> Option<Done> {
    let after = |start| printed.lines().find_map(|line| line.strip_prefix(start));
    let (time, _) = after("finished in ")?.split_once(',')?;
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = time.strip_suffix(unit)?.parse().ok()?;
        Some(number * seconds)
    })?;
    let counts = after("requests: ")?;
    let count = |what: &str| -> Option<u64> {
        let mut counts = counts.split(", ");
        counts.find_map(|count| count.strip_suffix(what)?.strip_suffix(' ')?.parse().ok())
    };
    let (answered, good) = (count("done")?, count("succeeded")?);
    let failed = count("failed")? + count("errored")? + count("timeout")?;
    // Those that are under way when the time is over have a status already.
    let fine = after("status codes: ")?.ends_with(" 2xx, 0 3xx, 0 4xx, 0 5xx");
    let whole = answered > 0 && good == answered && failed == 0 && fine;
    #[expect(clippy::cast_precision_loss, reason = "far below the bound")]
    whole.then_some(Done {
        count: good as f64,
        seconds,
    })
}

/// Whether client and proxy speak what all shall.
pub(super) fn agreed(case: &Case, printed: &str) -> bool {
    let protocol = match case.load {
        Load::Handshakes { .. } | Load::Http1 => "http/1.1",
        Load::Http2 | Load::Grpc => "h2",
    };
    [
        ("TLS Protocol: ", "TLSv1.3"),
        ("Cipher: ", "TLS_AES_128_GCM_SHA256"),
        ("Application protocol: ", protocol),
    ]
    .iter()
    .all(|(start, agreed)| {
        let mut found = printed.lines().filter_map(|line| line.strip_prefix(start));
        found.next() == Some(agreed)
    })
}

#[cfg(test)]
mod tests {
    use super::super::CASES;
    use super::*;

    const PRINTED: &str = "starting benchmark...
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
progress: 100% done

finished in 198.07ms, 15145.93 req/s, 3.64MB/s
requests: 3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx
";

    fn case(name: &str) -> &'static Case {
        CASES.iter().find(|case| case.name == name).unwrap()
    }

    #[test]
    fn answers_are_counted_in_what_h2load_prints() {
        let found = done(PRINTED).unwrap();
        assert_eq!(found.count, 3000.0);
        assert!((found.seconds - 0.19807).abs() < 1e-9, "{found:?}");
        for (time, seconds) in [("2.13s", 2.13), ("495us", 0.000_495)] {
            let found = done(&PRINTED.replace("198.07ms", time)).unwrap();
            assert!((found.seconds - seconds).abs() < 1e-9, "{found:?}");
        }
        // Those that are under way when the time is over are no failures.
        let under_way = PRINTED.replace("3000 total, 3000 started", "3016 total, 3016 started");
        let under_way = under_way.replace("3000 2xx", "3009 2xx");
        assert_eq!(done(&under_way).unwrap().count, 3000.0);
    }

    #[test]
    fn what_went_wrong_is_no_measurement() {
        for (good, bad) in [
            ("3000 succeeded", "2999 succeeded"),
            ("0 failed", "1 failed"),
            ("0 timeout", "1 timeout"),
            ("0 4xx", "1 4xx"),
            ("finished", "ended"),
        ] {
            assert_eq!(done(&PRINTED.replace(good, bad)), None, "{bad}");
        }
        let nothing = PRINTED.replace("3000", "0");
        assert_eq!(done(&nothing), None);
        assert_eq!(done(""), None);
    }

    #[test]
    fn what_is_spoken_is_the_same_for_all() {
        assert!(agreed(case("h2-100KiB"), PRINTED));
        assert!(agreed(case("grpc-unary"), PRINTED));
        assert!(!agreed(case("tls-1MiB"), PRINTED));
        for (said, other) in [("TLSv1.3", "TLSv1.2"), ("AES_128", "AES_256")] {
            assert!(!agreed(case("h2-100KiB"), &PRINTED.replace(said, other)));
        }
    }

    #[test]
    fn requests_are_counted_in_advance_where_their_rate_is_known() {
        let line = |before| {
            let case = case("h2-keepalive-128B");
            super::line(case, Path::new("/f"), Contender::Nginx, 2, before).join(" ")
        };
        assert!(line(None).starts_with("h2load -D 2 -c 4 -m 100 -t 1 --tls13"));
        let before = |count| {
            Some(Done {
                count,
                seconds: 0.5,
            })
        };
        assert!(line(before(1000.0)).starts_with("h2load -n 4000 -c 4"));
        assert!(line(before(10.0)).starts_with("h2load -n 400 -c 4"));
    }
}
