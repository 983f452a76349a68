// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Writing and cutting packets, and queues of them. The network header is at skb->data, and offsets are counted from there. */
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/checksum.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>

#include "helpers.h"
#include "packet/skb.h"

/* Copies what is not the buffer's own: what is read from then on is what is sent. False where memory is short, or there is
 * nothing to be read. */
bool l7_skb_make_own(struct sk_buff *skb)
{
	if (!skb_frags_readable(skb))
		return false;
	if (IS_ENABLED(CONFIG_HIGHMEM) || skb_has_frag_list(skb))
		return skb_linearize(skb) == 0;
	/* Into pages: a long packet would need a long piece of memory. */
	if (skb_copy_ubufs(skb, GFP_ATOMIC))
		return false;
	skb_shinfo(skb)->flags &= ~SKBFL_SHARED_FRAG;
	return true;
}

/* The checksum field gets the sum of the pseudo-header; the rest is added when the packet is sent. The header is linear and
 * may be written. */
void l7_skb_make_partial(struct sk_buff *skb, unsigned int tcp_at)
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

/* Moves the first so many bytes into the linear part, which is the buffer's own. False: memory is short. */
bool l7_skb_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
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
	int tcp_at = l7_skb_find(skb, IPPROTO_TCP);

	if (tcp_at < 0 || skb_linearize(skb) ||
	    skb_ensure_writable(skb, tcp_at + sizeof(struct tcphdr)) ||
	    skb_unclone(skb, GFP_ATOMIC))
		return false;
	skb_shinfo(skb)->gso_type &= ~SKB_GSO_FRAGLIST;
	l7_skb_make_partial(skb, tcp_at);
	return true;
}

static __always_inline u8 *as_written(struct sk_buff *skb, bool *partial)
{
	if (skb->ip_summed == CHECKSUM_COMPLETE)
		skb->ip_summed = CHECKSUM_NONE;
	skb_clear_hash(skb);
	*partial = skb->ip_summed == CHECKSUM_PARTIAL;
	return skb->data;
}

static noinline u8 *make_writable(struct sk_buff *skb, unsigned int len, bool *partial)
{
	if (len > skb->len || (is_list(skb) && !unlist(skb)))
		return NULL;
	/* Chained buffers stay whole: see l7_skb_part(). */
	if (skb_has_frag_list(skb) && len > skb_pagelen(skb) && skb_linearize(skb))
		return NULL;
	return skb_ensure_writable(skb, len) ? NULL : as_written(skb, partial);
}

/* Makes the first bytes linear and this buffer's own. What was known of the packet by its headers is forgotten. Tells whether a
 * transport's checksum field holds the pseudo-header's sum only. */
u8 *l7_skb_writable(struct sk_buff *skb, unsigned int len, bool *partial)
{
	/* Nearly always they are. Alone, that saves and calls nothing. */
	if (len <= skb_headlen(skb) && !is_list(skb) &&
	    (!skb_cloned(skb) || skb_clone_writable(skb, len)))
		return as_written(skb, partial);
	return make_writable(skb, len, partial);
}

struct sk_buff *l7_skb_copy(struct sk_buff *skb)
{
	return skb_clone(skb, GFP_ATOMIC);
}

bool l7_skb_trim(struct sk_buff *skb, unsigned int len)
{
	/* What it says of segments is changed then, and not for others. */
	return skb_unclone(skb, GFP_ATOMIC) == 0 && pskb_trim(skb, len) == 0;
}

/* A new packet of other headers and a part of this one, which does not change. */
struct sk_buff *l7_skb_part(struct sk_buff *skb, unsigned int from,
			    unsigned int len, const u8 *headers,
			    unsigned int headers_len)
{
	struct sk_buff *part = pskb_extract(skb, from, len, GFP_ATOMIC);

	if (!part)
		return NULL;
	/* Chained buffers have to begin where segments do, or skb_segment() ends the kernel. */
	if ((skb_has_frag_list(part) && skb_linearize(part)) ||
	    skb_cow(part, headers_len + LL_MAX_HEADER)) {
		kfree_skb(part);
		return NULL;
	}
	skb_push(part, headers_len);
	memcpy(part->data, headers, headers_len);
	skb_reset_network_header(part);
	return part;
}

/* As ipv6_set_payload_len(), which not all of the 7.x kernels have. */
void l7_skb_set_payload_len(struct sk_buff *skb)
{
	unsigned int len = skb->len - sizeof(struct ipv6hdr);

	ipv6_hdr(skb)->payload_len = len <= IPV6_MAXPLEN ? htons(len) : 0;
}

/* Makes the headers say what there is. */
void l7_skb_refit(struct sk_buff *skb, unsigned int tcp_at,
		  unsigned int payload_at)
{
	unsigned int payload = skb->len - payload_at;

	if (is_ipv4(skb)) {
		iph_set_totlen(ip_hdr(skb), skb->len);
		ip_send_check(ip_hdr(skb));
	} else {
		l7_skb_set_payload_len(skb);
	}
	l7_skb_make_partial(skb, tcp_at);
	if (payload <= skb_shinfo(skb)->gso_size)
		skb_gso_reset(skb);
	else if (skb_is_gso(skb))
		skb_shinfo(skb)->gso_segs = DIV_ROUND_UP(payload, skb_shinfo(skb)->gso_size);
}

/* Has a packet be cut into segments of no more than so many bytes of TCP's options and data, when it is sent. Its headers may be
 * written and its checksum is right. Gives 1; 0 where it is not longer than that; -1 where memory is short. */
int l7_skb_limit(struct sk_buff *skb, unsigned int tcp_at, unsigned int payload_at,
		 unsigned int most)
{
	unsigned int options = payload_at - tcp_at - sizeof(struct tcphdr);
	unsigned int payload = skb->len - payload_at;
	unsigned int size = most > options ? most - options : 1;
	unsigned int now = skb_is_gso(skb) ? skb_shinfo(skb)->gso_size : payload;

	if (now <= size)
		return 0;
	/* Chained buffers have to begin where segments do, or skb_segment() ends the kernel. */
	if (skb_unclone(skb, GFP_ATOMIC) || (skb_has_frag_list(skb) && skb_linearize(skb)))
		return -1;
	if (!skb_is_gso(skb)) {
		const struct tcphdr *th = (struct tcphdr *)(skb->data + tcp_at);

		skb_shinfo(skb)->gso_type = is_ipv4(skb) ? SKB_GSO_TCPV4 : SKB_GSO_TCPV6;
		if (th->cwr)
			skb_shinfo(skb)->gso_type |= SKB_GSO_TCP_ECN;
	}
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_segs = DIV_ROUND_UP(payload, size);
	l7_skb_make_partial(skb, tcp_at);
	return 1;
}

void l7_skb_chain(struct sk_buff *skb, struct sk_buff *next)
{
	skb->next = next;
	next->next = NULL;
}

/* The next one; this one is on no list then. */
struct sk_buff *l7_skb_unchain(struct sk_buff *skb)
{
	struct sk_buff *next = skb->next;

	skb_mark_not_on_list(skb);
	return next;
}
