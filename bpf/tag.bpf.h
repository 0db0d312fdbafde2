/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who a task or a socket belongs to. */
#ifndef RUBICON_TAG_BPF_H
#define RUBICON_TAG_BPF_H

#include "maps.bpf.h"

#define SIGNAL_KILL 9
#define ERROR_EXISTS (-17)

/* Bits of a word that hooks on several CPUs set: atomic where the kernel can (5.12). */
#ifdef RUBICON_NO_FETCH
#define BITS_SET(POINTER, BITS) ((void)(*(POINTER) |= (BITS)))
#define BITS_CLEAR(POINTER, BITS) ((void)(*(POINTER) &= ~(BITS)))
#else
#define BITS_SET(POINTER, BITS) ((void)__sync_fetch_and_or((POINTER), (BITS)))
#define BITS_CLEAR(POINTER, BITS) ((void)__sync_fetch_and_and((POINTER), ~(BITS)))
#endif

/* One entry more or less in the filter, which counts every tag from before it is in the hash until after it is not. */
static __always_inline void tag_filter_count(__u32 pid, int step)
{
	__u32 zero = 0;
	struct tag_filter *filter = LOOKUP(tag_filter, &zero);

	if (filter)
		__sync_fetch_and_add(&filter->counts[pid % TAG_FILTER_SIZE], (__u32)step);
}

/* The tag of a process, or NULL. */
static __always_inline struct tag *tag_find(__u32 pid)
{
	__u32 zero = 0;
	struct tag_filter *filter = LOOKUP(tag_filter, &zero);

	if (filter && !filter->counts[pid % TAG_FILTER_SIZE])
		return 0;
	return LOOKUP(tags, &pid);
}

/* The tag of the current process, or NULL: the first thing every hook asks. */
static __always_inline struct tag *tag_current(void)
{
	return tag_find(bpf_get_current_pid_tgid() >> 32);
}

static __always_inline struct agent_state *agent_get(__u64 agent)
{
	return LOOKUP(agents, &agent);
}

static __always_inline bool agent_condemned(__u64 agent)
{
	struct agent_state *state = agent_get(agent);

	return state && (state->flags & AGENT_CONDEMNED);
}

/* False while no agent was isolated yet: then no packet of anybody is dropped. */
static __always_inline bool isolating_on(void)
{
	__u32 zero = 0;
	__u64 *isolating_switch = LOOKUP(isolating, &zero);

	return isolating_switch && *isolating_switch;
}

/* One tagged process more or less (STEP is 1 or -1). The increments need no result, so 5.10 has them. */
static __always_inline void tag_counted(__u64 agent, int step)
{
	struct agent_state *state = agent_get(agent);
	__u32 zero = 0;
	__u64 *total;

	if (state)
		__sync_fetch_and_add(&state->tasks, (__u32)step);
	total = LOOKUP(tag_count, &zero);
	if (total)
		__sync_fetch_and_add(total, (__u64)(__s64)step);
}

/* An agent that holds an eighth of all tags is one of those that fill the hash. */
#define PRESSURE_SHARE 8

/* Must the agent with this STATE be condemned for one more tag? Not the small one whose neighbours fill the hash, while it lasts. */
static __always_inline bool tag_pressure(const struct agent_state *state)
{
	struct hook_config *cfg = config_get();
	__u32 zero = 0;
	__u64 *total = LOOKUP(tag_count, &zero);

	if (!cfg || !total || !cfg->tag_high_water || *total < cfg->tag_high_water)
		return false;
	return *total >= cfg->tag_limit || (__u64)state->tasks * PRESSURE_SHARE >= *total;
}

/* Condemn an agent, and keep the counts that were the reason: from now on its processes die. */
static __always_inline void tag_condemn(struct agent_state *state)
{
	__u32 zero = 0;
	__u64 *total = LOOKUP(tag_count, &zero);

	if (!(state->flags & AGENT_TAG_PRESSURE)) {
		state->marked_tasks = state->tasks;
		state->marked_tags = total ? *total : 0;
	}
	BITS_SET(&state->flags, AGENT_CONDEMNED | AGENT_TAG_PRESSURE);
}

/* Remember who found no place in the hash: its agent is condemned, and a kill has to find it wherever it is. */
static __always_inline void untagged_add(__u32 pid, const struct tag *tag)
{
	struct untagged lost = { .agent = tag->agent, .start_time = tag->start_time };
	__u32 zero = 0;
	__u64 *count = LOOKUP(untagged_count, &zero);

	UPDATE(untagged, &pid, &lost, BPF_ANY);
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* The agent of a process that found no place in the hash; 0 for everybody else. */
static __always_inline __u64 untagged_agent(__u32 pid, __u64 start_time)
{
	struct untagged *found;
	__u32 zero = 0;
	__u64 *count = LOOKUP(untagged_count, &zero);

	if (!count || !*count)
		return 0;
	found = LOOKUP(untagged, &pid);
	return found && found->start_time == start_time ? found->agent : 0;
}

/*
 * Tag a process; false when it has an owner already (the first one stays) or the hash is full. At the high-water mark the agent
 * is condemned while entries remain: whoever of it forks dies. A preallocated hash refuses a new entry only when every one is
 * taken (-E2BIG), which is when more children than that were in flight at the mark: those are remembered in `untagged`, so no
 * child ever runs without a tag in silence.
 */
static __always_inline bool tag_add(__u32 pid, const struct tag *tag)
{
	struct agent_state *state;
	long failure;

	tag_filter_count(pid, 1);
	failure = UPDATE(tags, &pid, tag, BPF_NOEXIST);
	if (failure)
		tag_filter_count(pid, -1);
	if (failure == ERROR_EXISTS)
		return false;
	if (!failure)
		tag_counted(tag->agent, 1);
	else
		untagged_add(pid, tag);
	state = agent_get(tag->agent);
	if (state && (failure || tag_pressure(state)))
		tag_condemn(state);
	return !failure;
}

/* Remove a process's tag; true for exactly one of several callers. */
static __always_inline bool tag_remove(__u32 pid, __u64 agent)
{
	if (DELETE(tags, &pid))
		return false;
	tag_filter_count(pid, -1);
	tag_counted(agent, -1);
	return true;
}

/*
 * Take away the tag that an earlier process of this pid left behind: the sensor may tag one that ends at that very moment, after
 * its exit hook has run. Whoever gets the pid is not that process.
 */
static __always_inline void tag_expire(__u32 pid, __u64 start_time)
{
	struct tag *tag = tag_find(pid);

	if (tag && tag->start_time != start_time)
		tag_remove(pid, tag->agent);
}

#endif
