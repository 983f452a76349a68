// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the kernel has only as inline functions and macros, as functions. */
#include <linux/bottom_half.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/timer.h>
#include <net/genetlink.h>
#include <net/netns/generic.h>
#include <net/sock.h>

#include "helpers.h"

struct net *l7_genl_info_net(const struct genl_info *info)
{
	return genl_info_net(info);
}

struct net *l7_genl_dump_net(const struct netlink_callback *cb)
{
	return sock_net(cb->skb->sk);
}

struct sk_buff *l7_genlmsg_new(size_t payload, bool atomic)
{
	return genlmsg_new(payload, atomic ? GFP_ATOMIC : GFP_KERNEL);
}

void l7_nlmsg_free(struct sk_buff *skb)
{
	nlmsg_free(skb);
}

void l7_genlmsg_end(struct sk_buff *skb, void *header)
{
	genlmsg_end(skb, header);
}

void l7_genlmsg_cancel(struct sk_buff *skb, void *header)
{
	genlmsg_cancel(skb, header);
}

int l7_genlmsg_reply(struct sk_buff *skb, struct genl_info *info)
{
	return genlmsg_reply(skb, info);
}

/* genl/family.rs has it as a number. */
static_assert(GENL_MCAST_CAP_NET_ADMIN == 1);

int l7_genlmsg_multicast(const struct genl_family *family, struct net *net,
			 struct sk_buff *skb, unsigned int group, bool atomic)
{
	return genlmsg_multicast_netns(family, net, skb, 0, group,
				       atomic ? GFP_ATOMIC : GFP_KERNEL);
}

/* The header of one entry of a dump, marked where the dump is not of one generation (cb->seq). */
void *l7_genlmsg_put_dump(struct sk_buff *skb, struct netlink_callback *cb,
			  const struct genl_family *family, u8 command)
{
	void *header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				   family, NLM_F_MULTI, command);

	if (header)
		genl_dump_check_consistent(cb, header);
	return header;
}

struct nlattr *l7_nla_nest_start(struct sk_buff *skb, int type)
{
	return nla_nest_start(skb, type);
}

void l7_nla_nest_end(struct sk_buff *skb, struct nlattr *start)
{
	nla_nest_end(skb, start);
}

void l7_nla_nest_cancel(struct sk_buff *skb, struct nlattr *start)
{
	nla_nest_cancel(skb, start);
}

const struct genl_info *l7_genl_info_dump(struct netlink_callback *cb)
{
	return genl_info_dump(cb);
}

void *l7_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

u64 __percpu *l7_percpu_alloc(size_t counters)
{
	return __alloc_percpu_gfp(counters * sizeof(u64), sizeof(u64), GFP_KERNEL_ACCOUNT);
}

void l7_percpu_free(u64 __percpu *counters)
{
	free_percpu(counters);
}

void l7_percpu_add(u64 __percpu *counters, size_t index, u64 amount)
{
	this_cpu_add(counters[index], amount);
}

u64 l7_percpu_sum(const u64 __percpu *counters, size_t index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(counters, cpu)[index]);
	return sum;
}

/* With __GFP_RETRY_MAYFAIL, which the kernel crate does not have, no process is killed for it. */
void *l7_zeroed_alloc(size_t len)
{
	return kvzalloc(len, GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
}

u64 l7_now_ns(void)
{
	return ktime_get_ns();
}

s64 l7_real_seconds(void)
{
	return ktime_get_real_seconds();
}

void l7_bh_disable(void)
{
	local_bh_disable();
}

void l7_bh_enable(void)
{
	local_bh_enable();
}

void l7_timer_setup(struct timer_list *timer,
		    void (*expired)(struct timer_list *timer))
{
	timer_setup(timer, expired, 0);
}

void l7_timer_start(struct timer_list *timer, unsigned int milliseconds)
{
	mod_timer(timer, jiffies + msecs_to_jiffies(milliseconds));
}
