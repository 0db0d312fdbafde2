/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an agent may still do. A hook asks here instead of having a second program beside it: a second program would cost every
 * call again. The answers come from the agents map alone, which is pinned: what is denied stays denied without the sensor.
 */
#ifndef RUBICON_VERDICT_BPF_H
#define RUBICON_VERDICT_BPF_H

#include "tag.bpf.h"

/* True when the agent may not open, bind or connect sockets, nor send datagrams. */
static __always_inline bool verdict_connect(__u64 agent)
{
	struct agent_state *state = agent_get(agent);

	return state && (state->flags & (AGENT_ISOLATED | AGENT_CONDEMNED));
}

/* True when a packet of the agent's socket must be dropped. */
static __always_inline bool verdict_packet(__u64 agent)
{
	__u32 zero = 0;
	__u64 *isolating_switch = LOOKUP(isolating, &zero);
	struct agent_state *state;

	if (!isolating_switch || !*isolating_switch)
		return false;
	state = agent_get(agent);
	return state && (state->flags & AGENT_ISOLATED);
}

#endif
