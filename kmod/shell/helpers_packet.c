// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the kernel has of packets only as inline functions, macros and fields, as functions. Where nothing else is said, the
 * network header is at skb->data, as it is in the hooks, and offsets are counted from there. */
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/checksum.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/route.h>

#include "helpers.h"

bool l7_comes_from_loopback(const struct nf_hook_state *state)
{
	return state->hook == NF_INET_PRE_ROUTING && state->in &&
	       state->in->flags & IFF_LOOPBACK;
}

static bool is_ipv4(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_IP);
}

unsigned int l7_skb_len(const struct sk_buff *skb)
{
	return skb->len;
}

unsigned int l7_skb_truesize(const struct sk_buff *skb)
{
	return skb->truesize;
}

int l7_skb_network_offset(const struct sk_buff *skb)
{
	return skb_network_offset(skb);
}

/* Copies len bytes; false where the packet has not so many. */
bool l7_skb_read(const struct sk_buff *skb, unsigned int offset, void *to,
		 unsigned int len)
{
	return offset <= INT_MAX && len <= INT_MAX &&
	       skb_copy_bits(skb, offset, to, len) == 0;
}

/* The bytes at an offset that lie in one piece of a buffer's own: its linear part or one of its pages. */
static const u8 *own_run(const struct sk_buff *skb, unsigned int offset,
			 unsigned int *len)
{
	unsigned int start = skb_headlen(skb);
	int i;

	if (offset < start) {
		*len = start - offset;
		return skb->data + offset;
	}
	/* Pages that a program may write meanwhile (sendfile, vmsplice), and those of no processor. */
	if (skb_has_shared_frag(skb) || !skb_frags_readable(skb))
		return NULL;
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];
		unsigned int size = skb_frag_size(frag);

		if (offset - start < size) {
			const u8 *bytes;

			/* Highmem has no address for more than a page. */
			if (IS_ENABLED(CONFIG_HIGHMEM))
				return NULL;
			bytes = skb_frag_address_safe(frag);
			if (!bytes)
				return NULL;
			*len = size - (offset - start);
			return bytes + (offset - start);
		}
		start += size;
	}
	return NULL;
}

/* The same with the buffers that GRO has chained to this one. */
const u8 *l7_skb_run(const struct sk_buff *skb, unsigned int offset,
		     unsigned int *len)
{
	const struct sk_buff *chained;
	unsigned int start;

	if (offset >= skb->len)
		return NULL;
	start = skb_pagelen(skb);
	if (offset < start)
		return own_run(skb, offset, len);
	skb_walk_frags(skb, chained) {
		if (offset - start < chained->len)
			return own_run(chained, offset - start, len);
		start += chained->len;
	}
	return NULL;
}

/* Goes over the extension headers to a protocol; gives it, or a negative error. */
int l7_ipv6_find(const struct sk_buff *skb, unsigned int *offset, int protocol)
{
	unsigned short fragment = 0;
	int found;

	*offset = 0;
	found = ipv6_find_hdr(skb, offset, protocol, &fragment, NULL);
	return fragment ? -ENOENT : found;
}

static int find(const struct sk_buff *skb, int protocol)
{
	unsigned int offset;

	if (is_ipv4(skb))
		return ip_hdr(skb)->protocol == protocol ? ip_hdrlen(skb) : -ENOENT;
	return l7_ipv6_find(skb, &offset, protocol) == protocol ? offset : -ENOENT;
}

/* The checksum field gets the sum of the pseudo-header; the rest is added when the packet is sent. The header is linear and
 * may be written. */
static void make_partial(struct sk_buff *skb, unsigned int tcp_at)
{
	struct tcphdr *th = (struct tcphdr *)(skb->data + tcp_at);
	unsigned int len = skb->len - tcp_at;

	if (is_ipv4(skb))
		th->check = ~csum_tcpudp_magic(ip_hdr(skb)->saddr, ip_hdr(skb)->daddr,
					       len, IPPROTO_TCP, 0);
	else
		th->check = ~csum_ipv6_magic(&ipv6_hdr(skb)->saddr,
					     &ipv6_hdr(skb)->daddr, len,
					     IPPROTO_TCP, 0);
	skb_set_transport_header(skb, tcp_at);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + tcp_at;
	skb->csum_offset = offsetof(struct tcphdr, check);
}

static bool is_list(const struct sk_buff *skb)
{
	return skb_is_gso(skb) && skb_shinfo(skb)->gso_type & SKB_GSO_FRAGLIST &&
	       skb_shinfo(skb)->gso_type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6);
}

/* A list of segments (NETIF_F_GRO_FRAGLIST) goes out again with the header that each came with, whatever is changed in the
 * first: it becomes a packet that is segmented anew. */
static bool unlist(struct sk_buff *skb)
{
	int tcp_at = find(skb, IPPROTO_TCP);

	if (tcp_at < 0 || skb_linearize(skb) ||
	    skb_ensure_writable(skb, tcp_at + sizeof(struct tcphdr)) ||
	    skb_unclone(skb, GFP_ATOMIC))
		return false;
	skb_shinfo(skb)->gso_type &= ~SKB_GSO_FRAGLIST;
	make_partial(skb, tcp_at);
	return true;
}

/* Makes the first bytes linear and this buffer's own. What was known of the packet by its headers is forgotten. */
u8 *l7_skb_writable(struct sk_buff *skb, unsigned int len)
{
	if (len > skb->len || (is_list(skb) && !unlist(skb)) ||
	    skb_ensure_writable(skb, len))
		return NULL;
	if (skb->ip_summed == CHECKSUM_COMPLETE)
		skb->ip_summed = CHECKSUM_NONE;
	skb_clear_hash(skb);
	return skb->data;
}

/* Whether a transport's checksum field holds the pseudo-header's sum only, or will when the header may be written. */
bool l7_skb_sum_is_partial(const struct sk_buff *skb)
{
	return skb->ip_summed == CHECKSUM_PARTIAL || is_list(skb);
}

/* Verifies the checksum of TCP or ICMP, and so reads the whole packet, unless the device did. */
bool l7_skb_sum_is_right(struct sk_buff *skb, unsigned int at, u8 protocol)
{
	if (at > skb->len)
		return false;
	return nf_checksum(skb, NF_INET_PRE_ROUTING, at, protocol,
			   is_ipv4(skb) ? AF_INET : AF_INET6) == 0;
}

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
	unsigned int fragments;

	if (skb_orphan_frags_rx(skb, GFP_ATOMIC))
		return false;
	skb_orphan(skb);
	skb_scrub_packet(skb, false);
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
	skb_set_delivery_time(skb, 0, SKB_CLOCK_REALTIME);
	skb->dev = NULL;
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
