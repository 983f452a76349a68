// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Routes: found, and what the kernel says of them only by inline functions and fields. Addresses have 16 bytes, in network order,
 * IPv4's as IPv4-mapped IPv6. */
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <net/addrconf.h>
#include <net/flow.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/route.h>

#include "helpers.h"

/* A route for a packet with any source, in a VRF or in none (0); the reference is the caller's. NULL where there is none. */
struct dst_entry *l7_route_output(struct net *net, int vrf, const u8 *source,
				  const u8 *destination, u16 source_port,
				  u16 destination_port, u8 tos, u32 mark)
{
	struct in6_addr from, to;
	struct dst_entry *dst;

	memcpy(&from, source, sizeof(from));
	memcpy(&to, destination, sizeof(to));
	if (ipv6_addr_v4mapped(&to)) {
		struct flowi4 fl4;
		struct rtable *rt;

		flowi4_init_output(&fl4, vrf, mark, tos, RT_SCOPE_UNIVERSE, IPPROTO_TCP,
				   FLOWI_FLAG_ANYSRC, to.s6_addr32[3],
				   from.s6_addr32[3], htons(destination_port),
				   htons(source_port), sock_net_uid(net, NULL));
		rt = ip_route_output_flow(net, &fl4, NULL);
		if (IS_ERR(rt))
			return NULL;
		dst = &rt->dst;
	} else {
		struct flowi6 fl6 = {
			.flowi6_oif = vrf,
			.flowi6_mark = mark,
			.flowi6_proto = IPPROTO_TCP,
			.flowi6_uid = sock_net_uid(net, NULL),
			.flowlabel = ip6_make_flowinfo(tos, 0),
			.saddr = from,
			.daddr = to,
			.fl6_sport = htons(source_port),
			.fl6_dport = htons(destination_port),
		};

		dst = ip6_dst_lookup_flow(net, NULL, &fl6, NULL);
		if (IS_ERR(dst))
			return NULL;
	}
	if (dst->error) {
		dst_release(dst);
		return NULL;
	}
	return dst;
}

/* The source that the stack itself would choose. */
bool l7_route_source(struct net *net, int vrf, const u8 *destination, u8 *source)
{
	struct in6_addr from, to;

	memcpy(&to, destination, sizeof(to));
	if (ipv6_addr_v4mapped(&to)) {
		struct flowi4 fl4 = {
			.flowi4_oif = vrf,
			.daddr = to.s6_addr32[3],
			.flowi4_proto = IPPROTO_TCP,
		};
		struct rtable *rt = ip_route_output_key(net, &fl4);

		if (IS_ERR(rt))
			return false;
		ip_rt_put(rt);
		ipv6_addr_set_v4mapped(fl4.saddr, &from);
	} else {
		struct flowi6 fl6 = {
			.flowi6_oif = vrf,
			.daddr = to,
			.flowi6_proto = IPPROTO_TCP,
		};
		struct dst_entry *dst = ip6_dst_lookup_flow(net, NULL, &fl6, NULL);

		if (IS_ERR(dst))
			return false;
		dst_release(dst);
		from = fl6.saddr;
	}
	memcpy(source, &from, sizeof(from));
	return true;
}

u32 l7_route_mtu(const struct dst_entry *dst)
{
	return dst_mtu(dst);
}

bool l7_route_is_local(const struct dst_entry *dst)
{
	return dst->ops->family == AF_INET ? dst_rtable(dst)->rt_flags & RTCF_LOCAL :
					     dst_rt6_info(dst)->rt6i_flags & RTF_LOCAL;
}

/* Whether packets of a family are forwarded: by all devices, or by some at least. Under RCU. */
bool l7_net_forwards(struct net *net, bool ipv4)
{
	const struct in_device *in_dev;
	const struct inet6_dev *in6_dev;
	struct net_device *dev;

	if (ipv4 ? IPV4_DEVCONF_ALL_RO(net, FORWARDING) :
		   READ_ONCE(net->ipv6.devconf_all->forwarding))
		return true;
	for_each_netdev_rcu(net, dev) {
		in_dev = ipv4 ? __in_dev_get_rcu(dev) : NULL;
		in6_dev = ipv4 ? NULL : __in6_dev_get(dev);
		if ((in_dev && IN_DEV_FORWARD(in_dev)) ||
		    (in6_dev && READ_ONCE(in6_dev->cnf.force_forwarding)))
			return true;
	}
	return false;
}

/* Whether a route makes an address this host's (ip -6 route add local): an address that no device has. */
static bool is_routed_here(struct net *net, const struct net_device *dev,
			   const struct in6_addr *address)
{
	struct flowi6 fl6 = {
		.flowi6_oif = l3mdev_master_ifindex_rcu(dev),
		.daddr = *address,
	};
	struct dst_entry *dst = ip6_route_output(net, NULL, &fl6);
	bool local = !dst->error && l7_route_is_local(dst);

	dst_release(dst);
	return local;
}

/* The VRF of a hook's device: the index of its own device, 0 for none. Under RCU. */
int l7_hook_vrf(const struct nf_hook_state *state)
{
	const struct net_device *dev = state->in ? state->in : state->out;

	return dev ? l3mdev_master_ifindex_rcu(dev) : 0;
}

/* Whether an address is this host's in the routing domain (VRF) of a hook's device. */
bool l7_hook_is_local(const struct nf_hook_state *state, const u8 *address)
{
	const struct net_device *dev = state->in ? state->in : state->out;
	struct in6_addr to;

	memcpy(&to, address, sizeof(to));
	if (!dev)
		return false;
	if (ipv6_addr_v4mapped(&to))
		return inet_addr_type_dev_table(state->net, dev, to.s6_addr32[3]) ==
		       RTN_LOCAL;
	/* A link-local address is that of one link. */
	return ipv6_chk_addr(state->net, &to, dev, 0) ||
	       (!(ipv6_addr_type(&to) & IPV6_ADDR_LINKLOCAL) &&
		is_routed_here(state->net, dev, &to));
}
