// SPDX-License-Identifier: MIT
//! IPsec's policies about what clients send in clear text.

use std::net::SocketAddr;

use super::Setup;
use super::rules_with;
use super::ways::answered;
use super::ways::ask;
use super::ways::is_silent;
use crate::kit::network::CLIENT;
use crate::kit::network::CLIENT6;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;

pub(in super::super) fn clear_text_that_ipsec_refuses_is_not_taken() {
    let mut setup = Setup::new(&rules_with("nat"));
    let addresses = [
        (SocketAddr::from((VIP, 80)), CLIENT.to_string()),
        (SocketAddr::from((VIP6, 80)), CLIENT6.to_string()),
    ];
    for (address, client) in addresses {
        let to = address.ip();
        let policy = format!("src {client} dst {to} proto tcp dir in");
        let mut stream = setup.network.client.connect(address);
        ask(&mut stream);
        answered(&mut stream);
        let (answered_syns, refused) = (
            setup.counter("syns_answered"),
            setup.counter("ipsec_refused"),
        );

        // What the client sends must come by ESP from now on.
        setup.network.switch.run(&format!(
            "ip xfrm policy add {policy} tmpl src {client} dst {to} proto esp mode transport"
        ));
        ask(&mut stream);
        assert!(is_silent(&mut stream), "{to}: a connection that is open");
        let curl = format!("curl -gs --max-time 3 http://{address}/one");
        let attempt = setup.network.client.attempt(&curl);
        assert!(
            !attempt.is_good(),
            "{to}: a new connection: {}",
            attempt.stdout
        );
        assert_eq!(setup.counter("syns_answered"), answered_syns);
        assert!(setup.counter("ipsec_refused") > refused);

        // The client sends again what was refused.
        setup
            .network
            .switch
            .run(&format!("ip xfrm policy del {policy}"));
        answered(&mut stream);
        let new = setup.network.client.get(&format!("http://{address}/one"));
        assert!(new.starts_with("server1"), "{new}");
    }
    setup.show();
}
