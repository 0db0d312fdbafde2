// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program was executed: everything about it, from the kernel's own copies. */
#include "vmlinux.h"
#include "cgroup.bpf.h"
#include "exec_facts.bpf.h"
#include "exec_scratch.bpf.h"
#include "path.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Put a path's whole text behind what stands in the scratch already; its length. */
static __always_inline __u16 path_append(struct exec_scratch *scratch, __u32 *position, struct dentry *dentry,
					 struct vfsmount *vfsmount)
{
	__u32 length, start, at = *position;

	path_walk(&scratch->path, dentry, vfsmount);
	if (scratch->path.truncated)
		scratch->event.header.flags |= EVENT_PATH_TRUNCATED;
	start = scratch->path.start;
	if (start >= LIMIT_PATH)
		return 0;
	length = LIMIT_PATH - start;
	bpf_probe_read_kernel(&scratch->data[at & EXEC_PATHS_MASK], length, &scratch->path.text[start]);
	*position = at + length;
	return length;
}

static __always_inline __u16 string_append(struct exec_scratch *scratch, __u32 *position, const char *string)
{
	__u32 at = *position;
	long length;

	/* two more than may be kept: the NUL, and one byte that tells a string which is longer from one which just fits */
	length = bpf_probe_read_kernel_str(&scratch->data[at & EXEC_PATHS_MASK], LIMIT_PATH + 2, string);
	if (length <= 1)
		return 0;
	length--;
	if (length > LIMIT_PATH) {
		scratch->event.header.flags |= EVENT_PATH_TRUNCATED;
		length = LIMIT_PATH;
	}
	length &= LIMIT_PATH * 2 - 1;
	*position = at + length;
	return length;
}

static __always_inline void arguments_append(struct exec_scratch *scratch, __u32 *position, struct mm_struct *mm)
{
	__u64 start = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	__u64 length = end > start ? end - start : 0, kept = length;
	__u32 at = *position;

	barrier_var(kept); /* the verifier must see one register compared and used */
	if (kept > LIMIT_ARGV)
		kept = LIMIT_ARGV;
	barrier_var(kept);
	if (bpf_probe_read_user(&scratch->data[at & EXEC_PATHS_MASK], kept, (void *)start))
		kept = 0; /* swapped out within microseconds */
	if (kept < length)
		scratch->event.header.flags |= EVENT_ARGV_TRUNCATED;
	scratch->event.argv_length = length;
	scratch->event.argv_kept = kept;
	*position = at + kept;
}

/* The executed file, what was asked for, the interpreter of a script, the working directory, the arguments: in this order. */
static __always_inline __u32 exec_gather(struct exec_scratch *scratch, struct task_struct *task, struct linux_binprm *bprm)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	const char *filename = BPF_CORE_READ(bprm, filename), *interpreter = BPF_CORE_READ(bprm, interp);
	__u32 position = 0;

	scratch->event.header.flags = 0;
	exec_facts(&scratch->event, task, exe);
	scratch->event.exe_length =
		path_append(scratch, &position, BPF_CORE_READ(exe, f_path.dentry), BPF_CORE_READ(exe, f_path.mnt));
	scratch->event.filename_length = string_append(scratch, &position, filename);
	scratch->event.interpreter_length = interpreter == filename ? 0 : string_append(scratch, &position, interpreter);
	scratch->event.cwd_length =
		path_append(scratch, &position, BPF_CORE_READ(task, fs, pwd.dentry), BPF_CORE_READ(task, fs, pwd.mnt));
	arguments_append(scratch, &position, mm);
	return sizeof(scratch->event) + position;
}

/* Return the scratch as a record of BYTES when it fits: a few constant sizes, as verifiers before 5.18 want it. */
#define EXEC_PLACE(BYTES)                                                                \
	do {                                                                             \
		if (length <= (BYTES)) {                                                 \
			record = bpf_ringbuf_reserve(&ring, (BYTES), 0);                 \
			if (record)                                                      \
				bpf_probe_read_kernel(record, (BYTES), &scratch->event); \
			return record;                                                   \
		}                                                                        \
	} while (0)

static __always_inline struct exec_event *exec_place(struct exec_scratch *scratch, __u32 length)
{
	struct exec_event *record;

	EXEC_PLACE(512);
	EXEC_PLACE(1024);
	EXEC_PLACE(2048);
	EXEC_PLACE(4096);
	EXEC_PLACE(8192);
	EXEC_PLACE(EXEC_LARGEST);
	return 0;
}

static __always_inline void exec_emit(struct task_struct *task, struct linux_binprm *bprm, __u64 agent, __u64 start_time)
{
	__u32 pid = BPF_CORE_READ(task, tgid), length;
	__u64 now = bpf_ktime_get_boot_ns();
	struct hook_config *cfg = config_get();
	struct exec_scratch *scratch;
	struct exec_event *record;
	__u16 flags;

	if (!cfg)
		return;
	if (!budget_take(cfg, agent_get(agent), CLASS_PROCESS, now)) {
		loss_count(agent, CLASS_PROCESS, LOSS_BUDGET);
		return;
	}
	scratch = scratch_take();
	if (!scratch) {
		loss_count(agent, CLASS_PROCESS, LOSS_RING_FULL);
		return;
	}
	length = exec_gather(scratch, task, bprm);
	flags = scratch->event.header.flags;
	record = exec_place(scratch, length);
	scratch_release(scratch);
	if (!record) {
		loss_count(agent, CLASS_PROCESS, LOSS_RING_FULL);
		return;
	}
	header_fill(&record->header, cfg, EVENT_EXEC, agent, pid, start_time, now);
	record->header.flags = flags;
	EMIT_SUBMIT(record);
}

/*
 * execve, execveat, 32-bit execve, and scripts (the interpreter's exec is this one)
 *   bprm_execve
 *     exec_binprm
 *       search_binary_handler
 *         load_elf_binary
 *           begin_new_exec           point of no return: the other threads are gone, current has the leader's pid
 *       trace_sched_process_exec     <- here: the new mm, credentials and (close-on-exec done) descriptors are in place
 *
 * Why: the arguments lie in the new mm, which no thread of the process can reach yet: no race between check and use. What failed
 * does not come here. An exec by a thread that is not the leader keeps pid, start time and tag.
 * tp_btf since 5.5. Cost when not enrolled: one hash lookup, and one per level of the process's cgroup.
 * Blind to what a program loads afterwards (ld.so's libraries, an interpreter's script given as an argument or on stdin).
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	__u64 start_time = BPF_CORE_READ(task, group_leader, start_boottime), agent;
	__u32 pid = BPF_CORE_READ(task, tgid);
	struct tag *tag = tag_find(pid);
	struct place place;
	bool known = true;

	if (tag) {
		agent = tag->agent;
	} else {
		agent = untagged_agent(pid, start_time);
		known = false;
		if (!agent) {
			place_of(task, 0, &place);
			agent = place.agent;
			if (!agent || stranger_known(pid, start_time, agent))
				return 0;
			known = place_enrol(pid, start_time, agent);
			if (known)
				join_emit(task, task, &place, agent, JOIN_ENROLLED);
		}
	}
	/* also who found no place in the hash, which has condemned its agent */
	if (agent_condemned(agent))
		bpf_send_signal(SIGNAL_KILL);
	if (known)
		exec_emit(task, bprm, agent, start_time);
	return 0;
}
