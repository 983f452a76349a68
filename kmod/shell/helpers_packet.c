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
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/netfilter/ipv4/nf_defrag_ipv4.h>
#include <net/netfilter/ipv6/nf_defrag_ipv6.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/route.h>

#include "helpers.h"
#include "helpers_skb.h"

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

unsigned int l7_skb_len(const struct sk_buff *skb)
{
	return skb->len;
}

unsigned int l7_skb_truesize(const struct sk_buff *skb)
{
	return skb->truesize;
}

/* What a packet begins with in one piece, and how long that and all of it is. */
const u8 *l7_skb_start(const struct sk_buff *skb, unsigned int *linear,
		       unsigned int *len)
{
	*linear = skb_headlen(skb);
	*len = skb->len;
	return skb->data;
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

struct sk_buff *l7_skb_copy(struct sk_buff *skb)
{
	return skb_clone(skb, GFP_ATOMIC);
}

void l7_skb_consume(struct sk_buff *skb)
{
	consume_skb(skb);
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
	return find(skb, IPPROTO_TCP);
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
static void set_payload_len(struct sk_buff *skb)
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
		set_payload_len(skb);
	}
	make_partial(skb, tcp_at);
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
	make_partial(skb, tcp_at);
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

struct sk_buff *l7_skb_next(const struct sk_buff *skb)
{
	return skb->next;
}

static bool icmp4_error(const struct sk_buff *skb, unsigned int icmp_at,
			unsigned int *tcp_at)
{
	struct icmphdr _icmp, *icmp;
	struct iphdr _ip, *ip;

	icmp = skb_header_pointer(skb, icmp_at, sizeof(_icmp), &_icmp);
	ip = skb_header_pointer(skb, icmp_at + sizeof(_icmp), sizeof(_ip), &_ip);
	if (!icmp || !ip || !icmp_is_err(icmp->type) || icmp->type == ICMP_REDIRECT ||
	    ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP ||
	    ip->frag_off & htons(IP_OFFSET))
		return false;
	*tcp_at = icmp_at + sizeof(_icmp) + ip->ihl * 4;
	return true;
}

static bool icmp6_error(const struct sk_buff *skb, unsigned int icmp_at,
			unsigned int *tcp_at)
{
	struct icmp6hdr _icmp, *icmp;
	struct ipv6hdr _ip, *ip;
	__be16 fragment;
	u8 protocol;
	int at;

	icmp = skb_header_pointer(skb, icmp_at, sizeof(_icmp), &_icmp);
	ip = skb_header_pointer(skb, icmp_at + sizeof(_icmp), sizeof(_ip), &_ip);
	if (!icmp || !ip || icmp->icmp6_type & ICMPV6_INFOMSG_MASK || ip->version != 6)
		return false;
	protocol = ip->nexthdr;
	at = ipv6_skip_exthdr(skb, icmp_at + sizeof(_icmp) + sizeof(_ip), &protocol,
			      &fragment);
	if (at < 0 || protocol != IPPROTO_TCP || fragment & htons(IP6_OFFSET))
		return false;
	*tcp_at = at;
	return true;
}

/* Finds the headers of an ICMP error about TCP, and verifies its checksum. */
bool l7_skb_icmp_error(struct sk_buff *skb, unsigned int *icmp_at,
		       unsigned int *ip_at, unsigned int *tcp_at)
{
	u8 protocol = is_ipv4(skb) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	int at = find(skb, protocol);

	if (at < 0 || (is_ipv4(skb) && ip_hdr(skb)->frag_off & htons(IP_OFFSET)))
		return false;
	*icmp_at = at;
	*ip_at = at + sizeof(struct icmphdr);
	if (!(is_ipv4(skb) ? icmp4_error(skb, at, tcp_at) : icmp6_error(skb, at, tcp_at)))
		return false;
	return *tcp_at + 8 <= skb->len && l7_skb_sum_is_right(skb, at, protocol);
}

bool l7_skb_icmp_sum(struct sk_buff *skb, unsigned int icmp_at)
{
	unsigned int len = skb->len - icmp_at;
	struct icmphdr *icmp;
	__wsum sum;

	if (icmp_at > skb->len || len < sizeof(*icmp) ||
	    skb_ensure_writable(skb, icmp_at + sizeof(*icmp)))
		return false;
	/* Both have it at the same place. */
	icmp = (struct icmphdr *)(skb->data + icmp_at);
	icmp->checksum = 0;
	sum = skb_checksum(skb, icmp_at, len, 0);
	icmp->checksum = is_ipv4(skb) ? csum_fold(sum) :
		csum_ipv6_magic(&ipv6_hdr(skb)->saddr, &ipv6_hdr(skb)->daddr, len,
				IPPROTO_ICMPV6, sum);
	skb->ip_summed = CHECKSUM_NONE;
	return true;
}

static_assert(sizeof(struct icmphdr) == sizeof(struct icmp6hdr));
static_assert(offsetof(struct icmphdr, checksum) == offsetof(struct icmp6hdr, icmp6_cksum));

/* Makes a packet of the headers of IP and TCP. NULL where they are none of the route's family, or memory is short. */
struct sk_buff *l7_skb_build(struct net *net, const struct dst_entry *dst,
			     const u8 *headers, unsigned int len, u32 mark)
{
	bool ipv4 = dst->ops->family == AF_INET;
	unsigned int room = LL_RESERVED_SPACE(dst_dev(dst)) + dst->header_len;
	struct sk_buff *skb;
	int tcp_at;

	if (len > IPV6_MIN_MTU ||
	    len < (ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return NULL;
	skb = alloc_skb(room + len, GFP_ATOMIC);
	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	skb_put_data(skb, headers, len);
	skb_reset_network_header(skb);
	skb->protocol = htons(ipv4 ? ETH_P_IP : ETH_P_IPV6);
	skb->mark = mark;
	tcp_at = (ipv4 ? ip_hdr(skb)->version == 4 : ip_hdr(skb)->version == 6) ?
		find(skb, IPPROTO_TCP) : -EINVAL;
	if (tcp_at < 0 || tcp_at + sizeof(struct tcphdr) > len)
		goto none;
	if (ipv4) {
		struct iphdr *iph = ip_hdr(skb);

		if (iph->ihl < 5)
			goto none;
		if (!iph->tot_len)
			iph->tot_len = htons(len);
		if (!iph->id)
			ip_select_ident(net, skb, NULL);
		if (!iph->check)
			ip_send_check(iph);
		skb->priority = rt_tos2priority(iph->tos);
	} else if (!ipv6_hdr(skb)->payload_len) {
		set_payload_len(skb);
	}
	skb_set_transport_header(skb, tcp_at);
	if (!tcp_hdr(skb)->check)
		make_partial(skb, tcp_at);
	return skb;
none:
	kfree_skb(skb);
	return NULL;
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
 * as the packets of the connection that follow are shown to them. Gives what nf_hook() does. */
static int pass_firewall(struct net *net, struct sk_buff *skb)
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
	if (before)
		said = nf_hook_slow(skb, &state, before, i);
	if (said != 1)
		return said;
	return nf_hook(state.pf, NF_INET_FORWARD, net, NULL, skb, in, skb_dst_dev_rcu(skb),
		       state.okfn);
}

/* Sends a packet of ours by a route, behind LOCAL_OUT. Takes the packet. 0: it was sent. -EPERM: rules of netfilter dropped it. Else it
 * was lost. Under RCU. */
int l7_skb_send(struct net *net, struct sk_buff *skb, struct dst_entry *dst)
{
	bool ipv4 = dst->ops->family == AF_INET;
	int said;

	if (ipv4 != is_ipv4(skb)) {
		kfree_skb(skb);
		return -EINVAL;
	}
	/* Who had the last reference may have given it back meanwhile. */
	if (!dst_hold_safe(dst)) {
		kfree_skb(skb);
		return -EHOSTUNREACH;
	}
	skb_dst_set(skb, dst);
	l7_skb_untrack(skb);
	if (!l7_route_is_local(dst)) {
		if (!pass_router(skb)) {
			kfree_skb(skb);
			return -EHOSTUNREACH;
		}
		said = pass_firewall(net, skb);
		/* 0: a program has it. */
		if (said != 1)
			return said;
	}
	/* net_xmit_eval is a macro that asks twice. */
	said = dst_output(net, NULL, skb);
	return net_xmit_eval(said);
}
