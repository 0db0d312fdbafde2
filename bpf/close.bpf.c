// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A TCP socket of an agent began to listen, or its connection ended: how, after how long, with how many bytes. */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* linux/tcp_states.h; an anonymous enum there */
#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_SYN_RECV 3
#define STATE_CLOSE 7
#define STATE_CLOSE_WAIT 8
#define STATE_LISTEN 10
#define STATE_NEW_SYN_RECV 12

/*
 * Payload bytes each way. TCP's own counters take in what is not payload: bytes_received has the FIN, bytes_sent has
 * retransmissions, and what is sent but not acknowledged was not delivered. A FIN of ours may be among that last part.
 */
static __always_inline void bytes_fill(struct close_event *record, struct tcp_sock *tcp, int state)
{
	struct sock *sk = (struct sock *)tcp;
	__u64 sent = tcp->bytes_sent - tcp->bytes_retrans;
	__u32 unacknowledged = tcp->snd_nxt - tcp->snd_una;
	__u64 received = tcp->bytes_received;

	if (state == STATE_SYN_SENT) {
		unacknowledged = 0; /* the SYN */
		sent = 0;
	}
	if (unacknowledged && state != STATE_ESTABLISHED && state != STATE_CLOSE_WAIT && state != STATE_SYN_SENT)
		unacknowledged--; /* the FIN */
	record->bytes_sent = sent > unacknowledged ? sent - unacknowledged : 0;
	/* tcp_fin sets SOCK_DONE */
	if (received && (sk->__sk_common.skc_flags & (1UL << SOCK_DONE)))
		received--;
	record->bytes_received = received;
}

static __always_inline int listen(struct sock *sk)
{
	struct tag *tag = tag_current();
	struct flow_event *record;
	struct owner *owner;

	if (!tag)
		return 0;
	owner = OWNER_ENSURE(sk, tag);
	if (owner && !owner->netns_cookie)
		owner->netns_cookie = sk->__sk_common.skc_net.net->net_cookie;
	record =
		EMIT_RESERVE(flow_event, EVENT_LISTEN, CLASS_FLOW, tag->agent, bpf_get_current_pid_tgid() >> 32, tag->start_time);
	if (record) {
		flow_from_sock(&record->flow, sk, owner ? owner->netns_cookie : 0);
		EMIT_SUBMIT(record);
	}
	return 0;
}

/*
 * listen(2)                                 the last ACK, a reset, a timeout, close(2) with unread data, SOCK_DESTROY
 *   inet_csk_listen_start                     tcp_done / tcp_close / tcp_time_wait
 *     inet_sk_state_store(TCP_LISTEN)           tcp_set_state(TCP_CLOSE)
 *       trace_inet_sock_set_state                 trace_inet_sock_set_state
 *
 * Why: the one place that every end of a connection passes, with the counters still there, also when the process is long dead
 * (its tag is gone then: the owner is in the socket). At listen the caller is current, so a listener that never bound gets its
 * owner here, which the accepted sockets inherit.
 * Since 4.16; the socket's storage is open to this hook since 5.11. Cost when not enrolled: one look into the socket at
 * TCP_CLOSE, one hash lookup at listen. Blind to connects that fail before a SYN (no route).
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(close, struct sock *sk, int oldstate, int newstate)
{
	struct close_event *record;
	struct tcp_sock *tcp;
	struct owner *owner;
	int error;

	if (newstate == STATE_LISTEN)
		return sk->sk_protocol == IPPROTO_TCP ? listen(sk) : 0;
	if (newstate != STATE_CLOSE)
		return 0;
	if (oldstate == STATE_CLOSE || oldstate == STATE_LISTEN || oldstate == STATE_SYN_RECV || oldstate == STATE_NEW_SYN_RECV)
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (!owner || !owner->agent)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk); /* NULL for the socket above MPTCP's subflows */
	if (!tcp)
		return 0;
	record = EMIT_RESERVE(close_event, EVENT_CLOSE, CLASS_FLOW, owner->agent, owner->pid, owner->start_time);
	if (!record)
		return 0;
	error = sk->sk_err;
	record->header.tid = 0; /* current may be anybody: most ends come in softirq */
	record->header.flags |= EVENT_BY_OWNER | (owner->flags & (EVENT_OUTBOUND | EVENT_SSH));
	flow_from_sock(&record->flow, sk, owner->netns_cookie);
	/* the port has been given back already (skc_num is 0), but not forgotten */
	record->flow.source_port = bpf_ntohs(tcp->inet_conn.icsk_inet.inet_sport);
	bytes_fill(record, tcp, oldstate);
	record->duration_ns = record->header.time_ns > owner->opened_ns ? record->header.time_ns - owner->opened_ns : 0;
	record->error = error;
	if (oldstate == STATE_SYN_SENT)
		record->reason = CLOSE_REFUSED;
	else if (error || oldstate == STATE_ESTABLISHED || oldstate == STATE_CLOSE_WAIT)
		record->reason = CLOSE_RESET; /* an orderly end passes FIN_WAIT, CLOSING or LAST_ACK */
	else
		record->reason = CLOSE_CLOSED;
	EMIT_SUBMIT(record);
	return 0;
}
