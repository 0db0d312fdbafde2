/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where an exec record is put together: too large for the stack, and its size is known only at the end. A CPU has a few slots, each
 * with a mark that says it is taken, because on kernels whose tracepoints can be preempted a second exec may come in between.
 */
#ifndef RUBICON_EXEC_SCRATCH_BPF_H
#define RUBICON_EXEC_SCRATCH_BPF_H

#include "maps.bpf.h"
#include "path.bpf.h"

#define EXEC_SLOTS 3
/* Four paths fit below this, and one more may begin at its end: 8192 is the next power of two, which an old verifier can follow. */
#define EXEC_PATHS_MASK (LIMIT_PATH * 8 - 1)
#define EXEC_LARGEST (sizeof(struct exec_event) + LIMIT_PATH * 4 + LIMIT_ARGV)

struct exec_scratch {
	__u32 taken;
	__u32 padding;
	struct exec_event event;
	char data[EXEC_PATHS_MASK + 1 + LIMIT_ARGV];
	struct path_buffer path;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EXEC_SLOTS);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} exec_scratches SEC(".maps");

/* A free slot of this CPU, or NULL when as many execs as there are slots are in the middle of this hook on one CPU. */
static __always_inline struct exec_scratch *scratch_take(void)
{
	struct exec_scratch *scratch;
	__u32 slot;

	for (__u32 i = 0; i < EXEC_SLOTS; i++) {
		slot = i;
		scratch = LOOKUP(exec_scratches, &slot);
		if (!scratch)
			return 0;
#ifdef RUBICON_NO_FETCH
		/* kernels this old run tracepoints with preemption off */
		if (!scratch->taken) {
			scratch->taken = 1;
			return scratch;
		}
#else
		if (!__sync_val_compare_and_swap(&scratch->taken, 0, 1))
			return scratch;
#endif
	}
	return 0;
}

static __always_inline void scratch_release(struct exec_scratch *scratch)
{
	scratch->taken = 0;
}

#endif
