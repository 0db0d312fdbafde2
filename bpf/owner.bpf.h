/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose a socket is. The owner lives in the socket (sk_storage), so it outlives its maker's tag: a dying process's tag is gone
 * before its sockets close, and TCP goes on after that.
 *
 * The first agent stays the owner. Inside one agent the process that connects takes the socket over from the one that made it,
 * because the tunnel is held by whoever dialled.
 */
#ifndef RUBICON_OWNER_BPF_H
#define RUBICON_OWNER_BPF_H

#include "tag.bpf.h"

/* Forget what was counted: a socket begins a new flow (connect, accept). Leaves whose it is, and what that one may not do. */
static __always_inline void owner_restart(struct owner *owner, __u64 now)
{
	owner->opened_ns = now;
	owner->bytes_in = 0;
	owner->bytes_out = 0;
	owner->last_in_ns = 0;
	owner->last_out_ns = 0;
	owner->packets_in = 0;
	owner->packets_out = 0;
	owner->payloads_in = 0;
	owner->payloads_out = 0;
	owner->flags &= OWNER_PART | OWNER_REST;
	__builtin_memset(owner->head_in, 0, sizeof(owner->head_in));
	__builtin_memset(owner->head_out, 0, sizeof(owner->head_out));
}

/*
 * The mark of a socket of an agent with this STATE: AGENT_PART's bits when it is the isolated part's, else 0. What is in nobody's
 * hands (closed, in a queue, on its way from one process to another, of a ring) is its maker's; and where that one is gone, the
 * part's, until somebody of the rest alone is seen to hold it.
 */
static __always_inline __u32 owner_mark(const struct owner *owner, const struct agent_state *state)
{
	__u32 part = state ? state->flags & AGENT_PART : 0;
	struct tag *maker;

	if (!part)
		return 0;
	if ((owner->flags & OWNER_PART) == part)
		return owner->flags & OWNER_REST ? 0 : part;
	maker = tag_find(owner->pid);
	if (maker && maker->start_time == owner->start_time && (maker->flags & TAG_PART) != part)
		return 0;
	return part;
}

/* From now on the isolated part's (MARK: its bits), or the rest's as well as known. */
static __always_inline void owner_mark_set(struct owner *owner, __u32 mark, __u32 rest)
{
	BITS_CLEAR(&owner->flags, OWNER_PART | OWNER_REST);
	BITS_SET(&owner->flags, mark | rest);
}

/* The process with this TAG holds a socket of its agent. What the isolated part holds is taken from all, and is never the rest's again. */
static __always_inline void owner_held(struct owner *owner, const struct tag *tag)
{
	struct agent_state *state = agent_get(tag->agent);
	__u32 part = state ? state->flags & AGENT_PART : 0;
	bool known = (owner->flags & OWNER_PART) == part;

	if (!part)
		return;
	if ((tag->flags & TAG_PART) == part) {
		if (!known || (owner->flags & OWNER_REST))
			owner_mark_set(owner, part, 0);
	} else if (!known) {
		owner_mark_set(owner, part, OWNER_REST);
	}
}

/* Make the current process, which TAG tags, the holder of a socket. */
static __always_inline void owner_take(struct owner *owner, const struct tag *tag)
{
	owner->agent = tag->agent;
	owner->start_time = tag->start_time;
	owner->pid = bpf_get_current_pid_tgid() >> 32;
	if (isolating_on())
		owner_held(owner, tag);
}

/*
 * The owner of SK, set to the current process where there was none; NULL when there is no memory.
 * SK is a hook's context or a socket that the verifier knows.
 */
#define OWNER_ENSURE_AT(SK, TAG, NOW)                                                                      \
	({                                                                                                 \
		struct owner *__owner = bpf_sk_storage_get(&owners, (SK), 0, BPF_SK_STORAGE_GET_F_CREATE); \
		if (__owner && !__owner->agent) {                                                          \
			owner_take(__owner, (TAG));                                                        \
			__owner->opened_ns = (NOW);                                                        \
		}                                                                                          \
		__owner;                                                                                   \
	})

#define OWNER_ENSURE(SK, TAG) OWNER_ENSURE_AT(SK, TAG, bpf_ktime_get_boot_ns())

/* True for the first datagram of each destination (the last few are remembered), and for every 2^n-th datagram of the socket. */
static __always_inline bool send_worth(struct owner *owner, __u32 hash)
{
	__u32 sends = ++owner->sends;
	bool known = false;

	if (!hash)
		hash = 1; /* 0 is an empty place */
	for (int i = 0; i < LIMIT_DESTINATIONS; i++)
		known |= owner->sent[i] == hash;
	if (!known) {
		/* shifted, not indexed: the oldest leaves, and no variable offset troubles an old verifier */
		for (int i = LIMIT_DESTINATIONS - 1; i > 0; i--)
			owner->sent[i] = owner->sent[i - 1];
		owner->sent[0] = hash;
	}
	return !known || !(sends & (sends - 1));
}

#endif
