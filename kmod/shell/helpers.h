/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the kernel has only as inline functions and macros, as functions. */
#ifndef L7SWITCH_HELPERS_H
#define L7SWITCH_HELPERS_H

#include <linux/types.h>

/* Of the module's hooks at PRE_ROUTING and LOCAL_OUT: NF_IP_PRI_RAW + 1. Of equal priorities the hook that was registered last comes
 * first, so with the raw table's own its chains would see packets or not by who was there before. */
#define L7_HOOK_PRIORITY (-299)

struct dst_entry;
struct genl_family;
struct genl_info;
struct l7_ingress;
struct net;
struct netlink_callback;
struct nf_hook_ops;
struct nf_hook_state;
struct nlattr;
struct sk_buff;
struct timer_list;

struct net *l7_genl_info_net(const struct genl_info *info);
struct net *l7_genl_dump_net(const struct netlink_callback *cb);
struct sk_buff *l7_genlmsg_new(size_t payload, bool atomic);
void l7_nlmsg_free(struct sk_buff *skb);
void l7_genlmsg_end(struct sk_buff *skb, void *header);
void l7_genlmsg_cancel(struct sk_buff *skb, void *header);
int l7_genlmsg_reply(struct sk_buff *skb, struct genl_info *info);
int l7_genlmsg_multicast(const struct genl_family *family, struct net *net,
			 struct sk_buff *skb, unsigned int group, bool atomic);
void *l7_genlmsg_put_dump(struct sk_buff *skb, struct netlink_callback *cb,
			  const struct genl_family *family, u8 command);
struct nlattr *l7_nla_nest_start(struct sk_buff *skb, int type);
void l7_nla_nest_end(struct sk_buff *skb, struct nlattr *start);
void l7_nla_nest_cancel(struct sk_buff *skb, struct nlattr *start);
const struct genl_info *l7_genl_info_dump(struct netlink_callback *cb);

void *l7_net_generic(const struct net *net, unsigned int id);

u64 __percpu *l7_percpu_alloc(size_t counters);
void l7_percpu_free(u64 __percpu *counters);
void l7_percpu_add(u64 __percpu *counters, size_t index, u64 amount);
void l7_percpu_add_both(u64 __percpu *counters, size_t index, u64 amount, size_t other,
			u64 other_amount);
u64 l7_percpu_sum(const u64 __percpu *counters, size_t index);

void *l7_zeroed_alloc(size_t len);

u64 l7_now_ns(void);
s64 l7_real_seconds(void);

void l7_bh_disable(void);
void l7_bh_enable(void);

void l7_timer_setup(struct timer_list *timer,
		    void (*expired)(struct timer_list *timer));
void l7_timer_start(struct timer_list *timer, unsigned int milliseconds);

/* packet/, net/netfilter.c */
bool l7_hook_sees(const struct sk_buff *skb, const struct nf_hook_state *state);
unsigned int l7_skb_len(const struct sk_buff *skb);
unsigned int l7_skb_truesize(const struct sk_buff *skb);
bool l7_skb_read(const struct sk_buff *skb, unsigned int offset, void *to,
		 unsigned int len);
const u8 *l7_skb_run(const struct sk_buff *skb, unsigned int offset,
		     unsigned int *len);
int l7_ipv6_find(const struct sk_buff *skb, unsigned int *offset, int protocol);
bool l7_skb_is_foreign(const struct sk_buff *skb);
bool l7_skb_make_own(struct sk_buff *skb);
bool l7_skb_pull(struct sk_buff *skb, unsigned int len);
int l7_skb_limit(struct sk_buff *skb, unsigned int tcp_at, unsigned int payload_at,
		 unsigned int most);
u8 *l7_skb_writable(struct sk_buff *skb, unsigned int len, bool *partial);
bool l7_skb_sum_is_right(struct sk_buff *skb, unsigned int at, u8 protocol);
void l7_skb_untrack(struct sk_buff *skb);
void l7_skb_drop(struct sk_buff *skb);
bool l7_skb_steal(struct sk_buff *skb, bool forwarded);
struct sk_buff *l7_skb_copy(struct sk_buff *skb);
void l7_skb_consume(struct sk_buff *skb);
u8 l7_skb_tos(const struct sk_buff *skb);
u32 l7_skb_mark(const struct sk_buff *skb);
int l7_skb_find_tcp(const struct sk_buff *skb);
bool l7_skb_trim(struct sk_buff *skb, unsigned int len);
struct sk_buff *l7_skb_part(struct sk_buff *skb, unsigned int from,
			    unsigned int len, const u8 *headers,
			    unsigned int headers_len);
void l7_skb_refit(struct sk_buff *skb, unsigned int tcp_at,
		  unsigned int payload_at);
void l7_skb_chain(struct sk_buff *skb, struct sk_buff *next);
struct sk_buff *l7_skb_unchain(struct sk_buff *skb);
struct sk_buff *l7_skb_next(const struct sk_buff *skb);
bool l7_skb_icmp_error(struct sk_buff *skb, unsigned int *icmp_at,
		       unsigned int *ip_at, unsigned int *tcp_at);
bool l7_skb_icmp_sum(struct sk_buff *skb, unsigned int icmp_at);

int l7_defrag_enable(struct net *net);
void l7_defrag_disable(struct net *net);

bool l7_skb_route_input(struct sk_buff *skb, const u8 *destination);
bool l7_skb_reroute(const struct nf_hook_state *state, struct sk_buff *skb);
struct sk_buff *l7_skb_build(struct net *net, const struct dst_entry *dst,
			     const u8 *headers, unsigned int len, u32 mark);
bool l7_skb_turn(struct net *net, struct sk_buff *skb, const struct dst_entry *dst,
		 const u8 *headers, unsigned int len);
int l7_skb_send(struct net *net, struct sk_buff *skb, struct dst_entry *dst);

/* net/route.c */
struct dst_entry *l7_route_output(struct net *net, int vrf, const u8 *source,
				  const u8 *destination, u16 source_port,
				  u16 destination_port, u8 tos, u32 mark);
bool l7_route_source(struct net *net, int vrf, const u8 *destination, u8 *source);
u32 l7_route_mtu(const struct dst_entry *dst);
bool l7_route_is_local(const struct dst_entry *dst);
bool l7_net_forwards(struct net *net, bool ipv4);
int l7_hook_vrf(const struct nf_hook_state *state);
bool l7_hook_is_local(const struct nf_hook_state *state, const u8 *address);

/* net/ipsec.c */
bool l7_net_has_ipsec(const struct net *net);
bool l7_hook_ipsec_lets_in(const struct nf_hook_state *state, struct sk_buff *skb,
			   const u8 *destination);

/* net/socket.c */
bool l7_hook_has_socket(const struct nf_hook_state *state, const struct sk_buff *skb,
			unsigned int tcp_at);

/* net/fast_path.c */
bool l7_way_is_plain(const struct dst_entry *dst, u32 *cookie);
bool l7_way_is_good(struct dst_entry *dst, u32 cookie);
bool l7_way_fits(struct sk_buff *skb, const struct dst_entry *dst, unsigned int tcp_at);
bool l7_way_fits_at_ingress(struct sk_buff *skb, const struct dst_entry *dst);
bool l7_way_go(struct sk_buff *skb, struct dst_entry *dst);
bool l7_way_send(struct net *net, struct sk_buff *skb, int *said);
bool l7_hook_looks(const struct nf_hook_ops *ops);
bool l7_point_is_watched(const struct net *net, bool ipv4, unsigned int point);

/* net/ingress.c */
int l7_ingress_register(struct net *net,
			unsigned int (*hook)(void *priv, struct sk_buff *skb,
					     const struct nf_hook_state *state),
			void *priv, struct l7_ingress **to);
void l7_ingress_unregister(struct l7_ingress *ingress);
bool l7_ingress_is_plain(struct sk_buff *skb, const struct nf_hook_state *state,
			 const void *priv);
int l7_ingress_take(struct sk_buff *skb);
int l7_ingress_finish(struct sk_buff *skb);
int l7_hook_finish(struct sk_buff *skb, const struct nf_hook_state *state, const void *priv);

#endif
