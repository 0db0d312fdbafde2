// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Changes that the sensor makes to maps which hooks change as well. A map update from user space would replace the whole value
 * and lose what a hook counted meanwhile; run in the kernel, the change is one atomic step. And it is the only way once the maps
 * are frozen (BPF_MAP_FREEZE): then the kernel refuses every update from user space, host root's too.
 */
#include "vmlinux.h"
#include "tag.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define DONE 1

/* Tag a process. Done also when the same agent has the same process already: the flags are added. */
static __always_inline int control_tag_add(__u32 pid, __u64 agent, __u64 start_time, __u32 flags)
{
	struct tag fresh = { .agent = agent, .start_time = start_time, .flags = flags };
	struct tag *tag;

	if (tag_add(pid, &fresh))
		return DONE;
	tag = LOOKUP(tags, &pid);
	if (!tag || tag->agent != agent || tag->start_time != start_time)
		return 0;
	BITS_SET(&tag->flags, flags);
	return DONE;
}

/* Before the flag itself: a packet hook that finds the switch on asks for the flag. */
static __always_inline void control_isolating(__u32 flags)
{
	__u32 zero = 0;
	__u64 *isolating_switch = LOOKUP(isolating, &zero);

	if (isolating_switch && (flags & AGENT_ISOLATED))
		*isolating_switch = 1;
}

static __always_inline int control_agent_put(__u64 agent, __u64 cgroup_id, __u32 flags)
{
	struct agent_state fresh = { .cgroup_id = cgroup_id, .flags = flags };
	struct agent_state *state = agent_get(agent);

	control_isolating(flags);
	if (!state)
		return UPDATE(agents, &agent, &fresh, BPF_NOEXIST) ? 0 : DONE;
	state->cgroup_id = cgroup_id;
	state->flags = flags;
	return DONE;
}

/* Done as well when the agent has the cgroup already. */
static __always_inline int control_cgroup_add(__u64 id, __u64 agent)
{
	struct cgroup_tag fresh = { .agent = agent };
	struct cgroup_tag *cgroup;

	if (!UPDATE(cgroups, &id, &fresh, BPF_NOEXIST))
		return DONE;
	cgroup = LOOKUP(cgroups, &id);
	return cgroup && cgroup->agent == agent ? DONE : 0;
}

static __always_inline int control_isolating_off(void)
{
	__u32 zero = 0;
	__u64 *isolating_switch = LOOKUP(isolating, &zero);

	if (!isolating_switch)
		return 0;
	*isolating_switch = 0;
	return DONE;
}

/*
 * bpf(BPF_PROG_TEST_RUN)
 *   bpf_prog_test_run_raw_tp   <- here: attached to nothing, run only when the sensor asks (5.10), in the caller's context
 *
 * An agent's process that has got hold of this program is refused.
 *
 * Arguments: operation, then
 *   CONTROL_TAG_ADD      pid, agent, start time, flags
 *   CONTROL_TAG_DELETE   pid
 *   CONTROL_AGENT_PUT    agent, cgroup id, flags
 *   CONTROL_AGENT_FLAGS  agent, flags on, flags off
 *   CONTROL_AGENT_DELETE agent
 *   CONTROL_CGROUP_ADD   cgroup id, agent
 *   CONTROL_CGROUP_DELETE cgroup id
 *   CONTROL_ISOLATING_OFF
 *   CONTROL_TAG_FLAGS    pid, agent, start time, flags on, flags off
 * Result: 1 when it was done, 0 when not.
 */
SEC("raw_tp")
int control(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 operation = ctx->args[0], first = ctx->args[1], second = ctx->args[2], third = ctx->args[3], fourth = ctx->args[4];
	struct agent_state *state;
	__u32 pid = first;
	struct tag *tag;

	if (tag_current())
		return 0;
	switch (operation) {
	case CONTROL_TAG_ADD:
		return control_tag_add(pid, second, third, fourth);
	case CONTROL_TAG_DELETE:
		tag = LOOKUP(tags, &pid);
		return tag && tag_remove(pid, tag->agent) ? DONE : 0;
	case CONTROL_AGENT_PUT:
		return control_agent_put(first, second, third);
	case CONTROL_AGENT_FLAGS:
		state = agent_get(first);
		if (!state)
			return 0;
		control_isolating(second);
		BITS_SET(&state->flags, (__u32)second);
		BITS_CLEAR(&state->flags, (__u32)third);
		return DONE;
	case CONTROL_AGENT_DELETE:
		return DELETE(agents, &first) ? 0 : DONE;
	case CONTROL_CGROUP_ADD:
		return control_cgroup_add(first, second);
	case CONTROL_CGROUP_DELETE:
		return DELETE(cgroups, &first) ? 0 : DONE;
	case CONTROL_ISOLATING_OFF:
		return control_isolating_off();
	case CONTROL_TAG_FLAGS:
		tag = LOOKUP(tags, &pid);
		if (!tag || tag->agent != second || tag->start_time != third)
			return 0;
		BITS_SET(&tag->flags, (__u32)fourth);
		BITS_CLEAR(&tag->flags, (__u32)ctx->args[5]);
		return DONE;
	}
	return 0;
}
