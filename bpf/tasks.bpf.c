// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* All processes of the host, with their exact start times, owners and cgroups. */
#include "vmlinux.h"
#include "core_fixes.bpf.h"
#include "tag.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define STATE_INTERRUPTIBLE 0x01
#define STATE_UNINTERRUPTIBLE 0x02
#define STATE_STOPPED 0x04
#define STATE_TRACED 0x08
#define STATE_PARKED 0x40
#define STATE_NOLOAD 0x400
#define STATE_SLEEPS (STATE_INTERRUPTIBLE | STATE_UNINTERRUPTIBLE | STATE_STOPPED | STATE_TRACED | STATE_PARKED)
#define EXIT_STATE_DEAD 0x10

/* The letter of /proc/PID/stat, except that a leader which has ended while other threads live is not dead. */
static __always_inline __u32 state_letter(struct task_struct *task)
{
	__u32 state = task_state(task), exit_state = BPF_CORE_READ(task, exit_state);

	if (exit_state) {
		if (BPF_CORE_READ(task, signal, live.counter) > 0)
			return 'S';
		return exit_state & EXIT_STATE_DEAD ? 'X' : 'Z';
	}
	if (!(state & STATE_SLEEPS))
		return 'R';
	if (state & STATE_INTERRUPTIBLE)
		return 'S';
	if (state & STATE_UNINTERRUPTIBLE)
		return state & STATE_NOLOAD ? 'I' : 'D';
	if (state & STATE_STOPPED)
		return 'T';
	return state & STATE_TRACED ? 't' : 'P';
}

/*
 * read(2) of the iterator's descriptor
 *   task_seq_show   <- here, for every task in the pid table
 *
 * Why: /proc has start times in ticks of 10 ms, its reading races with forks, and it does not know tags. A task is in the pid
 * table from before its fork hook until it is waited for, so nothing that may run is left out.
 * Since 5.8. No cost but its own run (about 0.3 us a task). Blind to a process made behind the cursor: it is in the next list.
 */
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_entry entry = {};
	struct tag *tag;

	if (!task || task->pid != task->tgid)
		return 0;
	entry.pid = task->tgid;
	entry.start_time = BPF_CORE_READ(task, start_boottime);
	entry.parent_pid = BPF_CORE_READ(task, real_parent, tgid);
	entry.parent_start_time = BPF_CORE_READ(task, real_parent, group_leader, start_boottime);
	entry.cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	entry.state = state_letter(task);
	bpf_core_read(entry.comm, sizeof(entry.comm), &task->comm);
	tag = LOOKUP(tags, &entry.pid);
	if (tag && tag->start_time == entry.start_time) {
		entry.agent = tag->agent;
		entry.flags = tag->flags;
	}
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}
