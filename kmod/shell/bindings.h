/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the shell's bindings are generated from; bindgen_parameters says which of it. */
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/netlink.h>
#include <linux/random.h>
#include <linux/skbuff.h>
#include <linux/timer.h>
#include <net/dst.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>
#include <net/netlink.h>
#include "helpers.h"

/* Where the fields are that are read of every packet, each as long as it is in C. */
enum {
	L7_SKB_DATA = offsetof(struct sk_buff, data),
	L7_SKB_LEN = offsetof(struct sk_buff, len),
	L7_SKB_DATA_LEN = offsetof(struct sk_buff, data_len),
};
static_assert(sizeof_field(struct sk_buff, len) == sizeof(unsigned int));
static_assert(sizeof_field(struct sk_buff, data_len) == sizeof(unsigned int));
