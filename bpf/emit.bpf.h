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

/* How often a budget is refilled: seldom enough that rounding down to whole tokens takes little from it. */
#define REFILL_NS 10000000ULL

static __always_inline void loss_count(__u64 agent, __u32 event_class, __u32 reason)
{
	struct account key = { .agent = agent, .event_class = event_class, .reason = reason };
	__u64 one = 1, *count = LOOKUP(losses, &key);

	if (!count) {
		if (!UPDATE(losses, &key, &one, BPF_NOEXIST))
			return;
		count = LOOKUP(losses, &key);
	}
	if (!count) {
		/* the hash is full: nobody's, but counted; the sensor made these entries first of all */
		key.agent = 0;
		count = LOOKUP(losses, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

/*
 * True when the agent may still emit a record of this class; an agent that is forgotten already (its last sockets close) has no
 * budget. Hooks on two CPUs may see the same tokens: then a few records more go through, never fewer.
 */
static __always_inline bool budget_take(struct hook_config *cfg, struct agent_state *state, __u32 event_class, __u64 now)
{
	__u64 rate, burst, earned, passed, tokens;
	struct budget *budget;

	if (event_class >= CLASS_COUNT)
		return false;
	rate = cfg->rate[event_class];
	if (!rate || !state)
		return true;
	burst = cfg->burst[event_class];
	budget = &state->budgets[event_class];
	tokens = budget->tokens;
	passed = now - budget->refilled_ns;
	if (!budget->refilled_ns) {
		budget->refilled_ns = now;
		tokens = burst;
	} else if (passed >= REFILL_NS && now > budget->refilled_ns) {
		/* at most one second at a time: no overflow, and burst caps it anyway */
		earned = (passed > 1000000000ULL ? 1000000000ULL : passed) * rate / 1000000000ULL;
		if (earned) {
			budget->refilled_ns = now;
			tokens = tokens + earned > burst ? burst : tokens + earned;
		}
	}
	if (!tokens)
		return false;
	budget->tokens = tokens - 1;
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
 * Wake the reader for the first record after all that it has committed (flags 0: the kernel looks, after the record is in, so none
 * is missed), for the first after that which does not wait for company (sensor/collect/pace.py), and where the fill crosses the
 * mark. Not for every record past that: with a reader that lags a wakeup each cost +38 us a connect.
 */
static __always_inline __u64 wakeup_flags(struct hook_config *cfg, __u16 kind)
{
	__u64 position, *last, fill = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	__u32 zero = 0;

	if (fill - cfg->wakeup_bytes < WAKEUP_WINDOW)
		return BPF_RB_FORCE_WAKEUP;
	if (kind <= EVENT_EXIT)
		return 0;
	last = LOOKUP(woken, &zero);
	position = bpf_ringbuf_query(&ring, BPF_RB_CONS_POS) + 1;
	if (!last || *last == position)
		return 0;
	*last = position;
	return BPF_RB_FORCE_WAKEUP;
}

/* Reserve a record of TYPE with its header filled, or NULL with the loss counted. CLASS and KIND are constants. */
#define EMIT_RESERVE_AT(TYPE, KIND, CLASS, AGENT, PID, START, NOW)                                             \
	({                                                                                                     \
		struct hook_config *__cfg = config_get();                                                      \
		struct TYPE *__record = 0;                                                                     \
		__u64 __now = (NOW);                                                                           \
		if (__cfg && !budget_take(__cfg, agent_get(AGENT), (CLASS), __now)) {                          \
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

#define EMIT_RESERVE(TYPE, KIND, CLASS, AGENT, PID, START) \
	EMIT_RESERVE_AT(TYPE, KIND, CLASS, AGENT, PID, START, bpf_ktime_get_boot_ns())

#define EMIT_SUBMIT(RECORD)                                                                           \
	({                                                                                            \
		struct hook_config *__cfg = config_get();                                             \
		bpf_ringbuf_submit((RECORD), __cfg ? wakeup_flags(__cfg, (RECORD)->header.kind) : 0); \
	})

#endif
