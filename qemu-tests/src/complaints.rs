// SPDX-License-Identifier: MIT
//! Which lines of a kernel's log mean that something is wrong with the kernel or with a module.

/// What a kernel says when it finds a bug: one of these in a line makes it a complaint.
const COMPLAINTS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Call Trace",
    "Kernel panic",
    "general protection fault",
    "Unable to handle kernel",
    "stack segment:",
    "invalid opcode:",
    "double fault",
    // lockdep, RCU, hung tasks and stalls
    "INFO: ",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "sleeping function called",
    "scheduling while atomic",
    "bad unlock balance",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "detected stalls",
    "self-detected stall",
    // sanitizers and checkers of memory
    "KASAN",
    "KCSAN",
    "KFENCE",
    "KMSAN",
    "UBSAN",
    "kmemleak: ",
    "ODEBUG:",
    "list_add corruption",
    "list_del corruption",
    "refcount_t:",
    "ref_tracker:",
    "Slab corruption",
    "Redzone overwritten",
    "Objects remaining",
    "page allocation failure",
    "Out of memory",
    "oom-kill",
    // networking
    "unregister_netdevice: waiting",
    "hw csum failure",
    "protocol is buggy",
    // Rust in the kernel
    "rust_kernel: panicked",
    "panicked at",
    // a program of the test that fell over
    "segfault at",
    "trap invalid opcode",
];

/// Lines that hold one of the words above and are in order.
const ALLOWED: &[&str] = &[
    "loading out-of-tree module taints kernel",
    "module verification failed",
    // A host that is busy makes these.
    "INFO: NMI handler",
    // What kmemleak says of itself.
    "kmemleak: Kernel memory leak detector",
    "kmemleak: Automatic memory scanning",
    "kmemleak: Memory pool",
    "KASAN init",
    "KernelAddressSanitizer initialized",
    "kasan: ",
    "kfence: initialized",
    "refscale:",
];

/// How many lines of a complaint are shown: a splat with two traces has about a hundred.
const EXCERPT: usize = 120;

/// Whether this line of a kernel's log, or of its console, means that something is wrong.
#[must_use]
pub fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|words| line.contains(words))
        && !ALLOWED.iter().any(|words| line.contains(words))
}

/// The part of a log that shows what the kernel complains of: from the first complaint on, at most so much as one
/// wants to read. Empty where there is none.
#[must_use]
pub fn excerpt<'a>(log: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    log.into_iter()
        .skip_while(|line| !is_complaint(line))
        .take(EXCERPT)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_complaint_is_recognised() {
        for line in [
            "[    5.1] WARNING: CPU: 0 PID: 71 at net/core/skbuff.c:1234 skb_release_head_state+0x1/0x2",
            "[    5.1] WARNING: net/ipv4/tcp.c:2 at tcp_close+0x1/0x2, CPU#1: curl/71",
            "[    5.1] WARNING: possible circular locking dependency detected",
            "[    5.1] WARNING: suspicious RCU usage",
            "[    5.1] WARNING: possible recursive locking detected",
            "[    5.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "[    5.1] BUG: sleeping function called from invalid context at mm/slab.h:1",
            "[    5.1] BUG: scheduling while atomic: curl/71/0x00000002",
            "[    5.1] BUG: KASAN: slab-use-after-free in l7_hook+0x1/0x2 [l7switch]",
            "[    5.1] BUG: KFENCE: use-after-free read in l7_hook+0x1/0x2",
            "[    5.1] BUG: workqueue lockup - pool cpus=0",
            "[    5.1] kernel BUG at net/core/skbuff.c:200!",
            "[    5.1] Oops: 0002 [#1] SMP NOPTI",
            "[    5.1] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
            "[    5.1] Call Trace:",
            "[    5.1][  T71] Call Trace:",
            "[    5.1] UBSAN: array-index-out-of-bounds in l7.c:1:2",
            "[    5.1] INFO: task curl:71 blocked for more than 30 seconds.",
            "[    5.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[    5.1] INFO: trying to register non-static key.",
            "[    5.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [curl:71]",
            "[    5.1] unregister_netdevice: waiting for veth0 to become free. Usage count = 2",
            "[    5.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "[    5.1] refcount_t: underflow; use-after-free.",
            "[    5.1] list_del corruption. prev->next should be ffff, but was 0000",
            "[    5.1] ODEBUG: free active (active state 0) object: 0 object type: timer_list",
            "[    5.1] rust_kernel: panicked at flow.rs:1:2: index out of bounds",
            "[    5.1] Kernel panic - not syncing: sysrq triggered crash",
            "[    5.1] curl: page allocation failure: order:3, mode:0x40dc0",
            "[    5.1] l7switch[71]: segfault at 0 ip 0000 sp 0000 error 4",
            "[    5.1] ref_tracker: net notrefcnt@0 has 1/1 users at",
        ] {
            assert!(is_complaint(line), "{line}");
        }
    }

    #[test]
    fn what_is_in_order_is_no_complaint() {
        for line in [
            "[    5.1] l7switch: loading out-of-tree module taints kernel.",
            "[    5.1] l7switch: module verification failed: signature and/or required key missing - tainting kernel",
            "[    5.1] PCI: Using host bridge windows from ACPI; if necessary, use \"pci=nocrs\" and report a bug",
            "[    5.1] RAS: Correctable Errors collector initialized.",
            "[    5.1] l7switch: table 3 is in force",
            "[    5.1] kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
            "[    5.1] kmemleak: Automatic memory scanning thread started",
            "[    5.1] kasan: KernelAddressSanitizer initialized (generic)",
            "[    5.1] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
            "[    5.1] clocksource: Switched to clocksource tsc-early",
            "[    5.1] rcu: \tRCU debug extended QS entry/exit.",
            "",
        ] {
            assert!(!is_complaint(line), "{line}");
        }
    }

    #[test]
    fn the_excerpt_begins_at_the_first_complaint() {
        let log = "quiet\nBUG: here\n RIP: there\nquiet again";
        assert_eq!(
            excerpt(log.lines()),
            ["BUG: here", " RIP: there", "quiet again"]
        );
        assert!(excerpt("quiet\nquiet again".lines()).is_empty());
    }
}
