/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records: header, identity, budget, loss. A record is (epoch, CPU, sequence); the sequence is taken only for a record that has
 * a place in the ring, so a gap in it means a defect, and every drop is counted in `losses` instead.
 */
#ifndef RUBICON_EMIT_BPF_H
#define RUBICON_EMIT_BPF_H

#include "tag.bpf.h"

/* Hooks outside process context define it as 0: the current task is a stranger there, and 5.10 has no such helper in them. */
#ifndef EMIT_TID
#define EMIT_TID ((__u32)bpf_get_current_pid_tgid())
#endif

static __always_inline void loss_count(__u64 agent, __u32 event_class, __u32 reason)
{
	struct account key = { .agent = agent, .event_class = event_class, .reason = reason };
	__u64 one = 1, *count = LOOKUP(losses, &key);

	if (!count) {
		if (!UPDATE(losses, &key, &one, BPF_NOEXIST))
			return;
		count = LOOKUP(losses, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* True when the agent may still emit a record of this class. Races only ever let a few records more through. */
static __always_inline bool budget_take(struct hook_config *cfg, __u64 agent, __u32 event_class, __u64 now)
{
	struct account key = { .agent = agent, .event_class = event_class };
	struct budget *budget, fresh;
	__u64 rate, burst, earned;

	if (event_class >= CLASS_COUNT)
		return false;
	rate = cfg->rate[event_class];
	burst = cfg->burst[event_class];
	if (!rate)
		return true;
	budget = LOOKUP(budgets, &key);
	if (!budget) {
		fresh.tokens = burst;
		fresh.refilled_ns = now;
		UPDATE(budgets, &key, &fresh, BPF_NOEXIST);
		budget = LOOKUP(budgets, &key);
		if (!budget)
			return true;
	}
	if (now > budget->refilled_ns) {
		/* at most one second at a time: no overflow, and burst caps it anyway */
		__u64 passed = now - budget->refilled_ns;

		if (passed > 1000000000ULL)
			passed = 1000000000ULL;
		earned = passed * rate / 1000000000ULL;
		if (earned) {
			budget->refilled_ns = now;
			budget->tokens = budget->tokens + earned > burst ? burst : budget->tokens + earned;
		}
	}
	if (!budget->tokens)
		return false;
	budget->tokens--;
	return true;
}

static __always_inline __u64 sequence_next(void)
{
	__u32 zero = 0;
	__u64 *sequence = LOOKUP(sequences, &zero);

	if (!sequence)
		return 0;
#ifdef RUBICON_NO_FETCH
	return ++*sequence;
#else
	return __sync_fetch_and_add(sequence, 1) + 1;
#endif
}

static __always_inline void header_fill(struct event_header *header, struct hook_config *cfg, __u16 kind, __u64 agent, __u32 pid,
					__u64 start_time, __u64 now)
{
	header->kind = kind;
	header->flags = 0;
	header->cpu = bpf_get_smp_processor_id();
	header->epoch = cfg->epoch;
	header->time_ns = now;
	header->agent = agent;
	header->start_time = start_time;
	header->pid = pid;
	header->tid = EMIT_TID;
	header->sequence = sequence_next();
}

#define WAKEUP_WINDOW 4096 /* more than any usual record: one of those that cross the mark falls in */

/*
 * Wake the reader where the fill crosses the mark, not at every record past it: with a reader that lags a wakeup each cost
 * +38 us a connect. It polls with a timeout besides, which finds what a crossing missed.
 */
static __always_inline __u64 wakeup_flags(struct hook_config *cfg)
{
	__u64 fill = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);

	return fill - cfg->wakeup_bytes < WAKEUP_WINDOW ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Reserve a zeroed-header record of TYPE, or NULL with the loss counted. CLASS and KIND are constants. */
#define EMIT_RESERVE(TYPE, KIND, CLASS, AGENT, PID, START)                                                     \
	({                                                                                                     \
		struct hook_config *__cfg = config_get();                                                      \
		struct TYPE *__record = 0;                                                                     \
		__u64 __now = bpf_ktime_get_boot_ns();                                                         \
		if (__cfg && !budget_take(__cfg, (AGENT), (CLASS), __now)) {                                   \
			loss_count((AGENT), (CLASS), LOSS_BUDGET);                                             \
		} else if (__cfg) {                                                                            \
			__record = bpf_ringbuf_reserve(&ring, sizeof(struct TYPE), 0);                         \
			if (__record)                                                                          \
				header_fill(&__record->header, __cfg, (KIND), (AGENT), (PID), (START), __now); \
			else                                                                                   \
				loss_count((AGENT), (CLASS), LOSS_RING_FULL);                                  \
		}                                                                                              \
		__record;                                                                                      \
	})

#define EMIT_SUBMIT(RECORD)                                                    \
	({                                                                     \
		struct hook_config *__cfg = config_get();                      \
		bpf_ringbuf_submit((RECORD), __cfg ? wakeup_flags(__cfg) : 0); \
	})

#endif
