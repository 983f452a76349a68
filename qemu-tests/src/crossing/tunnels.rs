// SPDX-License-Identifier: MIT
//! Tunnels whose ends have more to be told than a line of `ip`.

use super::Place;
use super::site::Site;
use super::site::ip;
use super::site::sh;
use crate::kit::Host;

pub(super) fn wireguard(site: &mut Site, place: Place) {
    for link in site.links(place) {
        let device = "link add {new} type wireguard";
        site.stack(&link, device, device).unwrap();
        let file = |host: &Host| format!("/tmp/{}.{}.key", host.name(), link.new);
        let ports = [51_820 + link.number, 51_820];
        let ends = [(&site.network.switch, link.new.as_str()), (link.host, "x0")];
        for (host, _) in ends {
            sh(host, &format!("umask 077; wg genkey >{}", file(host))).unwrap();
        }
        for ((own, peer), to) in [(0, 1), (1, 0)].into_iter().zip(link.below().iter().rev()) {
            let (host, device) = ends[own];
            let line = format!(
                "wg set {device} listen-port {} private-key {} peer \"$(wg pubkey <{})\" \
                 endpoint {}:{} allowed-ips 0.0.0.0/0,::/0",
                ports[own],
                file(host),
                file(ends[peer].0),
                to[0],
                ports[peer]
            );
            sh(host, &line).unwrap();
        }
    }
}

pub(super) fn ipip_and_sit(site: &mut Site, place: Place) {
    for link in site.links(place) {
        let device = "link add {new} type ipip local {own} remote {peer}\n\
                      link add {new}s type sit local {own} remote {peer}\nlink set {new}s up";
        site.stack(&link, device, device).unwrap();
        // What is IPv6's moves on to the other one.
        let moved = |addresses: &str, four: &str, six: &str| {
            let mut lines = format!("addr flush dev {four} scope global\n");
            for line in addresses.lines() {
                let device = if line.contains("fd00:") { six } else { four };
                lines += &format!("{}\n", line.replace("DEV", device));
            }
            lines
        };
        let new = &link.new;
        let at_switch = moved(&link.at_switch("DEV"), new, &format!("{new}s"));
        ip(&site.network.switch, &at_switch).unwrap();
        ip(link.host, &moved(&link.at_host("DEV"), "x0", "x0s")).unwrap();
    }
}

pub(super) fn by_route(site: &mut Site, place: Place) {
    // On the servers an ordinary device; on the switch one for all of them.
    for link in site.links(place) {
        let (device, own) = (&link.device, &link.below()[0]);
        let lines = format!(
            "addr flush dev {device} scope global\naddr add {}/24 dev {device}\naddr add {}/64 dev {device} nodad",
            own[0], own[1]
        );
        ip(&site.network.switch, &lines).unwrap();
        let server = "link add {new} address 02:00:00:00:07:0{number} type vxlan id {number} local {own} remote {peer} dstport 4789";
        site.stack(&link, "", server).unwrap();
    }
    let mut lines =
        "link add vx address 02:00:00:00:08:01 type vxlan external dstport 4789\nlink set vx up\n"
            .to_owned();
    for link in site.links(place) {
        let (number, end) = (link.number, link.number + 1);
        let encap = format!("encap ip id {number} dst {} dev vx", link.below()[1][0]);
        lines += &format!(
            "addr replace 10.0.2.1/32 dev vx\naddr replace fd00:2::1/128 dev vx nodad\n\
             route replace 10.0.2.{end} {encap} src 10.0.2.1\nroute replace fd00:2::{end} {encap} src fd00:2::1\n\
             neigh replace 10.0.2.{end} lladdr 02:00:00:00:07:0{number} dev vx\n\
             neigh replace fd00:2::{end} lladdr 02:00:00:00:07:0{number} dev vx\n"
        );
        let answers = "neigh replace 10.0.2.1 lladdr 02:00:00:00:08:01 dev x0\nneigh replace fd00:2::1 lladdr 02:00:00:00:08:01 dev x0";
        ip(link.host, answers).unwrap();
    }
    ip(&site.network.switch, &lines).unwrap();
}

/// The key of every association: nobody else listens.
const KEY: &str = "aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128";

/// Has TCP over the place's links go by ESP in tunnel mode, by a device of its own or by policies alone.
pub(super) fn ipsec(site: &mut Site, place: Place, by_device: bool) {
    for link in site.links(place) {
        let number = link.number;
        let id = if by_device {
            format!("if_id 7{number}")
        } else {
            String::new()
        };
        let [switch, host] = link.below();
        if by_device {
            let device = "link add {new} type xfrm dev {dev} if_id 7{number}";
            site.stack(&link, device, device).unwrap();
        } else {
            for (at, device, own) in [
                (&site.network.switch, link.device.as_str(), &switch),
                (link.host, "eth0", &host),
            ] {
                ip(at, &format!("addr add {}/24 dev {device}", own[0])).unwrap();
            }
        }
        for at_switch in [true, false] {
            let (own, peer) = if at_switch {
                (&switch[0], &host[0])
            } else {
                (&host[0], &switch[0])
            };
            let at = if at_switch {
                &site.network.switch
            } else {
                link.host
            };
            let spi = |out: bool| if out == at_switch { 1 } else { 2 };
            let mut script = format!(
                "ip xfrm state add src {own} dst {peer} proto esp spi 0x{number}0{} reqid {number} mode tunnel flag af-unspec {KEY} {id}\n\
                 ip xfrm state add src {peer} dst {own} proto esp spi 0x{number}0{} reqid {number} mode tunnel flag af-unspec {KEY} {id}\n",
                spi(true),
                spi(false)
            );
            for [mut here, mut there] in link.selectors() {
                if !at_switch {
                    (here, there) = (there, here);
                }
                for (direction, from, to, begin, end) in [
                    ("out", &here, &there, own, peer),
                    ("in", &there, &here, peer, own),
                    ("fwd", &there, &here, peer, own),
                ] {
                    script += &format!(
                        "ip xfrm policy add src {from} dst {to} proto tcp dir {direction} {id} \
                         tmpl src {begin} dst {end} proto esp reqid {number} mode tunnel\n"
                    );
                }
            }
            sh(at, &script).unwrap();
        }
    }
}
