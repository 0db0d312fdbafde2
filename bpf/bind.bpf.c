// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An agent's process bound an internet socket. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * bind(2), IORING_OP_BIND
 *   __inet_bind / __inet6_bind
 *     sk->sk_prot->get_port                        the kernel picks the port when 0 was asked
 *     BPF_CGROUP_RUN_PROG_INET4/6_POST_BIND   <- here: with the port as it is, still refusable (the port is given back)
 *
 * Why: bind4/6 run before the port is known. An MPTCP socket binds its first subflow, which is what arrives here, so the
 * listener's subflow gets its owner and accepted subflows inherit it.
 * Since 4.17. Cost when not enrolled: one hash lookup per bind. Blind to the implicit bind of connect, listen and sendto; the
 * local side of those is in establish, listen and payload.
 */
static __always_inline int bind(struct bpf_sock *ctx, bool v6)
{
	struct tag *tag = tag_current();
	struct flow_event *record;
	struct owner *owner;
	__u64 cookie, netns;
	bool refused;

	if (!tag)
		return 1;
	refused = verdict_socket(tag);
	cookie = bpf_get_socket_cookie(ctx);
	netns = bpf_get_netns_cookie(ctx);
	owner = OWNER_ENSURE(ctx, tag);
	if (owner)
		owner->netns_cookie = netns;
	record = EMIT_RESERVE(flow_event, EVENT_BIND, CLASS_FLOW, tag->agent, bpf_get_current_pid_tgid() >> 32, tag->start_time);
	if (record) {
		if (refused)
			record->header.flags |= EVENT_REFUSED;
		flow_start(&record->flow, cookie, netns, ctx->family, ctx->type, ctx->protocol);
		if (v6)
			ADDRESS_FILL(record->flow.source, ctx->src_ip6[0], ctx->src_ip6[1], ctx->src_ip6[2], ctx->src_ip6[3]);
		else
			ADDRESS_FILL(record->flow.source, ctx->src_ip4, 0, 0, 0);
		record->flow.source_port = ctx->src_port;
		EMIT_SUBMIT(record);
	}
	return !refused;
}

SEC("cgroup/post_bind4")
int bind4(struct bpf_sock *ctx)
{
	return bind(ctx, false);
}

SEC("cgroup/post_bind6")
int bind6(struct bpf_sock *ctx)
{
	return bind(ctx, true);
}
