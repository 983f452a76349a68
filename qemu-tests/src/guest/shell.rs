// SPDX-License-Identifier: MIT
//! A shell on the console, with the network that tests have.

use std::fs;
use std::io::Write as _;

use super::program;
use crate::error::Doing as _;
use crate::error::Result;
use crate::kit::network::Network;

const WELCOME: &str = "
l7switch guest. Namespaces: client 10.0.1.2, switch 10.0.1.1 10.0.2.1 (VIP 10.0.1.100), server1 10.0.2.2,
server2 10.0.2.3; fd00:1::2 and so on likewise.

  ip netns exec client curl -i http://10.0.1.100/      run something on a host
  insmod /l7/l7switch.ko; dmesg | tail                 the module
  l7switch /l7/share/examples/quickstart.toml          the front
  ls /l7/bin /l7/share                                 what else is here
";

pub(super) fn run(rows: u16, columns: u16) -> Result<()> {
    let network = Network::new();
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let name = active.split_whitespace().last().unwrap_or("ttyS0");
    let path = format!("/dev/{name}");
    let open = || {
        fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .doing(format!("open {path}"))
    };
    open()?
        .write_all(WELCOME.as_bytes())
        .doing("write to the console")?;
    if rows > 0 && columns > 0 {
        let size = [rows.to_string(), columns.to_string()];
        let _ = program("stty")
            .args(["rows", &size[0], "cols", &size[1]])
            .stdin(open()?)
            .status();
    }
    program("setsid")
        .args(["--ctty", "--wait", "bash"])
        .env("PS1", "guest# ")
        .current_dir("/root")
        .stdin(open()?)
        .stdout(open()?)
        .stderr(open()?)
        .status()
        .doing("run a shell")?;
    drop(network);
    Ok(())
}
