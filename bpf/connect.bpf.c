// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process connects an IPv4 or IPv6 socket; the place where that is refused. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * connect(2), sendto(MSG_FASTOPEN), IORING_OP_CONNECT (also from an SQPOLL thread, a thread of its process), 32-bit socketcall
 *   __sys_connect_file                                 the address is the kernel's copy from here on
 *     inet_stream_connect / inet_dgram_connect
 *       sk_prot->pre_connect
 *         BPF_CGROUP_RUN_PROG_INET4/6_CONNECT(_LOCK)   <- here: nothing has left yet
 *
 * Why: no user pointer is read, so there is no time-of-check race; io_uring and 32-bit calls pass; EPERM is possible.
 * The owner is set on ctx->sk, not only at creation: for an MPTCP socket ctx->sk is the subflow that the kernel made, which
 * never passed sock_create in the process's name, and sockets made before enrolment have no owner yet.
 * Since 4.17. Cost when not enrolled: one hash lookup per connect. Blind to raw and, before 6.0, ICMP sockets (their packets are
 * seen by payload.bpf.c), and to subflows that the MPTCP path manager adds later from a kernel worker.
 */
static __always_inline int connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct tag *tag = tag_current();
	struct flow_event *record;
	struct owner *owner;
	__u64 cookie, netns, now;
	__u32 address[4] = {};
	bool refused;

	if (!tag)
		return 1;
	if (v6) {
		address[0] = ctx->user_ip6[0];
		address[1] = ctx->user_ip6[1];
		address[2] = ctx->user_ip6[2];
		address[3] = ctx->user_ip6[3];
	} else {
		address[0] = ctx->user_ip4;
	}
	refused = verdict_connect(tag, v6 ? AF_INET6 : AF_INET, address, bpf_ntohs(ctx->user_port));
	cookie = bpf_get_socket_cookie(ctx);
	netns = bpf_get_netns_cookie(ctx);
	now = bpf_ktime_get_boot_ns();
	owner = OWNER_ENSURE_AT(ctx->sk, tag, now);
	if (owner && owner->agent == tag->agent) {
		owner_take(owner, tag);
		owner_restart(owner, now);
		owner->flags |= EVENT_OUTBOUND;
		owner->netns_cookie = netns;
	}
	record = EMIT_RESERVE_AT(flow_event, EVENT_CONNECT, CLASS_FLOW, tag->agent, bpf_get_current_pid_tgid() >> 32,
				 tag->start_time, now);
	if (record) {
		record->header.flags |= EVENT_OUTBOUND | (refused ? EVENT_REFUSED : 0);
		flow_start(&record->flow, cookie, netns, v6 ? AF_INET6 : AF_INET, ctx->type, ctx->protocol);
		if (v6)
			ADDRESS_FILL(record->flow.destination, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				     ctx->user_ip6[3]);
		else
			ADDRESS_FILL(record->flow.destination, ctx->user_ip4, 0, 0, 0);
		record->flow.destination_port = bpf_ntohs(ctx->user_port);
		EMIT_SUBMIT(record);
	}
	return !refused;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return connect(ctx, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return connect(ctx, true);
}
