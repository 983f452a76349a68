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

/* Where the header of a protocol is; negative where there is none. */
int l7_skb_find(const struct sk_buff *skb, int protocol);
/* Has the checksum of a TCP segment made by who sends it; its field holds the sum of the pseudo-header. */
void l7_skb_make_partial(struct sk_buff *skb, unsigned int tcp_at);
/* Writes the packet's length into its IP header. */
void l7_skb_set_payload_len(struct sk_buff *skb);

#endif
