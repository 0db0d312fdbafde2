/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A socket that an agent's process holds, however it came to it: inherited, received, or older than the enrolment. For hooks
 * that get a struct sock by BTF.
 */
#ifndef RUBICON_HELD_BPF_H
#define RUBICON_HELD_BPF_H

#include "emit.bpf.h"
#include "flow.bpf.h"
#include "mptcp.bpf.h"
#include "owner.bpf.h"
#include "verdict.bpf.h"

/* True for IPv4 and IPv6, the families whose packets the hooks see. */
static __always_inline bool sock_inet(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6;
}

/*
 * Nobody's socket becomes the holder's, which is reported as a socket record with both its sides. One that has an owner keeps it;
 * a connected one is cut where its holder is isolated from the other end, whoever owns it.
 * The cookie of a socket that got an owner, or 0. PID and TAG are the holder's.
 */
static __always_inline __u64 held(struct sock *sk, const struct tag *tag, __u32 pid)
{
	struct owner *owner = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct flow_event *record;
	__u64 cookie;

	if (!owner)
		return 0;
	cookie = bpf_get_socket_cookie(sk);
	if (sk->sk_protocol == IPPROTO_MPTCP)
		held_above(cookie, tag);
	if (owner->agent == tag->agent) {
		owner_held(owner, tag);
		return 0;
	}
	if (owner->agent) {
		if (!(owner->flags & OWNER_CUT) && sk->__sk_common.skc_dport && verdict_sock(tag->agent, tag->flags, sk))
			BITS_SET(&owner->flags, OWNER_CUT);
		return 0;
	}
	owner->agent = tag->agent;
	owner->start_time = tag->start_time;
	owner->pid = pid;
	owner_held(owner, tag);
	owner->opened_ns = bpf_ktime_get_boot_ns();
	owner->netns_cookie = sk->__sk_common.skc_net.net->net_cookie;
	record = EMIT_RESERVE(flow_event, EVENT_SOCKET, CLASS_BULK, tag->agent, pid, tag->start_time);
	if (record) {
		record->header.flags |= EVENT_BY_OWNER;
		record->header.tid = 0; /* current may be the sensor */
		flow_from_sock(&record->flow, sk, owner->netns_cookie);
		record->flow.cookie = cookie;
		EMIT_SUBMIT(record);
	}
	return cookie;
}

#endif
