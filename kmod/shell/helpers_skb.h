/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the helpers in C ask of a packet among themselves. */
#ifndef L7SWITCH_HELPERS_SKB_H
#define L7SWITCH_HELPERS_SKB_H

#include <linux/if_ether.h>
#include <linux/skbuff.h>

static __always_inline bool is_ipv4(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_IP);
}

#endif
