// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A process is moved to another cgroup: into an agent's, or out of its agent's. */
#include "vmlinux.h"
#include "cgroup.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PF_EXITING 0x4

/*
 * A process that has ended, or whose one thread is past the point where a move could still reach it: the kernel leaves it where it
 * is (cgroup_migrate_add_task) and fires the tracepoint all the same. Its exit hook has run, so a tag given here would stay for ever.
 */
static __always_inline bool task_ended(struct task_struct *task)
{
	if (BPF_CORE_READ(task, signal, live.counter) <= 0)
		return true;
	return (BPF_CORE_READ(task, flags) & PF_EXITING) && BPF_CORE_READ(task, signal, nr_threads) == 1;
}

/* A tagged process was moved: has it left its agent's cgroup, and for another agent's? The first owner stays. */
static __always_inline void join_tagged(struct task_struct *mover, struct task_struct *task, struct tag *tag)
{
	struct agent_state *state = agent_get(tag->agent);
	bool left, contested;
	struct place place;

	place_of(task, state ? state->cgroup_id : 0, &place);
	contested = place.agent && place.agent != tag->agent;
	left = state && (state->flags & AGENT_OWN_CGROUP) && !place.inside;
	if (left) {
		/* for good: sockets that it makes outside stay outside when it comes back */
		BITS_SET(&tag->flags, TAG_LEFT);
		BITS_SET(&state->flags, AGENT_LEAVERS);
	}
	if (left || contested)
		join_emit(mover, task, &place, tag->agent, contested ? JOIN_CONTESTED : JOIN_LEFT);
}

/* An untagged process was moved into an agent's cgroup: by somebody outside, or by an agent that may want it killed there. */
static __always_inline void join_untagged(struct task_struct *mover, struct task_struct *task, __u32 pid)
{
	__u64 start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	struct agent_state *state;
	struct place place;
	struct tag *by;

	place_of(task, 0, &place);
	if (!place.agent)
		return;
	by = tag_current();
	if (by) {
		stranger_add(pid, start_time, place.agent);
		state = agent_get(place.agent);
		if (state)
			BITS_SET(&state->flags, AGENT_STRANGER);
		join_emit(mover, task, &place, by->agent, JOIN_STRANGER);
	} else if (!stranger_known(pid, start_time, place.agent) && place_enrol(pid, start_time, place.agent)) {
		join_emit(mover, task, &place, place.agent, JOIN_ENROLLED);
	}
}

/*
 * write(2) to cgroup.procs, cgroup.threads or (v1) tasks
 *   cgroup_attach_task
 *     cgroup_migrate             the task's css_set is the new one from here on
 *     trace_cgroup_attach_task   <- here: current is the mover
 *
 * Why: the one place that every move of a living process passes, with the mover at hand. A v1 move fires it too, and v1 ids
 * collide with v2 ids: only a destination on the default hierarchy counts, and the id is taken from the task's own dfl_cgrp.
 * tp_btf since 5.5. Cost when not enrolled: none outside moves; a move costs one lookup per level.
 * Blind to clone3(CLONE_INTO_CGROUP), which fork.bpf.c looks at, and to who asked the mover (systemd, a container's runtime).
 */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_attach, struct cgroup *destination, const char *path, struct task_struct *task, bool threadgroup)
{
	struct task_struct *mover = (void *)bpf_get_current_task();
	__u32 pid = BPF_CORE_READ(task, tgid);
	struct tag *tag;

	if (BPF_CORE_READ(destination, root) != BPF_CORE_READ(task, cgroups, dfl_cgrp, root) || task_ended(task))
		return 0;
	tag = LOOKUP(tags, &pid);
	if (tag)
		join_tagged(mover, task, tag);
	else
		join_untagged(mover, task, pid);
	return 0;
}
