// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The sockets that isolated agents may not have are destroyed: what waits in them leaves with nobody, not after their end either. */
#include "vmlinux.h"
#include "cgroup.bpf.h"
#include "mptcp.bpf.h"
#include "owner.bpf.h"
#include "verdict.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

/* An agent's socket that never got an owner, by the cgroup that made it; not where a stranger may have made it. 0 for nobody's. */
static __always_inline __u64 maker_of(struct sock *sk)
{
	struct cgroup *cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	struct cgroup_tag *enrolled;
	struct agent_state *state;
	__u64 id;

	for (int level = 0; cgroup && level < CGROUP_LEVELS; level++) {
		id = BPF_CORE_READ(cgroup, kn, id);
		enrolled = LOOKUP(cgroups, &id);
		if (enrolled) {
			state = agent_get(enrolled->agent);
			return state && !(state->flags & AGENT_STRANGER) ? enrolled->agent : 0;
		}
		cgroup = cgroup_parent(cgroup);
	}
	return 0;
}

static __always_inline bool denied(const struct owner *owner, struct sock *sk, struct tcp_sock *tcp)
{
	struct agent_state *state;
	__u64 agent;

	if (owner && (owner->flags & OWNER_CUT))
		return true;
	if (owner && owner->agent) {
		if (verdict_sock(owner->agent, owner_mark(owner, agent_get(owner->agent)), sk))
			return true;
	} else {
		agent = maker_of(sk);
		state = agent ? agent_get(agent) : 0;
		/* whose of it is not known: the isolated part's as well */
		if (state && verdict_sock(agent, state->flags, sk))
			return true;
	}
	agent = tcp ? holder_above(tcp) : 0;
	return agent && verdict_sock(HELD_AGENT(agent), HELD_MARK(agent), sk);
}

static __always_inline int destroy(struct seq_file *seq, struct sock_common *common, struct tcp_sock *tcp)
{
	struct owner *owner = bpf_sk_storage_get(&owners, common, 0, 0);
	struct sock *sk = (struct sock *)common;
	__u64 cookie;

	if (!denied(owner, sk, tcp))
		return 0;
	/* first of all: where it finds no room the kernel asks for this socket again */
	cookie = sk->__sk_common.skc_cookie.counter;
	if (!bpf_seq_write(seq, &cookie, sizeof(cookie)))
		bpf_sock_destroy(common);
	return 0;
}

/*
 * read(2) of the iterator's descriptor
 *   tcp4_seq_show … bpf_iter_tcp_seq_show   <- here: every TCP socket of the reader's network namespace, listeners and those
 *                                              that no process holds any more among them; locked
 *     bpf_sock_destroy -> tcp_abort
 *
 * Why: asked of the socket itself, so it is found wherever it is: closed with data to send, in flight between two processes, made
 * by one that left the cgroup. The verdict is the packet hook's, and a thousand take a millisecond or two.
 * Since 6.5 (bpf_sock_destroy); before, inet_diag (sensor/act/diag.py). No cost but its own run. Each that is destroyed is
 * written to the reader as its cookie (8 bytes; 0 where none was asked for yet).
 */
SEC("iter/tcp")
int destroy_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u8 state;

	if (!common)
		return 0;
	state = common->skc_state;
	/* these are no whole sockets, and have nothing to send */
	if (state == BPF_TCP_TIME_WAIT || state == BPF_TCP_NEW_SYN_RECV)
		return 0;
	return destroy(ctx->meta->seq, common, bpf_skc_to_tcp_sock(common));
}

/* The same for UDP: udp_abort takes the peer from it, and gives its holder an error. */
SEC("iter/udp")
int destroy_udp(struct bpf_iter__udp *ctx)
{
	struct sock *sk = (struct sock *)ctx->udp_sk;

	return sk ? destroy(ctx->meta->seq, (struct sock_common *)sk, 0) : 0;
}
