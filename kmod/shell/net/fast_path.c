// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Forwarding without the stack, as net/netfilter/nf_flow_table_ip.c does it: routes that were found before. Called under RCU, with
 * the network header at skb->data. */
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/skbuff.h>
#include <net/addrconf.h>
#include <net/dst.h>
#include <net/gso.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/ndisc.h>
#include <net/neighbour.h>
#include <net/net_namespace.h>
#include <net/route.h>

#include "helpers.h"
#include "net/ipsec.h"
#include "packet/skb.h"

/* Whether packets are forwarded by a route and nothing else; gives what l7_way_is_good() needs. */
bool l7_way_is_plain(const struct dst_entry *dst, u32 *cookie)
{
	if (dst->error || dst->lwtstate || dst_xfrm(dst))
		return false;
	if (dst->ops->family == AF_INET) {
		*cookie = 0;
		return dst_rtable(dst)->rt_type == RTN_UNICAST;
	}
	*cookie = rt6_get_cookie(dst_rt6_info(dst));
	return !(dst_rt6_info(dst)->rt6i_flags & (RTF_LOCAL | RTF_ANYCAST | RTF_REJECT));
}

/* Whether a hook would do something with a packet that is not tracked and has no socket: connection tracking, NAT and
 * AppArmor do nothing. */
bool l7_hook_looks(const struct nf_hook_ops *ops)
{
	if (ops->hook_ops_type == NF_HOOK_OP_NAT)
		return false;
	if (ops->hook_ops_type != NF_HOOK_OP_UNDEFINED)
		return true;
	if (ops->hooknum == NF_INET_POST_ROUTING &&
	    ops->priority == NF_IP_PRI_SELINUX_FIRST)
		return false;
	switch (ops->priority) {
	case NF_IP_PRI_CONNTRACK:
	case NF_IP_PRI_NAT_DST:
	case NF_IP_PRI_NAT_SRC:
	case NF_IP_PRI_CONNTRACK_HELPER:
	case NF_IP_PRI_CONNTRACK_CONFIRM:
		return false;
	}
	return true;
}

/* Whether one of the hooks behind a priority would. */
static bool one_looks(const struct nf_hook_entries *entries, int priority)
{
	struct nf_hook_ops **ops;
	unsigned int i;

	if (!entries)
		return false;
	ops = nf_hook_entries_get_hook_ops(entries);
	for (i = entries->num_hook_entries; i-- > 0 && ops[i]->priority > priority;)
		if (l7_hook_looks(ops[i]))
			return true;
	return false;
}

/* Whether someone looks at packets at a hook that comes behind the module's. */
bool l7_point_is_watched(const struct net *net, bool ipv4, unsigned int point)
{
	return one_looks(ipv4 ? rcu_dereference(net->nf.hooks_ipv4[point]) :
				rcu_dereference(net->nf.hooks_ipv6[point]), INT_MIN);
}

static noinline bool hooks_look(const struct nf_hook_entries *before,
				const struct nf_hook_entries *forward,
				const struct nf_hook_entries *behind)
{
	return one_looks(before, L7_HOOK_PRIORITY) || one_looks(forward, INT_MIN) ||
	       one_looks(behind, INT_MIN);
}

static const struct nf_hook_ops *last(const struct nf_hook_entries *entries)
{
	return nf_hook_entries_get_hook_ops(entries)[entries->num_hook_entries - 1];
}

/* Whether someone has asked to see what is forwarded: a firewall's rules, other balancers, IPsec. */
static __always_inline bool is_watched(const struct net *net, bool ipv4, bool at_ingress,
				       bool fast)
{
	struct nf_hook_entries __rcu *const *hooks =
		ipv4 ? net->nf.hooks_ipv4 : net->nf.hooks_ipv6;
	const struct nf_hook_entries *before, *forward, *behind;

	if (has_ipsec(net))
		return true;
	before = at_ingress ? NULL : rcu_dereference(hooks[NF_INET_PRE_ROUTING]);
	forward = rcu_dereference(hooks[NF_INET_FORWARD]);
	behind = rcu_dereference(hooks[NF_INET_POST_ROUTING]);
	/* Nearly always there is nothing but this module's hook, the one before it and AppArmor's. */
	if ((at_ingress || (before && last(before)->priority <= L7_HOOK_PRIORITY)) && !forward &&
	    (!behind || (behind->num_hook_entries == 1 &&
			 last(behind)->priority == NF_IP_PRI_SELINUX_FIRST &&
			 last(behind)->hook_ops_type == NF_HOOK_OP_UNDEFINED)))
		return false;
	return fast || hooks_look(at_ingress ? NULL : before, forward, behind);
}

/* Whether it is what it was. */
bool l7_way_is_good(struct dst_entry *dst, u32 cookie)
{
	/* What ipv4_dst_check() looks at. */
	if (dst->ops->family == AF_INET)
		return READ_ONCE(dst->obsolete) == DST_OBSOLETE_FORCE_CHK &&
		       dst_rtable(dst)->rt_genid == rt_genid_ipv4(dev_net_rcu(dst_dev_rcu(dst)));
	return dst_check(dst, cookie) != NULL;
}

/* What skb_warn_if_lro() looks at. */
static bool is_lro(const struct sk_buff *skb)
{
	return skb_is_nonlinear(skb) && skb_shinfo(skb)->gso_size &&
	       !skb_shinfo(skb)->gso_type;
}

/* Whether a packet is no longer than its way takes. */
static noinline bool is_short(const struct sk_buff *skb, const struct dst_entry *dst,
			      bool ipv4)
{
	unsigned int mtu = ipv4 ? ip_dst_mtu_maybe_forward(dst, true) :
				  ip6_dst_mtu_maybe_forward(dst, true);

	return skb->len <= mtu ||
	       (skb_is_gso(skb) && skb_gso_validate_network_len(skb, mtu));
}

/* At ingress l7_ingress_is_plain() has looked at some of it already. fast: what would take a call does not fit. */
static __always_inline bool fits(struct sk_buff *skb, const struct dst_entry *dst,
				 unsigned int tcp_at, bool at_ingress, bool fast)
{
	struct net *net = dev_net_rcu(skb->dev);
	bool ipv4 = is_ipv4(skb);
	/* What it takes where neither the route nor an ICMP error says anything else. */
	unsigned int plain = IPV6_MIN_MTU;

	if (is_watched(net, ipv4, at_ingress, fast))
		return false;
	if (!at_ingress && (skb->pkt_type != PACKET_HOST || skb->sk))
		return false;
	if (skb_has_extensions(skb) || (fast ? is_lro(skb) : skb_warn_if_lro(skb)))
		return false;
	/* Options and extension headers are for a router to read; fragments are sent on as they came. */
	if (ipv4) {
		if (!at_ingress && (tcp_at != sizeof(struct iphdr) || IPCB(skb)->frag_max_size))
			return false;
		if (ip_hdr(skb)->ttl <= 1)
			return false;
		plain = dst_rtable(dst)->rt_pmtu ? 0 : READ_ONCE(dst_dev_rcu(dst)->mtu);
	} else {
		if (!at_ingress &&
		    (tcp_at != sizeof(struct ipv6hdr) || IP6CB(skb)->frag_max_size))
			return false;
		if (ipv6_hdr(skb)->hop_limit <= 1)
			return false;
	}
	return (skb->len <= plain && !dst_metric_raw(dst, RTAX_MTU)) ||
	       (!fast && is_short(skb, dst, ipv4));
}

/* Whether a packet can go a way without the stack. */
bool l7_way_fits(struct sk_buff *skb, const struct dst_entry *dst, unsigned int tcp_at)
{
	return fits(skb, dst, tcp_at, false, false);
}

static noinline bool slow_fits(struct sk_buff *skb, const struct dst_entry *dst)
{
	return fits(skb, dst, 0, true, false);
}

/* The same for one that was taken at ingress. */
bool l7_way_fits_at_ingress(struct sk_buff *skb, const struct dst_entry *dst)
{
	/* Alone, what is usual saves no register. */
	return fits(skb, dst, 0, true, true) || slow_fits(skb, dst);
}

/* Does with a packet what a router does. */
static __always_inline void forward(struct sk_buff *skb, struct dst_entry *dst)
{
	struct net_device *dev = dst_dev_rcu(dst);
	struct net *net = dev_net_rcu(dev);

	skb_dst_set_noref(skb, dst);
	skb_forward_csum(skb);
	skb_clear_tstamp(skb);
	skb->dev = dev;
	if (is_ipv4(skb)) {
		struct iphdr *iph = ip_hdr(skb);

		ip_decrease_ttl(iph);
		IPCB(skb)->flags |= IPSKB_FORWARDED;
		skb->priority = rt_tos2priority(iph->tos);
		IP_INC_STATS(net, IPSTATS_MIB_OUTFORWDATAGRAMS);
	} else {
		ipv6_hdr(skb)->hop_limit--;
		IP6CB(skb)->flags |= IP6SKB_FORWARDED;
		IP6_INC_STATS(net, ip6_dst_idev(dst), IPSTATS_MIB_OUTFORWDATAGRAMS);
	}
}

/* The next hop, if it is known and of the packet's family. */
static __always_inline struct neighbour *known_neighbour(struct sk_buff *skb,
							 const struct dst_entry *dst)
{
	struct net_device *dev = dst_dev_rcu(dst);
	const struct rtable *rt;

	if (!is_ipv4(skb))
		return __ipv6_neigh_lookup_noref(dev, rt6_nexthop(dst_rt6_info(dst),
								  &ipv6_hdr(skb)->daddr));
	rt = dst_rtable(dst);
	if (likely(!rt->rt_gw_family))
		return __ipv4_neigh_lookup_noref(dev, (__force u32)ip_hdr(skb)->daddr);
	if (rt->rt_gw_family == AF_INET)
		return __ipv4_neigh_lookup_noref(dev, (__force u32)rt->rt_gw4);
	return NULL;
}

static noinline bool slow_go(struct sk_buff *skb, struct dst_entry *dst)
{
	struct neighbour *neigh;
	bool is_v6gw = false;

	if (skb_cow_head(skb, LL_RESERVED_SPACE(dst_dev_rcu(dst))))
		goto none;
	skb_dst_drop(skb);
	forward(skb, dst);
	if (is_ipv4(skb))
		neigh = ip_neigh_for_gw(dst_rtable(dst), skb, &is_v6gw);
	else
		neigh = ip_neigh_gw6(skb->dev, rt6_nexthop(dst_rt6_info(dst),
							   &ipv6_hdr(skb)->daddr));
	if (IS_ERR(neigh))
		goto none;
	/* Not by neigh_output(), which has to be inlined below. */
	READ_ONCE(neigh->output)(neigh, skb);
	return true;
none:
	kfree_skb_reason(skb, SKB_DROP_REASON_NETFILTER_DROP);
	return false;
}

/* Sends a packet on, that fits and whose headers may be written. Takes it. */
bool l7_way_go(struct sk_buff *skb, struct dst_entry *dst)
{
	struct neighbour *neigh = known_neighbour(skb, dst);

	/* Alone, what is usual needs no stack guard. */
	if (unlikely(!neigh || skb_header_cloned(skb) || skb->_skb_refdst ||
		     skb_headroom(skb) < LL_RESERVED_SPACE(dst_dev_rcu(dst))))
		return slow_go(skb, dst);
	forward(skb, dst);
	neigh_output(neigh, skb, false);
	return true;
}

/* Whether a packet of the module's own, made or kept, can go a way without the stack: nobody has asked to see it. */
static bool own_fits(const struct net *net, struct sk_buff *skb,
		     const struct dst_entry *dst)
{
	bool ipv4 = is_ipv4(skb);
	u32 cookie;

	if (!l7_way_is_plain(dst, &cookie) || is_watched(net, ipv4, false, false) ||
	    skb_has_extensions(skb) || skb_is_gso(skb))
		return false;
	if (ipv4 ? ip_hdr(skb)->ihl != 5 || IPCB(skb)->frag_max_size :
		   ipv6_hdr(skb)->nexthdr != IPPROTO_TCP || IP6CB(skb)->frag_max_size)
		return false;
	return skb->len <= dst_mtu(dst) &&
	       skb_headroom(skb) >= LL_RESERVED_SPACE(dst_dev_rcu(dst));
}

/* Sends a packet of the module's own, that has its route, if it can go without the stack and its next hop is known; gives what
 * dst_output() does. False: it was not touched. Under RCU. */
bool l7_way_send(struct net *net, struct sk_buff *skb, int *said)
{
	struct dst_entry *dst = skb_dst(skb);
	struct neighbour *neigh;

	if (!own_fits(net, skb, dst))
		return false;
	neigh = known_neighbour(skb, dst);
	if (!neigh)
		return false;
	skb->dev = dst_dev_rcu(dst);
	if (is_ipv4(skb))
		IP_UPD_PO_STATS(net, IPSTATS_MIB_OUT, skb->len);
	else
		IP6_UPD_PO_STATS(net, ip6_dst_idev(dst), IPSTATS_MIB_OUT, skb->len);
	*said = neigh_output(neigh, skb, false);
	return true;
}
