// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A process is born: the child gets its maker's tag, or that of the cgroup that it is born into. */
#include "vmlinux.h"
#include "cgroup.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The child's pid in its own pid namespace. */
static __always_inline __u32 namespace_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid upid = {};

	bpf_probe_read_kernel(&upid, sizeof(upid),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(upid));
	return upid.nr;
}

static __always_inline void fork_emit(struct task_struct *maker, struct task_struct *child, struct tag *tag, __u64 cgroup_id)
{
	struct fork_event *record;

	record = EMIT_RESERVE(fork_event, EVENT_FORK, CLASS_PROCESS, tag->agent, BPF_CORE_READ(maker, tgid), tag->start_time);
	if (!record)
		return;
	record->child_start_time = BPF_CORE_READ(child, start_boottime);
	record->parent_start_time = BPF_CORE_READ(child, real_parent, group_leader, start_boottime);
	record->cgroup_id = cgroup_id;
	record->child_pid = BPF_CORE_READ(child, tgid);
	record->parent_pid = BPF_CORE_READ(child, real_parent, tgid);
	record->namespace_pid = namespace_pid(child);
	record->padding = 0;
	EMIT_SUBMIT(record);
}

/*
 * The child of an untagged process. Its agent is its maker's when that found no place in the hash. Otherwise it is an agent's only
 * when it is born into its cgroup, and its maker is no stranger there: the agent when the maker is in that cgroup too, else 0.
 */
static __always_inline __u64 fork_untagged(struct task_struct *maker, struct task_struct *child)
{
	__u32 maker_pid = BPF_CORE_READ(maker, tgid), child_pid = BPF_CORE_READ(child, tgid);
	__u64 start_time = BPF_CORE_READ(child, start_boottime);
	__u64 maker_start_time = BPF_CORE_READ(maker, group_leader, start_boottime);
	struct tag tag = { .agent = untagged_agent(maker_pid, maker_start_time), .start_time = start_time };
	struct place place;

	if (tag.agent) {
		tag_add(child_pid, &tag);
		return tag.agent;
	}
	place_of(child, 0, &place);
	if (!place.agent)
		return 0;
	if (stranger_known(maker_pid, maker_start_time, place.agent)) {
		stranger_add(child_pid, start_time, place.agent);
		return 0;
	}
	if (place_enrol(child_pid, start_time, place.agent))
		join_emit(maker, child, &place, place.agent, JOIN_ENROLLED);
	/* elsewhere it is a container's runtime (CLONE_INTO_CGROUP), and has nothing to do with the agent */
	return BPF_CORE_READ(maker, cgroups, dfl_cgrp) == BPF_CORE_READ(child, cgroups, dfl_cgrp) ? place.agent : 0;
}

/* The maker was marked by another CPU since it was asked, or the sensor tagged the child first, without the mark. */
static __always_inline void fork_mark(__u32 child_pid, const struct tag *fresh, __u32 mark)
{
	struct tag *tag = LOOKUP(tags, &child_pid);

	if (tag && tag->start_time == fresh->start_time && (tag->flags & TAG_PART) != mark) {
		BITS_CLEAR(&tag->flags, TAG_PART);
		BITS_SET(&tag->flags, mark);
	}
}

static __always_inline void fork_tagged(struct task_struct *maker, struct task_struct *child, struct tag *tag)
{
	struct agent_state *state = agent_get(tag->agent);
	__u32 child_pid = BPF_CORE_READ(child, tgid);
	struct tag fresh = {};
	struct place place;
	bool outside;

	place_of(child, state ? state->cgroup_id : 0, &place);
	outside = state && (state->flags & AGENT_OWN_CGROUP) && !place.inside;
	fresh.agent = tag->agent;
	fresh.start_time = BPF_CORE_READ(child, start_boottime);
	fresh.flags = (outside ? TAG_LEFT : 0) | (tag->flags & TAG_PART);
	tag_add(child_pid, &fresh);
	if (tag->flags & TAG_PART)
		fork_mark(child_pid, &fresh, tag->flags & TAG_PART);
	fork_emit(maker, child, tag, place.id);
	if (outside && !(tag->flags & TAG_LEFT)) {
		/* born outside: as if it had left */
		BITS_SET(&state->flags, AGENT_LEAVERS);
		join_emit(maker, child, &place, tag->agent,
			  place.agent && place.agent != tag->agent ? JOIN_CONTESTED : JOIN_LEFT);
	}
}

/* 6280cf718db0 ("bpf: Implement bpf_send_signal_task() kfunc", 6.13) */
extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type, __u64 value) __ksym __weak;

/*
 * End a condemned agent's maker, and where the kernel can its child, which then never comes to its first instruction. Where it
 * cannot the child dies at its own fork or exec, or by the sensor's hand. With a tag it opens and connects nothing until then; the
 * one that found no place in the hash is known by `untagged` alone.
 */
static __always_inline void fork_kill(struct task_struct *child, bool thread)
{
	bpf_send_signal(SIGNAL_KILL);
#ifndef RUBICON_NO_FETCH
	if (!thread && bpf_send_signal_task)
		bpf_send_signal_task(child, SIGNAL_KILL, PIDTYPE_TGID, 0);
#endif
}

/*
 * fork, vfork, clone, clone3, io_uring's and the kernel's own workers
 *   kernel_clone
 *     copy_process                 the child has its pid, start time, credentials and (CLONE_INTO_CGROUP) cgroup
 *     trace_sched_process_fork     <- here: current is the maker
 *     wake_up_new_task             the child's first instruction comes after this
 *
 * Why: nothing of the child runs before it is tagged, so attribution is never late, and it survives setsid, double fork,
 * CLONE_PARENT and namespaces, because it follows the maker and not the tree. clone3(CLONE_INTO_CGROUP) fires no
 * cgroup_attach_task: the child's place is looked up here.
 * tp_btf since 5.5. Cost when not enrolled: one hash lookup, and one per level of the child's cgroup.
 * Blind to a child that another process moves between cgroups in the microsecond before this hook: it is tagged all the same, but
 * the join hook may have called it a stranger first.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *maker, struct task_struct *child)
{
	__u32 maker_pid = BPF_CORE_READ(maker, tgid), child_pid = BPF_CORE_READ(child, tgid);
	bool thread = (__u32)BPF_CORE_READ(child, pid) != child_pid;
	struct tag *tag = tag_find(maker_pid);
	__u64 agent = tag ? tag->agent : 0;

	if (!thread)
		tag_expire(child_pid, BPF_CORE_READ(child, start_boottime));
	if (tag && !thread)
		fork_tagged(maker, child, tag);
	else if (!tag && !thread)
		agent = fork_untagged(maker, child);
	/* last, because the high-water mark may just have condemned it */
	if (agent && agent_condemned(agent))
		fork_kill(child, thread);
	return 0;
}
