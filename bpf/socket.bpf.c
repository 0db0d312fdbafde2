// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process made an internet socket. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "mptcp.bpf.h"
#include "owner.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * socket(2), IORING_OP_SOCKET, 32-bit socketcall
 *   __sock_create
 *     inet_create / inet6_create
 *       BPF_CGROUP_RUN_PROG_INET_SOCK   <- here: the socket is whole, its process is current
 *
 * Why: every way to an internet socket ends here, io_uring too, and a refusal reaches the caller as EPERM.
 * Since 4.10; with the tag lookup since 5.10. Cost when not enrolled: one hash lookup per socket.
 * Blind to AF_UNIX, AF_PACKET, AF_VSOCK and AF_NETLINK (they pass no cgroup hook) and to sockets that the kernel makes for
 * itself (the subflows of an MPTCP socket: see connect.bpf.c).
 */
SEC("cgroup/sock_create")
int socket_create(struct bpf_sock *ctx)
{
	struct tag *tag = tag_current();
	struct flow_event *record;
	struct owner *owner;
	__u64 cookie, netns, now;
	bool refused;

	if (!tag)
		return 1;
	refused = verdict_socket(tag);
	cookie = bpf_get_socket_cookie(ctx);
	netns = bpf_get_netns_cookie(ctx);
	now = bpf_ktime_get_boot_ns();
	owner = OWNER_ENSURE_AT(ctx, tag, now);
	if (owner)
		owner->netns_cookie = netns;
	if (ctx->protocol == IPPROTO_MPTCP)
		held_above(cookie, tag); /* subflows that come later are the kernel's own */
	record = EMIT_RESERVE_AT(flow_event, EVENT_SOCKET, CLASS_BULK, tag->agent, bpf_get_current_pid_tgid() >> 32,
				 tag->start_time, now);
	if (record) {
		if (refused)
			record->header.flags |= EVENT_REFUSED;
		flow_start(&record->flow, cookie, netns, ctx->family, ctx->type, ctx->protocol);
		EMIT_SUBMIT(record);
	}
	return !refused;
}
