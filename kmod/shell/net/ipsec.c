// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What IPsec's policies say of packets that the module takes before the stack would ask them. */
#include <linux/netfilter.h>
#include <linux/skbuff.h>
#include <net/xfrm.h>

#include "helpers.h"
#include "net/ipsec.h"
#include "packet/skb.h"

/* Whether there are policies. */
bool l7_net_has_ipsec(const struct net *net)
{
	return has_ipsec(net);
}

/* Whether policies let a packet in that was received, as its headers are: to an address, 16 bytes, IPv4 as IPv4-mapped IPv6.
 * Under RCU. */
bool l7_hook_ipsec_lets_in(const struct nf_hook_state *state, struct sk_buff *skb,
			   const u8 *destination)
{
	int dir;

	if (!has_ipsec(state->net))
		return true;
	dir = l7_hook_is_local(state, destination) ? XFRM_POLICY_IN : XFRM_POLICY_FWD;
	return xfrm_policy_check(NULL, dir, skb, is_ipv4(skb) ? AF_INET : AF_INET6);
}
