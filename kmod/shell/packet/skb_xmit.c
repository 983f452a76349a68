// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Where packets go: routes in hooks, and sending. */
#include <linux/icmpv6.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/route.h>

#include "helpers.h"
#include "packet/skb.h"

void l7_skb_untrack(struct sk_buff *skb)
{
	nf_reset_ct(skb);
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
}

void l7_skb_drop(struct sk_buff *skb)
{
	kfree_skb_reason(skb, SKB_DROP_REASON_NETFILTER_DROP);
}

/* Under RCU, before routing. */
bool l7_skb_route_input(struct sk_buff *skb, const u8 *destination)
{
	const struct iphdr *iph = ip_hdr(skb);
	__be32 to;

	skb_dst_drop(skb);
	/* IPv6 does not mind a source of this host's: routing follows by the headers as they are then. */
	if (!is_ipv4(skb))
		return true;
	memcpy(&to, destination + 12, sizeof(to));
	if (ip_route_input_noref(skb, to, iph->saddr, ip4h_dscp(iph), skb->dev))
		return false;
	if (skb_dst(skb)->error) {
		skb_dst_drop(skb);
		return false;
	}
	/* A client is not told of a better way to a server that it does not know. */
	IPCB(skb)->flags &= ~IPSKB_DOREDIRECT;
	return true;
}

/* At LOCAL_OUT. */
bool l7_skb_reroute(const struct nf_hook_state *state, struct sk_buff *skb)
{
	int err;

	if (is_ipv4(skb))
		err = ip_route_me_harder(state->net, state->sk, skb, RTN_UNSPEC);
	else
		err = ip6_route_me_harder(state->net, state->sk, skb);
	return err == 0;
}

/* Takes a packet away from its socket, device, route, tracked connection and the pages of a program. False: it was not
 * changed, memory is short. */
bool l7_skb_steal(struct sk_buff *skb, bool forwarded)
{
	bool ignore_df = skb->ignore_df;
	int came_by = forwarded && skb->dev ? skb->dev->ifindex : 0;
	unsigned int fragments;

	if (skb_orphan_frags_rx(skb, GFP_ATOMIC))
		return false;
	skb_orphan(skb);
	skb_scrub_packet(skb, false);
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
	skb_set_delivery_time(skb, 0, SKB_CLOCK_REALTIME);
	skb->dev = NULL;
	/* For rules at FORWARD. */
	skb->skb_iif = came_by;
	/* What was put together from fragments may be taken apart again. */
	skb->ignore_df = ignore_df;
	/* What output looks at: as for a packet that is forwarded, or one of a local socket. */
	if (is_ipv4(skb)) {
		fragments = IPCB(skb)->frag_max_size;
		memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
		IPCB(skb)->frag_max_size = fragments;
		IPCB(skb)->flags = forwarded ? IPSKB_FORWARDED : 0;
	} else {
		fragments = IP6CB(skb)->frag_max_size;
		memset(IP6CB(skb), 0, sizeof(*IP6CB(skb)));
		IP6CB(skb)->frag_max_size = fragments;
		IP6CB(skb)->flags = forwarded ? IP6SKB_FORWARDED : 0;
	}
	return true;
}

void l7_skb_consume(struct sk_buff *skb)
{
	consume_skb(skb);
}

/* Sees that a packet is one that is sent, of the headers of IP and TCP that it has, and makes the rest of them. False where they are none
 * of that family. */
static bool dress(struct net *net, struct sk_buff *skb, bool ipv4)
{
	int tcp_at;

	skb_reset_network_header(skb);
	skb->protocol = htons(ipv4 ? ETH_P_IP : ETH_P_IPV6);
	tcp_at = (ipv4 ? ip_hdr(skb)->version == 4 : ip_hdr(skb)->version == 6) ?
		l7_skb_find(skb, IPPROTO_TCP) : -EINVAL;
	if (tcp_at < 0 || tcp_at + sizeof(struct tcphdr) > skb->len)
		return false;
	if (ipv4) {
		struct iphdr *iph = ip_hdr(skb);

		if (iph->ihl < 5)
			return false;
		if (!iph->tot_len)
			iph->tot_len = htons(skb->len);
		if (!iph->id)
			ip_select_ident(net, skb, NULL);
		if (!iph->check)
			ip_send_check(iph);
		skb->priority = rt_tos2priority(iph->tos);
	} else if (!ipv6_hdr(skb)->payload_len) {
		l7_skb_set_payload_len(skb);
	}
	skb_set_transport_header(skb, tcp_at);
	if (!tcp_hdr(skb)->check)
		l7_skb_make_partial(skb, tcp_at);
	return true;
}

static unsigned int room_for(const struct dst_entry *dst)
{
	return LL_RESERVED_SPACE(dst_dev(dst)) + dst->header_len;
}

static bool is_length(const struct dst_entry *dst, unsigned int len)
{
	return len <= IPV6_MIN_MTU && len >= (dst->ops->family == AF_INET ?
		sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

/* Makes a packet of the headers of IP and TCP, and few data. NULL where they are none of the route's family, or memory is short. */
struct sk_buff *l7_skb_build(struct net *net, const struct dst_entry *dst,
			     const u8 *headers, unsigned int len, u32 mark)
{
	unsigned int room = room_for(dst);
	struct sk_buff *skb;

	if (!is_length(dst, len))
		return NULL;
	skb = alloc_skb(room + len, GFP_ATOMIC);
	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	skb_put_data(skb, headers, len);
	skb->mark = mark;
	if (dress(net, skb, dst->ops->family == AF_INET))
		return skb;
	kfree_skb(skb);
	return NULL;
}

/* The same of a packet that came in and has no more than headers; they are of the route's family. It is not freed and allocated anew
 * then. False: it was not changed, since others have its bytes, or there is no room. */
bool l7_skb_turn(struct net *net, struct sk_buff *skb, const struct dst_entry *dst,
		 const u8 *headers, unsigned int len)
{
	bool ipv4 = dst->ops->family == AF_INET;

	if (!is_length(dst, len) || skb_is_nonlinear(skb) || skb_is_gso(skb) ||
	    (skb_cloned(skb) && !skb_clone_writable(skb, skb->len)) ||
	    skb_headroom(skb) + skb->len < room_for(dst) + len || !l7_skb_steal(skb, false))
		return false;
	if (len > skb->len)
		skb_push(skb, len - skb->len);
	else
		__skb_pull(skb, skb->len - len);
	memcpy(skb->data, headers, len);
	skb->mark = 0;
	skb->priority = 0;
	skb_clear_hash(skb);
	return dress(net, skb, ipv4);
}

/* A router's part, for what came from another host. False where the packet's way ends here. */
static bool pass_router(struct sk_buff *skb)
{
	if (is_ipv4(skb)) {
		if (!(IPCB(skb)->flags & IPSKB_FORWARDED))
			return true;
		if (ip_hdr(skb)->ttl <= 1) {
			icmp_send(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
			return false;
		}
		if (skb_ensure_writable(skb, sizeof(struct iphdr)))
			return false;
		ip_decrease_ttl(ip_hdr(skb));
	} else {
		if (!(IP6CB(skb)->flags & IP6SKB_FORWARDED))
			return true;
		if (ipv6_hdr(skb)->hop_limit <= 1) {
			skb->dev = skb_dst_dev(skb);
			icmpv6_send(skb, ICMPV6_TIME_EXCEED, ICMPV6_EXC_HOPLIMIT, 0);
			return false;
		}
		if (skb_ensure_writable(skb, sizeof(struct ipv6hdr)))
			return false;
		ipv6_hdr(skb)->hop_limit--;
	}
	return true;
}

/* Shows what came from another host to rules at PRE_ROUTING behind the module's hook and at FORWARD, with the device that it came by,
 * as the packets of the connection that follow are shown to them. Gives what nf_hook() does, and whose word that is. */
static int pass_firewall(struct net *net, struct sk_buff *skb, unsigned int *hook)
{
	bool ipv4 = is_ipv4(skb);
	const struct nf_hook_entries *before;
	struct nf_hook_state state;
	struct net_device *in;
	unsigned int i = 0;
	int said = 1;

	if (ipv4 ? !(IPCB(skb)->flags & IPSKB_FORWARDED) :
		   !(IP6CB(skb)->flags & IP6SKB_FORWARDED))
		return 1;
	in = dev_get_by_index_rcu(net, skb->skb_iif);
	if (!in) {
		kfree_skb(skb);
		return -ENODEV;
	}
	/* From there on as if it had come just now: POST_ROUTING is told of it, too. */
	skb->dev = in;
	/* The last is for a packet that a program has had in between (NFQUEUE): nothing of the module's, which may be gone then. */
	nf_hook_state_init(&state, NF_INET_PRE_ROUTING, ipv4 ? NFPROTO_IPV4 : NFPROTO_IPV6, in,
			   NULL, NULL, net, ipv4 ? ip_output : ip6_output);
	before = ipv4 ? rcu_dereference(net->nf.hooks_ipv4[NF_INET_PRE_ROUTING]) :
			rcu_dereference(net->nf.hooks_ipv6[NF_INET_PRE_ROUTING]);
	while (before && i < before->num_hook_entries &&
	       nf_hook_entries_get_hook_ops(before)[i]->priority <= L7_HOOK_PRIORITY)
		i++;
	*hook = NF_INET_PRE_ROUTING;
	if (before)
		said = nf_hook_slow(skb, &state, before, i);
	if (said != 1)
		return said;
	*hook = NF_INET_FORWARD;
	return nf_hook(state.pf, NF_INET_FORWARD, net, NULL, skb, in, skb_dst_dev_rcu(skb),
		       state.okfn);
}

/* What l7_skb_send() says where a device or the stack has said something. */
static int sent(int said)
{
	/* net_xmit_eval is a macro that asks twice. */
	said = net_xmit_eval(said);
	return said > 0 ? -ENOBUFS : said;
}

/* Sends a packet of ours by a route, behind LOCAL_OUT. Takes the packet. 0: it was sent. Above: 1 + the number of the hook whose rules
 * dropped it. Below: it was lost. Under RCU. */
int l7_skb_send(struct net *net, struct sk_buff *skb, struct dst_entry *dst)
{
	bool ipv4 = dst->ops->family == AF_INET;
	unsigned int hook;
	int said;

	if (ipv4 != is_ipv4(skb)) {
		kfree_skb(skb);
		return -EINVAL;
	}
	skb_dst_set_noref(skb, dst);
	l7_skb_untrack(skb);
	if (!l7_route_is_local(dst)) {
		if (!pass_router(skb)) {
			kfree_skb(skb);
			return -EHOSTUNREACH;
		}
		if (l7_way_send(net, skb, &said))
			return sent(said);
		said = pass_firewall(net, skb, &hook);
		/* 0: a program has it. */
		if (said != 1)
			return said == -EPERM ? 1 + hook : said;
	}
	said = dst_output(net, NULL, skb);
	return said == -EPERM ? 1 + NF_INET_POST_ROUTING : sent(said);
}
