// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A process ends, with its last thread: its tag goes. */
#include "vmlinux.h"
#include "core_fixes.bpf.h"
#include "emit.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 4
#define CORE_DUMPED 0x80

/* What wait(2) will report: the rule of wait_task_zombie(). */
static __always_inline __u32 exit_code(struct task_struct *task)
{
	if (BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(task, signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

/*
 * exit(2), exit_group(2), a fatal signal, and an exec by another thread (which ends the leader)
 *   do_exit
 *     atomic_dec_and_test(&signal->live)   0 from the last thread on
 *     trace_sched_process_exit             <- here
 *     exit_files                           sockets close after this: they carry their owner themselves
 *   release_task                           the pid can be given away only after this
 *
 * Why: `signal->live` tells the end of a process from that of a thread, also of a leader whose place an exec by another thread
 * takes (pid == tgid does not). Two threads that end at once may both see 0: the one that removes the tag reports.
 * tp_btf since 5.5. Cost when not enrolled: two hash lookups per process, none per thread.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	__u32 pid = BPF_CORE_READ(task, tgid);
	struct exit_event *record;
	__u64 agent, start_time;
	struct tag *tag;

	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	tag = tag_find(pid);
	if (!tag) {
		if (LOOKUP(strangers, &pid))
			DELETE(strangers, &pid);
		if (untagged_agent(pid, BPF_CORE_READ(task, group_leader, start_boottime)))
			DELETE(untagged, &pid);
		return 0;
	}
	agent = tag->agent;
	start_time = tag->start_time;
	if (!tag_remove(pid, agent))
		return 0;
	record = EMIT_RESERVE(exit_event, EVENT_EXIT, CLASS_PROCESS, agent, pid, start_time);
	if (!record)
		return 0;
	record->code = exit_code(task);
	record->padding = 0;
	if (record->code & CORE_DUMPED)
		record->header.flags |= EVENT_CORE_DUMPED;
	EMIT_SUBMIT(record);
	return 0;
}
