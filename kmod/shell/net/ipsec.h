/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Whether IPsec has policies. */
#ifndef L7SWITCH_IPSEC_H
#define L7SWITCH_IPSEC_H

#include <net/net_namespace.h>
#include <net/xfrm.h>

static_assert(XFRM_POLICY_IN == 0 && XFRM_POLICY_OUT == 1 && XFRM_POLICY_FWD == 2);

/* Whether there are policies, of any direction. Asked for every packet. */
static __always_inline bool has_ipsec(const struct net *net)
{
#ifdef CONFIG_XFRM
	const unsigned int *count = net->xfrm.policy_count;
	const u8 *by_default = net->xfrm.policy_default;

	return (count[0] | count[1] | count[2]) ||
	       by_default[0] != XFRM_USERPOLICY_ACCEPT ||
	       by_default[1] != XFRM_USERPOLICY_ACCEPT || by_default[2] != XFRM_USERPOLICY_ACCEPT;
#else
	return false;
#endif
}

#endif
