// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What hooks see, and fragments put together before them. */
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/skbuff.h>
#include <net/netfilter/ipv4/nf_defrag_ipv4.h>
#include <net/netfilter/ipv6/nf_defrag_ipv6.h>

#include "helpers.h"

/* Whether a packet in a hook is to be seen there: not what comes back by the loopback device, nor what does not begin with the
 * network header. */
bool l7_hook_sees(const struct sk_buff *skb, const struct nf_hook_state *state)
{
	bool comes_back = state->hook == NF_INET_PRE_ROUTING && state->in &&
			  state->in->flags & IFF_LOOPBACK;

	return !comes_back && skb_network_offset(skb) == 0;
}

/* Fragments are put together before any hook of a priority above NF_IP_PRI_CONNTRACK_DEFRAG sees them. */
int l7_defrag_enable(struct net *net)
{
	int err = nf_defrag_ipv4_enable(net);

	if (err)
		return err;
	err = nf_defrag_ipv6_enable(net);
	if (err)
		nf_defrag_ipv4_disable(net);
	return err;
}

void l7_defrag_disable(struct net *net)
{
	nf_defrag_ipv6_disable(net);
	nf_defrag_ipv4_disable(net);
}
