// SPDX-License-Identifier: MIT
//! The SYN that a connection began with, of which the kernel module tells something in an option
//! ([`l7switch_engine::flow::Build::refusal`]).
//!
//! Linux keeps it where the listening socket asks for it (`TCP_SAVE_SYN`, net/ipv4/tcp.c), but for connections by SYN cookies.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use l7switch_engine::flow::Refusal;
use l7switch_engine::flow::segment;
use l7switch_engine::packet;

/// Headers of IP and TCP with all options, bytes.
const LEN: usize = 60 + 60;

/// Keeps the SYNs of the connections that this listening socket accepts.
///
/// # Errors
///
/// As the kernel says.
pub fn keep(listener: &impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    let len = size_of_val(&on).try_into().unwrap_or_default();
    let descriptor = listener.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as `listener` is borrowed; the kernel reads `len` bytes from `on`, which lives.
    let done = unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            len,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Why the module wants the requests refused of a connection that was accepted; `None`: it does not. What was kept is given back.
pub fn refusal(stream: &impl AsFd) -> Option<Refusal> {
    let mut headers = [0_u8; LEN];
    let mut len = LEN.try_into().unwrap_or_default();
    let descriptor = stream.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as `stream` is borrowed; the kernel writes at most `len` bytes, which `headers`
    // has, and how many to `len`.
    let done = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            headers.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let headers = usize::try_from(len).ok().and_then(|len| headers.get(..len));
    headers.filter(|_| done == 0).and_then(refusal_in)
}

/// Why, as the headers of a SYN say.
fn refusal_in(headers: &[u8]) -> Option<Refusal> {
    let ipv4 = headers.first_chunk().and_then(packet::ipv4);
    let ip = ipv4.or_else(|| headers.first_chunk().and_then(packet::ipv6));
    let options = ip.filter(|ip| ip.protocol == packet::TCP).and_then(|ip| {
        let header = headers.get(usize::try_from(ip.header_len).ok()?..)?;
        let len = segment::header_len(header.first_chunk()?)?;
        header.get(packet::HEADER..usize::from(len))
    });
    options.and_then(segment::refusal)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::net::TcpStream;

    use l7switch_engine::endpoint::Endpoint;
    use l7switch_engine::flow::Build;
    use l7switch_engine::flow::LEN_MAX;
    use l7switch_engine::flow::Offer;
    use l7switch_engine::flow::segment::SYN;

    use super::*;

    fn syn(address: [u8; 16], offer: Offer, refusal: Option<Refusal>) -> Vec<u8> {
        let end = |port| Endpoint { address, port };
        let build = Build {
            source: end(40_000),
            destination: end(80),
            seq: 1,
            ack: 0,
            flags: SYN,
            window: 3,
            timestamps: None,
            offer,
            refusal,
        };
        let mut bytes = [0; LEN_MAX];
        let len = build.write(&[], &mut bytes);
        bytes[..len].to_vec()
    }

    #[test]
    fn the_modules_option_is_read_in_both_families() {
        let v4 = std::net::Ipv4Addr::new(10, 0, 0, 1)
            .to_ipv6_mapped()
            .octets();
        for address in [v4, [0xfd; 16]] {
            for refusal in [None, Some(Refusal::RateLimit), Some(Refusal::Full)] {
                let offer = Offer {
                    mss: 1460,
                    window_scale: Some(7),
                    sack: true,
                };
                let syn = syn(address, offer, refusal);
                assert_eq!(refusal_in(&syn), refusal);
                // Cut anywhere it is none, but by no panic.
                assert!((0..syn.len()).all(|len| refusal_in(&syn[..len]).is_none()));
            }
        }
        assert_eq!(refusal_in(&[0xff; LEN]), None);
    }

    #[test]
    fn linux_keeps_what_a_connection_began_with() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            keep(&listener).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let mut headers = [0_u8; LEN];
            let mut len = LEN.try_into().unwrap();
            // SAFETY: as in `refusal`.
            let done = unsafe {
                libc::getsockopt(
                    accepted.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_SAVED_SYN,
                    headers.as_mut_ptr().cast(),
                    &raw mut len,
                )
            };
            assert!(done == 0 && len >= 40, "{done} {len}");
            assert_eq!(refusal(&accepted), None);
        }
    }
}
