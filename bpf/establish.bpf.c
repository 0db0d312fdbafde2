// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A TCP connection of an agent reached ESTABLISHED, in either direction: for kernels (before 5.11) that refuse state.bpf.c, which
 * tells this and more from one hook. Never attached beside it.
 */
#define EMIT_TID 0
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The compiler must not join two fields' loads into one through a computed address: the verifier refuses that for a context. */
#define WORD(FIELD) (*(volatile __u32 *)&(FIELD))

/*
 * tcp_finish_connect (the peer's SYN+ACK came)          tcp_rcv_state_process (the ACK of our SYN+ACK came)
 *   tcp_init_transfer(ACTIVE_ESTABLISHED_CB)              tcp_init_transfer(PASSIVE_ESTABLISHED_CB)
 *     BPF_CGROUP_RUN_PROG_SOCK_OPS   <- here                 BPF_CGROUP_RUN_PROG_SOCK_OPS   <- here
 *
 * Why: both sides of the flow and both sequence numbers are final and no payload has been taken in yet. It runs in softirq, so
 * the process is the socket's owner. An accepted socket has a copy of its listener's owner (BPF_F_CLONE in sk_clone_lock),
 * which begins its own counts here. No other hook but a syscall tracepoint or fentry sees an accept.
 * Since 4.13. Cost when not enrolled: sockops runs a few times per TCP connection of anybody, and leaves at a switch or at
 * one look into the socket; no callback is switched on for any socket. Blind to which process of the owner's tree accepts.
 */
SEC("sockops")
int establish(struct bpf_sock_ops *ctx)
{
	bool outbound = ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	struct flow_event *record;
	struct owner *owner;
	struct bpf_sock *sk;
	__u64 cookie;

	if (!outbound && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (!owner || !owner->agent)
		return 1;
	if (!outbound)
		owner_restart(owner, bpf_ktime_get_boot_ns());
	/* payload of a TFO SYN is known already: then the packet hook's count stands */
	if (!(owner->flags & OWNER_IN_SYNCED))
		owner->next_in = ctx->rcv_nxt;
	if (!(owner->flags & OWNER_OUT_SYNCED))
		owner->next_out = ctx->snd_nxt;
	owner->flags |= OWNER_IN_SYNCED | OWNER_OUT_SYNCED | (outbound ? EVENT_OUTBOUND : 0);
	cookie = bpf_get_socket_cookie(ctx);
	record = EMIT_RESERVE(flow_event, EVENT_ESTABLISH, CLASS_FLOW, owner->agent, owner->pid, owner->start_time);
	if (!record)
		return 1;
	record->header.flags |= EVENT_BY_OWNER | (outbound ? EVENT_OUTBOUND : 0);
	flow_start(&record->flow, cookie, owner->netns_cookie, ctx->family, SOCK_STREAM, IPPROTO_TCP);
	if (ctx->family == AF_INET6) {
		ADDRESS_FILL(record->flow.source, WORD(ctx->local_ip6[0]), WORD(ctx->local_ip6[1]), WORD(ctx->local_ip6[2]),
			     WORD(ctx->local_ip6[3]));
		ADDRESS_FILL(record->flow.destination, WORD(ctx->remote_ip6[0]), WORD(ctx->remote_ip6[1]),
			     WORD(ctx->remote_ip6[2]), WORD(ctx->remote_ip6[3]));
	} else {
		ADDRESS_FILL(record->flow.source, WORD(ctx->local_ip4), 0, 0, 0);
		ADDRESS_FILL(record->flow.destination, WORD(ctx->remote_ip4), 0, 0, 0);
	}
	record->flow.source_port = ctx->local_port;
	record->flow.destination_port = bpf_ntohl(ctx->remote_port);
	EMIT_SUBMIT(record);
	return 1;
}
