// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the kernel has of packets only as inline functions, macros and fields, as functions: reading. Where nothing else is said, the
 * network header is at skb->data, as it is in the hooks, and offsets are counted from there. */
#include <linux/netfilter.h>
#include <linux/skbuff.h>
#include <net/dsfield.h>
#include <net/ip.h>
#include <net/ipv6.h>

#include "helpers.h"
#include "packet/skb.h"

unsigned int l7_skb_len(const struct sk_buff *skb)
{
	return skb->len;
}

unsigned int l7_skb_truesize(const struct sk_buff *skb)
{
	return skb->truesize;
}

/* Copies len bytes; false where the packet has not so many. */
bool l7_skb_read(const struct sk_buff *skb, unsigned int offset, void *to,
		 unsigned int len)
{
	return offset <= INT_MAX && len <= INT_MAX &&
	       skb_copy_bits(skb, offset, to, len) == 0;
}

/* The bytes at an offset in a page. */
static const u8 *page_run(const skb_frag_t *frag, unsigned int at, unsigned int *len)
{
	const u8 *bytes;

	/* Highmem has no address for more than a page. */
	if (IS_ENABLED(CONFIG_HIGHMEM))
		return NULL;
	bytes = skb_frag_address_safe(frag);
	if (!bytes)
		return NULL;
	*len = skb_frag_size(frag) - at;
	return bytes + at;
}

/* Pages that a program may write meanwhile (sendfile, vmsplice, MSG_ZEROCOPY), and those of no processor. The mark is the
 * whole buffer's: all its pages may be such. */
static bool has_foreign_pages(const struct sk_buff *skb)
{
	return skb_has_shared_frag(skb) || !skb_frags_readable(skb);
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
	if (has_foreign_pages(skb))
		return NULL;
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		if (offset - start < skb_frag_size(frag))
			return page_run(frag, offset - start, len);
		start += skb_frag_size(frag);
	}
	return NULL;
}

/* The same with the buffers that GRO has chained to this one. */
static noinline const u8 *far_run(const struct sk_buff *skb, unsigned int offset,
				  unsigned int *len)
{
	const struct sk_buff *chained;
	unsigned int start = skb_pagelen(skb);

	if (offset >= skb->len)
		return NULL;
	if (offset < start)
		return own_run(skb, offset, len);
	skb_walk_frags(skb, chained) {
		if (offset - start < chained->len)
			return own_run(chained, offset - start, len);
		start += chained->len;
	}
	return NULL;
}

/* The bytes at an offset that lie in one piece. */
const u8 *l7_skb_run(const struct sk_buff *skb, unsigned int offset,
		     unsigned int *len)
{
	unsigned int linear = skb_headlen(skb);
	const skb_frag_t *first = &skb_shinfo(skb)->frags[0];

	if (offset < linear) {
		*len = linear - offset;
		return skb->data + offset;
	}
	/* What TCP sends begins with the first page. */
	if (skb_shinfo(skb)->nr_frags && offset - linear < skb_frag_size(first) &&
	    !has_foreign_pages(skb))
		return page_run(first, offset - linear, len);
	return far_run(skb, offset, len);
}

/* Whether l7_skb_run() does not give all of its bytes. */
bool l7_skb_is_foreign(const struct sk_buff *skb)
{
	const struct sk_buff *chained;

	if (!skb_is_nonlinear(skb))
		return false;
	if (IS_ENABLED(CONFIG_HIGHMEM) || has_foreign_pages(skb))
		return true;
	skb_walk_frags(skb, chained)
		if (skb_has_frag_list(chained) || has_foreign_pages(chained))
			return true;
	return false;
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

int l7_skb_find(const struct sk_buff *skb, int protocol)
{
	unsigned int offset;

	if (is_ipv4(skb))
		return ip_hdr(skb)->protocol == protocol ? ip_hdrlen(skb) : -ENOENT;
	return l7_ipv6_find(skb, &offset, protocol) == protocol ? offset : -ENOENT;
}

/* Verifies the checksum of TCP or ICMP, and so reads the whole packet, unless the device did. */
bool l7_skb_sum_is_right(struct sk_buff *skb, unsigned int at, u8 protocol)
{
	if (at > skb->len)
		return false;
	if (skb_csum_unnecessary(skb))
		return true;
	return nf_checksum(skb, NF_INET_PRE_ROUTING, at, protocol,
			   is_ipv4(skb) ? AF_INET : AF_INET6) == 0;
}

u8 l7_skb_tos(const struct sk_buff *skb)
{
	return is_ipv4(skb) ? ip_hdr(skb)->tos : ipv6_get_dsfield(ipv6_hdr(skb));
}

u32 l7_skb_mark(const struct sk_buff *skb)
{
	return skb->mark;
}

int l7_skb_find_tcp(const struct sk_buff *skb)
{
	return l7_skb_find(skb, IPPROTO_TCP);
}

struct sk_buff *l7_skb_next(const struct sk_buff *skb)
{
	return skb->next;
}
