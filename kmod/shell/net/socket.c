// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Which packets are this host's own sockets'. */
#include <linux/netfilter.h>
#include <linux/tcp.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/l3mdev.h>

#include "helpers.h"
#include "packet/skb.h"

/* Whether a TCP packet, whose header is at tcp_at, is of a connection that a socket of this host has, or had not long ago.
 * Under RCU. */
bool l7_hook_has_socket(const struct nf_hook_state *state, const struct sk_buff *skb,
			unsigned int tcp_at)
{
	const struct net_device *dev = state->in ? state->in : state->out;
	int vrf = dev ? l3mdev_master_ifindex_rcu(dev) : 0;
	int index = dev ? dev->ifindex : 0;
	struct tcphdr _th, *th;
	struct sock *sk;

	th = skb_header_pointer(skb, tcp_at, sizeof(_th), &_th);
	if (!th)
		return false;
	if (is_ipv4(skb))
		sk = __inet_lookup_established(state->net, ip_hdr(skb)->saddr,
					       th->source, ip_hdr(skb)->daddr,
					       ntohs(th->dest), index, vrf);
	else
		sk = __inet6_lookup_established(state->net, &ipv6_hdr(skb)->saddr,
						th->source, &ipv6_hdr(skb)->daddr,
						ntohs(th->dest), index, vrf);
	if (!sk)
		return false;
	sock_gen_put(sk);
	return true;
}
