// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process connects an AF_UNIX socket: how work by proxy is asked for (tmux, docker, D-Bus, systemd). */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The kernel's own context: the path is not in the one that programs get. Since 6.2. */
extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

struct unix_connect_record {
	union {
		struct unix_connect_event event;
		struct event_header header;
	};
	char path[LIMIT_UNIX_PATH];
	__u32 padding;
};

#define FAMILY_BYTES 2

/*
 * connect(2), IORING_OP_CONNECT
 *   unix_stream_connect / unix_dgram_connect
 *     BPF_CGROUP_RUN_PROG_UNIX_CONNECT(_LOCK)   <- here: the address is the kernel's copy
 *
 * Why: the path as the kernel will look it up, abstract names too, refusable. Since 6.7 (attach type 49); an object of its own,
 * so that an older kernel loses this fact only. The path is as the caller wrote it: relative to its working directory.
 * Cost when not enrolled: one hash lookup per connect of a Unix socket. Blind to sendto on an unconnected datagram socket
 * (cgroup/sendmsg_unix would see it) and to socketpairs.
 */
SEC("cgroup/connect_unix")
int unix_connect(struct bpf_sock_addr *ctx)
{
	struct tag *tag = tag_current();
	struct unix_connect_record *record;
	struct bpf_sock_addr_kern *kernel;
	__u64 cookie;
	bool refused;
	__u32 length;

	if (!tag)
		return 1;
	refused = verdict_unix(tag->agent);
	cookie = bpf_get_socket_cookie(ctx);
	kernel = bpf_cast_to_kern_ctx(ctx);
	length = kernel->uaddrlen;
	length = length > FAMILY_BYTES ? length - FAMILY_BYTES : 0;
	if (length > LIMIT_UNIX_PATH)
		length = LIMIT_UNIX_PATH;
	record = EMIT_RESERVE(unix_connect_record, EVENT_UNIX_CONNECT, CLASS_FLOW, tag->agent, bpf_get_current_pid_tgid() >> 32,
			      tag->start_time);
	if (!record)
		return !refused;
	record->event.cookie = cookie;
	record->event.length = 0;
	record->event.padding = 0;
	if (refused)
		record->header.flags |= EVENT_REFUSED;
	if (length && !bpf_probe_read_kernel(record->path, length, (char *)kernel->uaddr + FAMILY_BYTES)) {
		record->event.length = length;
		/* a path ends at its NUL, which callers may or may not count in; an abstract name begins with one and may hold more */
		for (__u32 i = 0; i < LIMIT_UNIX_PATH && record->path[0]; i++) {
			if (i >= length || !record->path[i]) {
				record->event.length = i;
				break;
			}
		}
	}
	EMIT_SUBMIT(record);
	return !refused;
}
