// SPDX-License-Identifier: MIT
//! Processes that are not children of this one (pidfd_open(2)).

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

/// A descriptor of a process. `None`: there is no such process, or too many descriptors are open.
pub(super) fn open(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether a process has ended, though nobody may have asked for its status yet; waits so long for it.
pub(super) fn has_ended(process: &OwnedFd, wait: Duration) -> bool {
    let Ok(wait) = Timespec::try_from(wait) else {
        return false;
    };
    let mut waited = [PollFd::new(process, PollFlags::IN)];
    rustix::event::poll(&mut waited, Some(&wait)).is_ok_and(|ready| ready > 0)
}

/// Tells a process to end.
pub(super) fn end(process: &OwnedFd) {
    // It may have ended.
    let _ = rustix::process::pidfd_send_signal(process, Signal::TERM);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen_before_its_status_is_asked_for() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = open(Pid::from_child(&child)).unwrap();
        assert!(!has_ended(&process, Duration::ZERO));
        drop(child.stdin.take());
        assert!(has_ended(&process, Duration::from_secs(10)));
        assert!(child.wait().unwrap().success());
        assert!(has_ended(&process, Duration::ZERO));
    }
}
