/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which agent a place in the cgroup tree belongs to, and the record of who came and who left. Only the default (v2) hierarchy
 * counts: ids of other hierarchies collide with its own on a hybrid host.
 */
#ifndef RUBICON_CGROUP_BPF_H
#define RUBICON_CGROUP_BPF_H

#include "core_fixes.bpf.h"
#include "emit.bpf.h"

/* Levels that are looked at, from the leaf up. A process deeper than this below its agent's cgroup is taken for one that left. */
#define CGROUP_LEVELS 64

struct place {
	__u64 id;    /* of the cgroup on the default hierarchy */
	__u64 agent; /* whose enrolled cgroup this is or lies below; 0 for nobody's */
	bool inside; /* is, or lies below, the cgroup that was asked for */
};

/* Where a task is, and whether that is in or below the cgroup HOME (an id; 0 for no matter). */
static __always_inline void place_of(struct task_struct *task, __u64 home, struct place *place)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	struct cgroup_tag *enrolled;
	__u64 id;

	place->id = BPF_CORE_READ(cgroup, kn, id);
	place->agent = 0;
	place->inside = false;
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		id = BPF_CORE_READ(cgroup, kn, id);
		if (home && id == home)
			place->inside = true;
		enrolled = LOOKUP(cgroups, &id);
		if (enrolled) {
			place->agent = enrolled->agent;
			break;
		}
		cgroup = cgroup_parent(cgroup);
		if (!cgroup)
			break;
	}
}

/*
 * An agent moved this process into AGENT's cgroup, or it was born to one that was: it is never tagged. Where it finds no room in the
 * map, nobody else is tagged by being in that cgroup: rather one too few than a stranger that dies for an agent.
 */
static __always_inline void stranger_add(__u32 pid, __u64 start_time, __u64 agent)
{
	struct stranger stranger = { .start_time = start_time };
	struct agent_state *state;

	if (!UPDATE(strangers, &pid, &stranger, BPF_ANY))
		return;
	state = agent_get(agent);
	if (state)
		BITS_SET(&state->flags, AGENT_ALL_STRANGERS);
}

/* True for an untagged process in AGENT's cgroup that is a stranger there, or may be one. */
static __always_inline bool stranger_known(__u32 pid, __u64 start_time, __u64 agent)
{
	struct stranger *stranger = LOOKUP(strangers, &pid);
	struct agent_state *state;

	if (stranger && stranger->start_time == start_time)
		return true;
	state = agent_get(agent);
	return state && (state->flags & AGENT_ALL_STRANGERS);
}

/* Take an untagged process into the agent whose cgroup it is in. */
static __always_inline bool place_enrol(__u32 pid, __u64 start_time, __u64 agent)
{
	struct tag tag = { .agent = agent, .start_time = start_time, .flags = TAG_JOINED };

	return tag_add(pid, &tag);
}

/* The record of a process that came or left. MOVER is the current task: it moves TARGET, makes it or is it. */
static __always_inline void join_emit(struct task_struct *mover, struct task_struct *target, const struct place *place,
				      __u64 agent, __u32 reason)
{
	__u64 start_time = BPF_CORE_READ(mover, group_leader, start_boottime);
	struct join_event *record;

	record = EMIT_RESERVE(join_event, EVENT_JOIN, CLASS_PROCESS, agent, BPF_CORE_READ(mover, tgid), start_time);
	if (!record)
		return;
	record->target_start_time = BPF_CORE_READ(target, group_leader, start_boottime);
	record->cgroup_id = place->id;
	record->cgroup_agent = place->agent;
	record->target_pid = BPF_CORE_READ(target, tgid);
	record->reason = reason;
	EMIT_SUBMIT(record);
}

#endif
