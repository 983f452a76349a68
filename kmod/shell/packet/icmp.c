// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Errors of ICMP and ICMPv6. */
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/skbuff.h>
#include <net/checksum.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>

#include "helpers.h"
#include "packet/skb.h"

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
	int at = l7_skb_find(skb, protocol);

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
