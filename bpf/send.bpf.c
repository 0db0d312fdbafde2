// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process sent a datagram to a destination that it named in the call. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * sendto(2), sendmsg(2), sendmmsg(2), IORING_OP_SEND(MSG)
 *   udp_sendmsg / udpv6_sendmsg
 *     BPF_CGROUP_RUN_PROG_UDP4/6_SENDMSG_LOCK   <- here, only when the call names an address
 *
 * Why: the destination is the kernel's copy, per datagram, and can be refused. A connected UDP socket passes connect4/6 instead.
 * Since 4.18. Cost when not enrolled: one hash lookup per such datagram. Bounded: see send_worth (owner.bpf.h), and the class's budget.
 * Blind to raw and ICMP sockets (their packets are seen by payload.bpf.c).
 */
static __always_inline int send(struct bpf_sock_addr *ctx, bool v6)
{
	struct tag *tag = tag_current();
	struct flow_event *record;
	struct owner *owner;
	bool refused;
	__u32 hash, address[4] = {};

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
	owner = OWNER_ENSURE(ctx->sk, tag);
	hash = v6 ? ctx->user_ip6[0] * 31 + ctx->user_ip6[1] * 37 + ctx->user_ip6[2] * 41 + ctx->user_ip6[3] * 43 : ctx->user_ip4;
	hash = (hash ^ ctx->user_port) * 2654435761U;
	if (owner && !send_worth(owner, hash) && !refused)
		return 1;
	record = EMIT_RESERVE(flow_event, EVENT_SEND, CLASS_BULK, tag->agent, bpf_get_current_pid_tgid() >> 32, tag->start_time);
	if (record) {
		record->header.flags |= EVENT_OUTBOUND | (refused ? EVENT_REFUSED : 0);
		/* the address's family: an IPv6 socket sends to a mapped address through sendmsg4 */
		flow_start(&record->flow, bpf_get_socket_cookie(ctx), bpf_get_netns_cookie(ctx), v6 ? AF_INET6 : AF_INET,
			   ctx->type, ctx->protocol);
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

SEC("cgroup/sendmsg4")
int send4(struct bpf_sock_addr *ctx)
{
	return send(ctx, false);
}

SEC("cgroup/sendmsg6")
int send6(struct bpf_sock_addr *ctx)
{
	return send(ctx, true);
}
