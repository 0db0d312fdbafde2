// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Attached only while an agent is condemned: its tasks die before they fork. */
#include "vmlinux.h"
#include "tag.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * clone, clone3, fork, vfork
 *   syscall_enter
 *     trace_sys_enter            <- here, before the call
 *   kernel_clone
 *     copy_process               fails with ERESTARTNOINTR: a signal is pending, so no child is born
 *
 * Why: at the fork hook the child exists already, and the signal kills only its maker. Killed here, nobody is born.
 * Tracepoints with bpf_send_signal since 5.3. Cost: 31 ns on every system call of everybody, which is why it is attached only
 * while something is condemned. Blind to 32-bit calls, which fire no syscall tracepoint: the fork hook has those.
 */
SEC("tracepoint/syscalls/sys_enter_clone")
int condemn(void *ctx)
{
	struct tag *tag = tag_current();

	if (tag && agent_condemned(tag->agent))
		bpf_send_signal(SIGNAL_KILL);
	return 0;
}
