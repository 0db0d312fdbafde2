// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An isolated agent sends through a socket that somebody else made, connected and handed over. */
#include "vmlinux.h"
#include "held.bpf.h"
#include "mptcp.bpf.h"
#include "verdict.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

#define PASS 1
#define DROP 0

/*
 * sendto(2), write(2), sendfile(2), splice(2), IORING_OP_SEND …
 *   sock_sendmsg_nosec
 *     tcp_sendmsg …                    what can leave at once leaves here, see below
 *     trace_sock_send_length           <- here, in the sender's context
 *
 * Why: no hook sees a descriptor arrive, nor a send through a connected socket before it has happened; this one is the first that
 * has socket and sender. From here on the socket has an owner, or is cut, so that nothing waits in it for an acknowledgement or
 * a timer to carry it out; an acknowledgement that comes between the send and this, on another CPU, may carry out what was corked.
 * Since 6.3. Attached while somebody is isolated; then 40 ns a send for everybody.
 */
SEC("tp_btf/sock_send_length")
int BPF_PROG(handed_send, struct sock *sk, int result, int flags)
{
	struct tag *tag = tag_current();
	struct agent_state *state;

	if (!tag || !sock_inet(sk))
		return 0;
	state = agent_get(tag->agent);
	if (state && state_isolates(state, tag->flags))
		held(sk, tag, bpf_get_current_pid_tgid() >> 32);
	return 0;
}

/*
 * The process that sends a datagram is current; not so for the kernel's own sockets, which no process has a file of and which
 * answer in the middle of an interrupt.
 */
static __always_inline bool datagram_of_current(struct bpf_sock *ctx)
{
	struct sock *sk = bpf_rdonly_cast(ctx, bpf_core_type_id_kernel(struct sock));

	return sk->sk_socket && sk->sk_socket->file;
}

/* TCP is sent by an interrupt, for anybody, or by whoever has locked the socket: never by both. */
static __always_inline bool segment_of_current(const struct tcp_sock *tcp)
{
	return tcp->inet_conn.icsk_inet.sk.sk_lock.owned;
}

/*
 * ip_finish_output / ip6_finish_output
 *   BPF_CGROUP_RUN_PROG_INET_EGRESS   <- here
 *
 * Why: the first bytes through such a socket leave inside the send, before the hook above; here the packet is met on its way, and
 * asked who sends it. TCP keeps what is dropped and repeats it: the socket is cut. MPTCP may send later, from anywhere: its
 * subflows are asked who holds the socket above them.
 * Since 6.10 (bpf_get_current_pid_tgid in packet programs). On the root, while somebody is isolated: 90 ns a packet then.
 */
SEC("cgroup_skb/egress")
int handed_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tcp;
	struct owner *owner;
	struct agent_state *state;
	struct tag *tag;
	__u64 agent;
	__u32 mark;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk)
		return PASS;
	tcp = bpf_skc_to_tcp_sock(sk);
	agent = tcp ? holder_above(tcp) : 0;
	mark = HELD_MARK(agent);
	agent = HELD_AGENT(agent);
	tag = tag_current();
	if (tag && (tcp ? segment_of_current(tcp) : datagram_of_current(sk))) {
		state = agent_get(tag->agent);
		/* whoever sends counts where he may not; else who holds the socket above */
		if (!agent || (state && state_isolates(state, tag->flags))) {
			agent = tag->agent;
			mark = tag->flags;
		}
	}
	state = agent ? agent_get(agent) : 0;
	if (!state || !verdict_skb(skb, agent, state, mark, true))
		return PASS;
	owner = tcp ? bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
	if (owner && owner->agent != agent)
		BITS_SET(&owner->flags, OWNER_CUT);
	else if (owner && owner_mark(owner, state) != (state->flags & AGENT_PART))
		owner_mark_set(owner, state->flags & AGENT_PART, 0);
	return packet_reset(skb) ? PASS : DROP; /* as payload.bpf.c */
}
