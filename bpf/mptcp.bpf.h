/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a subflow, through which MPTCP's packets leave, to whoever holds the socket above it. */
#ifndef RUBICON_MPTCP_BPF_H
#define RUBICON_MPTCP_BPF_H

#include "tag.bpf.h"
#include <bpf/bpf_core_read.h>

/* An agent has 48 bits; above them is the mark (OWNER_PART) of a holder that is of its isolated part. */
#define HELD_AGENT(HOLDER) ((HOLDER) & ((1ULL << 48) - 1))
#define HELD_MARK(HOLDER) ((__u32)((HOLDER) >> 48) << PART_SHIFT)

/* Remember who holds an MPTCP socket. Where the isolated part of an agent does, the rest of it changes nothing. */
static __always_inline void held_above(__u64 cookie, const struct tag *tag)
{
	struct agent_state *state = agent_get(tag->agent);
	__u32 part = state ? state->flags & AGENT_PART : 0;
	__u64 marked = tag->agent | (__u64)(part >> PART_SHIFT) << 48;
	__u64 holder = (tag->flags & TAG_PART) == part ? marked : tag->agent;
	__u64 *known = LOOKUP(held_mptcp, &cookie);

	if (!known || *known != marked)
		UPDATE(held_mptcp, &cookie, &holder, BPF_ANY);
}

/* Who holds the MPTCP socket above this one, where this is a subflow (HELD_AGENT, HELD_MARK); 0 for nobody's. */
static __always_inline __u64 holder_above(struct tcp_sock *tcp)
{
	struct mptcp_subflow_context *subflow;
	__u64 cookie, *agent;

	if (!bpf_core_field_exists(tcp->is_mptcp) || !tcp->is_mptcp)
		return 0;
	subflow = BPF_CORE_READ(tcp, inet_conn.icsk_ulp_data);
	cookie = BPF_CORE_READ(subflow, conn, __sk_common.skc_cookie.counter);
	agent = LOOKUP(held_mptcp, &cookie);
	return agent ? *agent : 0;
}

#endif
