/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the kernel has only as inline functions and macros, as functions. */
#ifndef L7SWITCH_HELPERS_H
#define L7SWITCH_HELPERS_H

#include <linux/types.h>

struct genl_family;
struct genl_info;
struct net;
struct netlink_callback;
struct nlattr;
struct sk_buff;

struct net *l7_genl_info_net(const struct genl_info *info);
struct net *l7_genl_dump_net(const struct netlink_callback *cb);

#endif
