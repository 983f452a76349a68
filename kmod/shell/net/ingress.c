// SPDX-License-Identifier: GPL-2.0 OR MIT
/* A hook where the devices of a namespace give packets to the stack, before ip_rcv() and the hooks of PRE_ROUTING. Packets are
 * under RCU, with the network header at skb->data. */
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>
#include <linux/netfilter_ipv4.h>
#include <linux/notifier.h>
#include <linux/rculist.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/addrconf.h>
#include <net/dst.h>
#include <net/dst_metadata.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/net_namespace.h>
#include <net/route.h>

#include "helpers.h"
#include "net/ipsec.h"
#include "packet/skb.h"

#ifdef CONFIG_NETFILTER_INGRESS

/* The hook on one device. */
struct device_hook {
	struct list_head list;
	struct rcu_head rcu;
	struct nf_hook_ops ops;
};

/* Those on the devices of a namespace; the list is under RTNL. */
struct l7_ingress {
	struct notifier_block notifier;
	struct list_head devices;
	struct net *net;
	nf_hookfn *hook;
	void *priv;
};

static struct device_hook *on_device(struct l7_ingress *ingress,
				     const struct net_device *dev)
{
	struct device_hook *on;

	list_for_each_entry(on, &ingress->devices, list)
		if (on->ops.dev == dev)
			return on;
	return NULL;
}

/* Where memory is short its packets are seen at PRE_ROUTING only. */
static void add(struct l7_ingress *ingress, struct net_device *dev)
{
	struct device_hook *on;

	if (dev->flags & IFF_LOOPBACK || on_device(ingress, dev))
		return;
	on = kzalloc(sizeof(*on), GFP_KERNEL_ACCOUNT);
	if (!on)
		return;
	on->ops.hook = ingress->hook;
	on->ops.dev = dev;
	on->ops.priv = ingress->priv;
	on->ops.pf = NFPROTO_NETDEV;
	on->ops.hooknum = NF_NETDEV_INGRESS;
	/* Behind whoever else is there: they see packets before PRE_ROUTING does. */
	on->ops.priority = INT_MAX;
	if (nf_register_net_hook(ingress->net, &on->ops)) {
		kfree(on);
		return;
	}
	list_add(&on->list, &ingress->devices);
}

static void remove(struct l7_ingress *ingress, const struct net_device *dev)
{
	struct device_hook *on = on_device(ingress, dev);

	if (!on)
		return;
	nf_unregister_net_hook(ingress->net, &on->ops);
	list_del(&on->list);
	/* Lists of hooks are read under RCU. */
	kfree_rcu(on, rcu);
}

static int device_event(struct notifier_block *notifier, unsigned long event,
			void *info)
{
	struct l7_ingress *ingress = container_of(notifier, struct l7_ingress, notifier);
	struct net_device *dev = netdev_notifier_info_to_dev(info);

	if (event == NETDEV_REGISTER)
		add(ingress, dev);
	else if (event == NETDEV_UNREGISTER)
		remove(ingress, dev);
	return NOTIFY_DONE;
}

/* Hooks on the namespace's devices, those that are there and those that come, until l7_ingress_unregister(). */
int l7_ingress_register(struct net *net, nf_hookfn *hook, void *priv,
			struct l7_ingress **to)
{
	struct l7_ingress *ingress = kzalloc(sizeof(*ingress), GFP_KERNEL_ACCOUNT);
	int err;

	*to = ingress;
	if (!ingress)
		return -ENOMEM;
	ingress->notifier.notifier_call = device_event;
	INIT_LIST_HEAD(&ingress->devices);
	ingress->net = net;
	ingress->hook = hook;
	ingress->priv = priv;
	err = register_netdevice_notifier_net(net, &ingress->notifier);
	if (err)
		kfree(ingress);
	return err;
}

/* Packets may be in the hook for a grace period after that. */
void l7_ingress_unregister(struct l7_ingress *ingress)
{
	if (!ingress)
		return;
	/* That tells of every device that it goes. */
	unregister_netdevice_notifier_net(ingress->net, &ingress->notifier);
	kfree(ingress);
}

#else

int l7_ingress_register(struct net *net, nf_hookfn *hook, void *priv,
			struct l7_ingress **to)
{
	*to = NULL;
	return 0;
}

void l7_ingress_unregister(struct l7_ingress *ingress)
{
}

#endif

/* Whether others than the stack get what a device gives it: a bridge, a VRF, packet sockets of one protocol. */
static __always_inline bool has_others(const struct net_device *dev, const struct net *net)
{
	return rcu_access_pointer(dev->rx_handler) || netif_is_l3_slave(dev) ||
	       netif_is_l3_master(dev) || !list_empty(&dev->ptype_specific) ||
	       !list_empty(&net->ptype_specific);
}

/* Whether no hook of PRE_ROUTING would do something with a packet of the module's, but the module's own, which has this priv. */
static noinline bool only_ours_looks(const struct nf_hook_entries *hooks, const void *priv)
{
	struct nf_hook_ops **ops;
	unsigned int i;

	if (!hooks)
		return false;
	ops = nf_hook_entries_get_hook_ops(hooks);
	for (i = 0; i < hooks->num_hook_entries; i++) {
		if (hooks->hooks[i].priv == priv ||
		    (ops[i]->priority == NF_IP_PRI_CONNTRACK_DEFRAG &&
		     ops[i]->hook_ops_type == NF_HOOK_OP_UNDEFINED))
			continue;
		if (l7_hook_looks(ops[i]))
			return false;
	}
	return true;
}

static __always_inline bool is_free(const struct sk_buff *skb, const struct net *net,
				    const struct nf_hook_entries *before,
				    const void *priv)
{
	if (skb->pkt_type != PACKET_HOST || skb_shared(skb) ||
	    skb_vlan_tag_present(skb) || skb_sk_is_prefetched((struct sk_buff *)skb))
		return false;
	if (has_others(skb->dev, net))
		return false;
	/* Nearly always there is the defragmentation, and the module's hook behind it. */
	return (before && before->num_hook_entries == 2 &&
		before->hooks[1].priv == priv) ||
	       only_ours_looks(before, priv);
}

/* As the stack does, to a packet's own length: a short frame is padded. */
static __always_inline bool cut(struct sk_buff *skb, unsigned int len)
{
	return likely(skb->len == len) ||
	       (skb->len > len && !pskb_trim_rcsum(skb, len));
}

static __always_inline bool is_plain4(struct sk_buff *skb, const struct net *net,
				      const struct iphdr *iph, const void *priv)
{
	/* Version 4, no options. */
	return skb_headlen(skb) >= sizeof(*iph) + sizeof(struct tcphdr) &&
	       *(const u8 *)iph == 0x45 && iph->protocol == IPPROTO_TCP &&
	       !ip_is_fragment(iph) &&
	       is_free(skb, net, rcu_dereference(net->nf.hooks_ipv4[NF_INET_PRE_ROUTING]),
		       priv) &&
	       cut(skb, iph_totlen(skb, iph));
}

static __always_inline bool is_plain6(struct sk_buff *skb, const struct net *net,
				      const struct ipv6hdr *hdr, const void *priv)
{
	/* A length of 0 is a jumbogram's. */
	return skb_headlen(skb) >= sizeof(*hdr) + sizeof(struct tcphdr) &&
	       hdr->version == 6 && hdr->nexthdr == IPPROTO_TCP && hdr->payload_len &&
	       is_free(skb, net, rcu_dereference(net->nf.hooks_ipv6[NF_INET_PRE_ROUTING]),
		       priv) &&
	       cut(skb, sizeof(*hdr) + ntohs(hdr->payload_len));
}

/* Whether the stack would do nothing with a packet but give it to PRE_ROUTING, where nobody does something with it, if it is of
 * the module's connections, but the module's hook, which has this priv: a TCP segment in an IP packet without options. */
bool l7_ingress_is_plain(struct sk_buff *skb, const struct nf_hook_state *state,
			 const void *priv)
{
	const unsigned char *header = skb_network_header(skb);

	if (header != skb->data)
		return false;
	switch (skb->protocol) {
	case htons(ETH_P_IP):
		return is_plain4(skb, state->net, (const struct iphdr *)header, priv);
	case htons(ETH_P_IPV6):
		return is_plain6(skb, state->net, (const struct ipv6hdr *)header, priv);
	}
	return false;
}

/* Gives what l7_ingress_take() does. */
static __always_inline int taken(struct sk_buff *skb, unsigned int header_len, u8 family)
{
	skb_set_transport_header(skb, header_len);
	skb_reset_redirect(skb);
	skb_orphan(skb);
	return skb_csum_unnecessary(skb) ||
	       nf_checksum(skb, NF_INET_PRE_ROUTING, header_len, IPPROTO_TCP, family) == 0;
}

static int take6(struct sk_buff *skb, struct net *net)
{
	const struct ipv6hdr *hdr = ipv6_hdr(skb);
	struct inet6_dev *idev = __in6_dev_get(skb->dev);

	if (!idev || READ_ONCE(idev->cnf.disable_ipv6) ||
	    ipv6_addr_loopback(&hdr->saddr) || ipv6_addr_loopback(&hdr->daddr))
		return -EINVAL;
	__IP6_UPD_PO_STATS(net, idev, IPSTATS_MIB_IN, skb->len);
	__IP6_ADD_STATS(net, idev,
			IPSTATS_MIB_NOECTPKTS + (ipv6_get_dsfield(hdr) & INET_ECN_MASK),
			max_t(unsigned short, 1, skb_shinfo(skb)->gso_segs));
	memset(IP6CB(skb), 0, sizeof(*IP6CB(skb)));
	IP6CB(skb)->iif = skb->skb_iif;
	IP6CB(skb)->nhoff = offsetof(struct ipv6hdr, nexthdr);
	return taken(skb, sizeof(*hdr), AF_INET6);
}

/* Does with a plain packet the rest of what ip_rcv_core() and ip6_rcv_core() do, and gives whether TCP's checksum is right, as
 * l7_skb_sum_is_right() does. Negative: the stack sees to it, and it was not touched. */
int l7_ingress_take(struct sk_buff *skb)
{
	struct net *net = dev_net_rcu(skb->dev);
	const struct iphdr *iph;

	/* Its policies are asked at PRE_ROUTING. */
	if (unlikely(has_ipsec(net)))
		return -EAGAIN;
	if (!is_ipv4(skb))
		return take6(skb, net);
	iph = ip_hdr(skb);
	if (unlikely(ip_fast_csum(iph, sizeof(*iph) / 4)))
		return -EINVAL;
	__IP_UPD_PO_STATS(net, IPSTATS_MIB_IN, skb->len);
	__IP_ADD_STATS(net, IPSTATS_MIB_NOECTPKTS + (iph->tos & INET_ECN_MASK),
		       max_t(unsigned short, 1, skb_shinfo(skb)->gso_segs));
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	IPCB(skb)->iif = skb->skb_iif;
	return taken(skb, sizeof(*iph), AF_INET);
}

/* Which hook's rules dropped a packet that was forwarded: NF_INET_NUMHOOKS where both have some. */
static noinline unsigned int dropped_at(const struct net *net, bool ipv4)
{
	bool forward = l7_point_is_watched(net, ipv4, NF_INET_FORWARD);
	bool behind = l7_point_is_watched(net, ipv4, NF_INET_POST_ROUTING);

	if (forward == behind)
		return NF_INET_NUMHOOKS;
	return forward ? NF_INET_FORWARD : NF_INET_POST_ROUTING;
}

/* Gives a packet that was taken and rewritten to the stack behind PRE_ROUTING, as ip_rcv_finish() and ip6_rcv_finish() do. Gives 0,
 * or 1 + the number of the hook still to come (LOCAL_IN, FORWARD, POST_ROUTING) whose rules dropped it; NF_INET_NUMHOOKS is one of
 * the last two. */
int l7_ingress_finish(struct sk_buff *skb)
{
	struct net *net = dev_net_rcu(skb->dev);
	bool ipv4 = is_ipv4(skb), local;
	enum skb_drop_reason reason;

	if (!skb_valid_dst(skb) && ipv4) {
		const struct iphdr *iph = ip_hdr(skb);

		reason = ip_route_input_noref(skb, iph->daddr, iph->saddr, ip4h_dscp(iph),
					      skb->dev);
		if (reason) {
			if (reason == SKB_DROP_REASON_IP_RPFILTER)
				__NET_INC_STATS(net, LINUX_MIB_IPRPFILTER);
			kfree_skb_reason(skb, reason);
			return 0;
		}
	} else if (!skb_valid_dst(skb)) {
		ip6_route_input(skb);
	}
	local = l7_route_is_local(skb_dst(skb));
	/* What nf_hook_slow() says of NF_DROP; the stack's own reasons to drop a packet say something else. */
	if (likely(skb_dst(skb)->input(skb) != -EPERM))
		return 0;
	return 1 + (local ? NF_INET_LOCAL_IN : dropped_at(net, ipv4));
}

/* Whether br_netfilter calls the hooks, ahead of the stack. Kernels without it do not declare what tells. */
static bool l7_on_bridge(const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	return nf_bridge_info_exists(skb);
#else
	return false;
#endif
}

/* The same for one that was rewritten at PRE_ROUTING by the hook that has this priv: who is behind that hook sees it first. Negative:
 * it has to go on by the hook's verdict, and has no socket any more, but is as it was else.
 *
 * A bridge with br_netfilter calls the hooks before it knows where a packet goes, and would route it by the addresses that it has then:
 * a source of this host's is a martian, and a server on the same bridge gets it with the client's hardware address. So what the
 * module has rewritten leaves the bridge here. */
int l7_hook_finish(struct sk_buff *skb, const struct nf_hook_state *state, const void *priv)
{
	const struct nf_hook_entries *hooks;
	struct nf_hook_state behind = *state;
	bool ipv4 = is_ipv4(skb);
	unsigned int i;
	int said;

	/* A socket that somebody before the hook has given it (TPROXY) is not where it goes, and the stack forwards nothing that has
	 * one. */
	skb_orphan(skb);
	/* Options are read behind PRE_ROUTING, but by br_netfilter before. */
	if (ipv4 && ip_hdr(skb)->ihl != 5 && !l7_on_bridge(skb))
		return -EINVAL;
	hooks = ipv4 ? rcu_dereference(state->net->nf.hooks_ipv4[NF_INET_PRE_ROUTING]) :
		       rcu_dereference(state->net->nf.hooks_ipv6[NF_INET_PRE_ROUTING]);
	for (i = 0; hooks && i < hooks->num_hook_entries; i++)
		if (hooks->hooks[i].priv == priv)
			break;
	/* The module is about to go. */
	if (!hooks || i == hooks->num_hook_entries)
		return -EINVAL;
	said = nf_hook_slow(skb, &behind, hooks, i + 1);
	if (said != 1)
		return said == -EPERM ? 1 + NF_INET_PRE_ROUTING : 0;
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	skb_ext_del(skb, SKB_EXT_BRIDGE_NF);
#endif
	skb = ipv4 ? l3mdev_ip_rcv(skb) : l3mdev_ip6_rcv(skb);
	return skb ? l7_ingress_finish(skb) : 0;
}
