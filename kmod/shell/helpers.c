// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the kernel has only as inline functions and macros, as functions. */
#include <net/genetlink.h>
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
