/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who a task or a socket belongs to. */
#ifndef RUBICON_TAG_BPF_H
#define RUBICON_TAG_BPF_H

#include "maps.bpf.h"

/* The tag of the current process, or NULL: the first thing every hook asks. */
static __always_inline struct tag *tag_current(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	return LOOKUP(tags, &pid);
}

static __always_inline struct agent_state *agent_get(__u64 agent)
{
	return LOOKUP(agents, &agent);
}

#endif
