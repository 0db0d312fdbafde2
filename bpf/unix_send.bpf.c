// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process sent a datagram to the path of an AF_UNIX socket, without a connect: how syslog and systemd are told. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "owner.bpf.h"
#include "unix.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NAME_WORDS ((LIMIT_UNIX_PATH + 7) / 8)

struct unix_send_record {
	union {
		struct unix_send_event event;
		struct event_header header;
	};
	char path[LIMIT_UNIX_PATH];
	__u32 padding;
};

static __always_inline __u32 name_hash(const __u64 *name)
{
	__u64 hash = 1;

	for (int i = 0; i < NAME_WORDS; i++)
		hash = (hash ^ name[i]) * 0x9E3779B97F4A7C15ULL;
	return hash >> 32 | 1; /* 0 is an empty place */
}

/*
 * sendto(2), sendmsg(2), sendmmsg(2), IORING_OP_SEND(MSG)
 *   unix_dgram_sendmsg
 *     BPF_CGROUP_RUN_PROG_UNIX_SENDMSG_LOCK   <- here, only when the call names an address: it is the kernel's copy
 *
 * Why: a message to whoever listens at a path, refusable, where no connect was made. Since 6.7 (attach type 50); an object of its
 * own, as unix_connect.bpf.c. The path is as the caller wrote it: relative to its working directory.
 * Cost when not enrolled: one hash lookup per such datagram. Bounded: the first of each path (send_worth), and the class's budget.
 * Blind to what goes through a socket that is connected, a socketpair's too: who gave it, and to whom, no hook sees.
 */
SEC("cgroup/sendmsg_unix")
int unix_send(struct bpf_sock_addr *ctx)
{
	char name[NAME_WORDS * 8] __attribute__((aligned(8))) = {};
	struct tag *tag = tag_current();
	struct unix_send_record *record;
	struct owner *owner;
	__u64 cookie;
	__u32 length;
	bool refused;

	if (!tag)
		return 1;
	refused = verdict_unix(tag);
	cookie = bpf_get_socket_cookie(ctx);
	owner = OWNER_ENSURE(ctx->sk, tag);
	length = unix_name(ctx, name);
	if (owner && !send_worth(owner, name_hash((__u64 *)name)) && !refused)
		return 1;
	record = EMIT_RESERVE(unix_send_record, EVENT_UNIX_SEND, CLASS_BULK, tag->agent, bpf_get_current_pid_tgid() >> 32,
			      tag->start_time);
	if (!record)
		return !refused;
	record->event.cookie = cookie;
	record->event.length = length;
	record->event.padding = 0;
	if (refused)
		record->header.flags |= EVENT_REFUSED;
	__builtin_memcpy(record->path, name, sizeof(record->path));
	EMIT_SUBMIT(record);
	return !refused;
}
