// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A process of an agent has sent a signal to one of the daemons that watch it. */
#include "vmlinux.h"
#include "core_fixes.bpf.h"
#include "emit.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_CHILD 17
#define PAGE_BYTES 4096

static __always_inline bool tamper_guarded(struct hook_config *cfg, __u32 place, __u32 pid, __u64 start_time)
{
	return cfg->guarded_pid[place] == pid && cfg->guarded_start_time[place] == start_time;
}

/*
 * kill(2), tgkill(2), rt_sigqueueinfo(2), pidfd_send_signal(2); ptrace(PTRACE_ATTACH), cgroup.kill
 *   send_signal_locked
 *     __send_signal_locked
 *       prepare_signal
 *       trace_signal_generate   <- here, in the sender's context, after its right to send was checked
 *
 * Why: the only place that knows both ends. The record is in the pinned ring before the signal takes effect, so who kills the
 * sensor is told by the next one. A signal's source of its own (SEND_SIG_PRIV and its like are no pointers) is the kernel, on the
 * sender's account.
 * tp_btf since 5.5. Cost when not enrolled: an array lookup a signal. Blind to signal 0, to what was refused, and to signals from
 * timers and keyboards, which have no sender.
 */
SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int number, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	struct tag *tag = tag_current();
	struct hook_config *cfg;
	struct tamper_event *record;
	__u32 pid, place;
	__u64 start_time;
	int code = 0;

	if (!tag || number == SIGNAL_CHILD)
		return 0;
	cfg = config_get();
	if (!cfg)
		return 0;
	pid = BPF_CORE_READ(task, tgid);
	start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	if (tamper_guarded(cfg, GUARDED_SENSOR, pid, start_time))
		place = GUARDED_SENSOR;
	else if (tamper_guarded(cfg, GUARDED_PLANE, pid, start_time))
		place = GUARDED_PLANE;
	else if (tamper_guarded(cfg, GUARDED_SUPERVISOR, pid, start_time))
		place = GUARDED_SUPERVISOR;
	else
		return 0;
	record = EMIT_RESERVE(tamper_event, EVENT_TAMPER, CLASS_PROCESS, tag->agent, bpf_get_current_pid_tgid() >> 32,
			      tag->start_time);
	if (!record)
		return 0;
	if ((unsigned long)info >= PAGE_BYTES)
		bpf_probe_read_kernel(&code, sizeof(code), &info->si_code);
	record->target_start_time = start_time;
	record->target_pid = pid;
	record->guarded = place;
	record->signal = number;
	record->by_kernel = (unsigned long)info == 1 || code > 0;
	EMIT_SUBMIT(record);
	return 0;
}
