// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An isolated agent joins a multicast group: the kernel tells the network of it, with an address that the agent chose. */
#include "vmlinux.h"
#include "tag.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PASS 1
#define REFUSE 0
#define LEVEL_IP 0
#define LEVEL_IPV6 41
#define PAGE 4096

/* include/uapi/linux/in.h, in6.h: joining, leaving, and the lists of sources, by either interface. */
enum {
	IP_FIRST = 35,	  /* IP_ADD_MEMBERSHIP … IP_MSFILTER */
	MCAST_FIRST = 42, /* MCAST_JOIN_GROUP … MCAST_MSFILTER, of both levels */
	MCAST_LAST = 48,
	IPV6_JOIN = 20,
	IPV6_LEAVE = 21,
	IPV6_ANYCAST_JOIN = 27,
	IPV6_ANYCAST_LEAVE = 28,
};

static __always_inline bool tells_of_a_group(int level, int option)
{
	if (level == LEVEL_IP)
		return option >= IP_FIRST && option <= MCAST_LAST;
	if (level != LEVEL_IPV6)
		return false;
	return option == IPV6_JOIN || option == IPV6_LEAVE || option == IPV6_ANYCAST_JOIN || option == IPV6_ANYCAST_LEAVE ||
	       (option >= MCAST_FIRST && option <= MCAST_LAST);
}

/*
 * setsockopt(2), IORING_OP_URING_CMD
 *   do_sock_setsockopt
 *     BPF_CGROUP_RUN_PROG_SETSOCKOPT   <- here
 *       ip_mc_join_group / ipv6_sock_mc_join    whose report is sent by a socket of the kernel's own, which is nobody's
 *
 * Why: the report (IGMP, MLD) carries the group's address, some bytes of the agent's choice a call; it passes no packet hook as the
 * agent's. Since 5.3, the lookup of the current process later. On the root, while somebody is isolated: 0.15 us a setsockopt then.
 * Blind to the end of a membership by close or exit, which tells of a group that was joined before.
 */
SEC("cgroup/setsockopt")
int multicast(struct bpf_sockopt *ctx)
{
	struct agent_state *state;
	struct tag *tag;

	/* the kernel has copied one page; what is longer is to be taken as the caller gave it */
	if (ctx->optlen > PAGE)
		ctx->optlen = 0;
	if (!tells_of_a_group(ctx->level, ctx->optname))
		return PASS;
	tag = tag_current();
	state = tag ? agent_get(tag->agent) : 0;
	return state && state_isolates(state, tag->flags) ? REFUSE : PASS;
}
