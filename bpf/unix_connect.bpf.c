// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process connects an AF_UNIX socket: how work by proxy is asked for (tmux, docker, D-Bus, systemd), and of whom. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "unix.bpf.h"
#include "unix_peer.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct unix_connect_record {
	union {
		struct unix_connect_event event;
		struct event_header header;
	};
	char path[LIMIT_UNIX_PATH];
	__u32 padding;
};

/*
 * connect(2), IORING_OP_CONNECT
 *   unix_stream_connect / unix_dgram_connect
 *     BPF_CGROUP_RUN_PROG_UNIX_CONNECT(_LOCK)   <- here: the address is the kernel's copy
 *
 * Why: the path as the kernel will look it up, abstract names too, refusable. Since 6.7 (attach type 49); an object of its own,
 * so that an older kernel loses this fact only. The path is as the caller wrote it: relative to its working directory.
 * Cost when not enrolled: one hash lookup per connect of a Unix socket; an agent pays for the walk over its network namespace's
 * Unix sockets (unix_peer.bpf.h). Blind to a datagram without a connect (unix_send.bpf.c) and to socketpairs.
 */
SEC("cgroup/connect_unix")
int unix_connect(struct bpf_sock_addr *ctx)
{
	struct tag *tag = tag_current();
	struct unix_search search = {};
	struct unix_connect_record *record;
	struct bpf_sock_addr_kern *kernel;
	enum peer_state peer;
	__u64 cookie;
	bool refused;

	if (!tag)
		return 1;
	refused = verdict_unix(tag);
	cookie = bpf_get_socket_cookie(ctx);
	kernel = bpf_cast_to_kern_ctx(ctx);
	search.length = unix_name(ctx, search.name);
	search.agent = tag->agent;
	peer = unix_peer_find(&search, kernel->sk);
	record = EMIT_RESERVE(unix_connect_record, EVENT_UNIX_CONNECT, CLASS_FLOW, tag->agent, bpf_get_current_pid_tgid() >> 32,
			      tag->start_time);
	if (!record)
		return !refused;
	record->event.cookie = cookie;
	record->event.peer_agent = search.peer_agent;
	record->event.peer_start_time = search.peer_start_time;
	record->event.peer_pid = search.peer_pid;
	record->event.peer = peer;
	record->event.length = search.length;
	record->event.padding = 0;
	__builtin_memcpy(record->event.peer_comm, search.comm, LIMIT_COMM);
	__builtin_memcpy(record->path, search.name, LIMIT_UNIX_PATH);
	if (refused)
		record->header.flags |= EVENT_REFUSED;
	EMIT_SUBMIT(record);
	return !refused;
}
