// SPDX-License-Identifier: MIT
//! What connections take of the kernel's memory where the module switches them.

pub(super) mod guest;
mod pieces;

use std::fmt::Write as _;

use l7switch_qemu_tests::error::Result;
use l7switch_qemu_tests::host::tool;
use l7switch_qemu_tests::printed::Printed;
use serde::Deserialize;
use serde::Serialize;

use super::contender::Contender;
use super::guest::Order;
use super::guest::What;
use super::rig::Rig;
use pieces::Pieces;

/// The case whose connections they are.
pub(crate) const CASE: &str = "keepalive-128B";

/// Room in the small table and in the large one (`max_flows`): the most that there can be.
pub(super) const ROOMS: [u32; 2] = [1024, 1 << 20];

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The module's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Bytes that tables take which have nothing in them, by their room.
    pub tables: Vec<(u32, i64)>,
    /// Of the largest of these, what was allocated in pieces of virtual memory.
    pub pieces: Vec<Pieces>,
    /// Connections that have been switched and stay open, all of them live in one table, and bytes that they take beside it.
    pub live: (u32, i64),
    /// Connections of which a part of a request has come, and bytes that they take beside the table.
    pub begun: (u32, i64),
    /// Length of such a part, bytes.
    pub part: usize,
}

impl Printed for Taken {
    const PREFIX: &'static str = "MEMORY ";
}

impl Taken {
    /// Bytes of a table for each connection that it has room for: from the smallest to the largest one.
    #[must_use]
    pub(crate) fn each_in_table(&self) -> f64 {
        let (Some(small), Some(large)) = (self.tables.first(), self.tables.last()) else {
            return 0.0;
        };
        quotient(large.1 - small.1, large.0.saturating_sub(small.0))
    }
}

/// Measures.
///
/// # Errors
///
/// Where the guest does not do it.
pub(crate) fn measure(rig: &Rig) -> Result<Taken> {
    let taken = rig.memory(&Order {
        contender: Contender::ModuleNat,
        case: CASE.to_owned(),
        what: What::Memory,
    })?;
    tool::say(&format!(
        "memory: {:.1} bytes for a connection",
        taken.each_in_table()
    ));
    Ok(taken)
}

/// The page; `place` says on what and when it was measured.
#[must_use]
pub(crate) fn page(taken: &Taken, place: &str) -> String {
    let mut text = format!(
        "<!-- SPDX-License-Identifier: MIT -->\n# Memory of connections\n\n\
         `make bench-memory` writes this page; [measurements.md](../measurements.md#memory) says how.\n\n\
         A connection takes {:.1} bytes of the module's table, whether it is there or not: what a table with room for more\n\
         of them takes more.\n\n\
         | Room for connections (`max_flows`) | bytes of an empty table | for each |\n|---:|---:|---:|\n",
        taken.each_in_table()
    );
    for &(room, bytes) in &taken.tables {
        let each = quotient(bytes, room);
        let _ = writeln!(text, "| {room} | {bytes} | {each:.1} |");
    }
    let room = taken.tables.last().map_or(1, |(room, _)| *room);
    let _ = write!(
        text,
        "\nWhat the last one is made of: pieces of virtual memory, by /proc/vmallocinfo.\n\n\
         | pieces | bytes of each | for each connection | allocated by |\n|---:|---:|---:|---|\n"
    );
    for pieces in &taken.pieces {
        let each = quotient((pieces.count * pieces.bytes).cast_signed(), room);
        let _ = writeln!(
            text,
            "| {} | {} | {each:.1} | `{}` |",
            pieces.count, pieces.bytes, pieces.caller
        );
    }
    let beside = |(count, bytes): (u32, i64)| {
        let each = quotient(bytes, count);
        format!("| {count} | {bytes} | {each:.1} |")
    };
    let _ = write!(
        text,
        "\nBeside the table, by connections that are live in it at once:\n\n\
         | connections | at once | bytes | for each |\n|---|---:|---:|---:|\n\
         | open, one request of each switched {}\n\
         | {} bytes of a head have come, the rest is waited for {}\n\n\
         {place}.\nkernel {}, module {}.\n",
        beside(taken.live),
        taken.part,
        beside(taken.begun),
        taken.kernel,
        taken.version
    );
    text
}

#[expect(clippy::cast_precision_loss, reason = "quotients of counts")]
fn quotient(of: i64, by: u32) -> f64 {
    of as f64 / f64::from(by.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_what_more_room_takes() {
        let taken = Taken {
            version: "1".to_owned(),
            kernel: "7".to_owned(),
            tables: vec![(1_000, 2_000_000), (11_000, 9_000_000)],
            pieces: vec![Pieces {
                count: 256,
                bytes: 4096,
                caller: "f".to_owned(),
            }],
            live: (1_000, 8_000),
            begun: (10, 20_480),
            part: 100,
        };
        assert_eq!(taken.each_in_table(), 700.0);
        let page = page(&taken, "Here");
        for part in [
            "A connection takes 700.0 bytes",
            "| 11000 | 9000000 | 818.2 |\n",
            "| 256 | 4096 | 95.3 | `f` |\n",
            "switched | 1000 | 8000 | 8.0 |\n",
            "| 100 bytes of a head have come, the rest is waited for | 10 | 20480 | 2048.0 |\n",
            "Here.\nkernel 7, module 1.\n",
        ] {
            assert!(page.contains(part), "{part}\nis not in\n{page}");
        }
        let printed = format!("x\n{}\n", taken.line());
        assert_eq!(Taken::find(&printed), Some(taken));
    }
}
