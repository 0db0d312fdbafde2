// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The life of an agent's TCP sockets: it listens, its connection is established, its connection ends (how, after how long, with
 * how many bytes). Three facts in one file, because they have one hook, and a second program there would cost every call again.
 */
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h, include/uapi/linux/bpf.h: BPF_TCP_* are held to the same numbers by the kernel's build. */
#define STATE(NAME) ((int)BPF_TCP_##NAME)

/*
 * In process context: the caller of listen(2) is current. A listener that never bound gets its owner here; its port is picked
 * right after this, so the record has port 0 and the accepted connections tell it.
 */
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
 * An accepted socket has a copy of its listener's owner (BPF_F_CLONE, in sk_clone_lock), and its counts begin here. Both
 * sequence numbers are final and no payload was taken in, so the packet hook knows what is new.
 */
static __always_inline int establish(struct sock *sk, struct owner *owner, struct tcp_sock *tcp, bool outbound)
{
	__u64 cookie = bpf_get_socket_cookie(sk), now = bpf_ktime_get_boot_ns();
	struct flow_event *record;

	if (!outbound)
		owner_restart(owner, now);
	/* payload in a Fast Open SYN was counted already: then that count stands */
	if (!(owner->flags & OWNER_IN_SYNCED))
		owner->next_in = tcp->rcv_nxt;
	if (!(owner->flags & OWNER_OUT_SYNCED))
		owner->next_out = tcp->snd_nxt;
	BITS_SET(&owner->flags, OWNER_IN_SYNCED | OWNER_OUT_SYNCED | (outbound ? EVENT_OUTBOUND : 0));
	record = EMIT_RESERVE_AT(flow_event, EVENT_ESTABLISH, CLASS_FLOW, owner->agent, owner->pid, owner->start_time, now);
	if (!record)
		return 0;
	record->header.tid = 0;
	record->header.flags |= EVENT_BY_OWNER | (outbound ? EVENT_OUTBOUND : 0);
	flow_from_sock(&record->flow, sk, owner->netns_cookie);
	record->flow.cookie = cookie;
	EMIT_SUBMIT(record);
	return 0;
}

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

	if (state == STATE(SYN_SENT)) {
		unacknowledged = 0; /* the SYN */
		sent = 0;
	} else if (unacknowledged && state != STATE(ESTABLISHED) && state != STATE(CLOSE_WAIT)) {
		unacknowledged--; /* the FIN */
	}
	record->bytes_sent = sent > unacknowledged ? sent - unacknowledged : 0;
	if (received && (sk->__sk_common.skc_flags & (1UL << SOCK_DONE)))
		received--; /* tcp_fin sets SOCK_DONE */
	record->bytes_received = received;
}

static __always_inline int close(struct sock *sk, struct owner *owner, struct tcp_sock *tcp, int state)
{
	struct close_event *record;
	int error = sk->sk_err;

	record = EMIT_RESERVE(close_event, EVENT_CLOSE, CLASS_FLOW, owner->agent, owner->pid, owner->start_time);
	if (!record)
		return 0;
	record->header.tid = 0;
	record->header.flags |= EVENT_BY_OWNER | (owner->flags & (EVENT_OUTBOUND | EVENT_SSH));
	flow_from_sock(&record->flow, sk, owner->netns_cookie);
	/* the port has been given back already (skc_num is 0), but not forgotten */
	record->flow.source_port = bpf_ntohs(tcp->inet_conn.icsk_inet.inet_sport);
	bytes_fill(record, tcp, state);
	record->duration_ns = record->header.time_ns > owner->opened_ns ? record->header.time_ns - owner->opened_ns : 0;
	record->error = error;
	if (state == STATE(SYN_SENT))
		record->reason = CLOSE_REFUSED;
	else if (error || state == STATE(ESTABLISHED) || state == STATE(CLOSE_WAIT))
		record->reason = CLOSE_RESET; /* an orderly end passes FIN_WAIT, CLOSING or LAST_ACK */
	else
		record->reason = CLOSE_CLOSED;
	EMIT_SUBMIT(record);
	return 0;
}

/*
 * listen(2)                     SYN+ACK of the peer, or ACK of ours    last ACK, reset, timeout, SOCK_DESTROY, close(2)
 *   inet_csk_listen_start         tcp_rcv_state_process                  tcp_done / tcp_close / tcp_time_wait
 *     inet_sk_state_store           tcp_set_state                          tcp_set_state
 *       trace_inet_sock_set_state     trace_inet_sock_set_state              trace_inet_sock_set_state   <- here
 *
 * Why: the one place that every TCP socket passes at each turn of its life, with addresses and counters still there, also when
 * its process is long dead (the tag is gone then: the owner is in the socket). No hook but this, sockops and syscall tracepoints
 * sees an accept; sockops is called some ten times a connection and cannot be asked for adopted sockets' ends.
 * Mostly softirq: the process is the socket's owner, not current.
 * Since 4.16; the socket's storage is open to this hook since 5.11 (before: establish.bpf.c). Cost when not enrolled: 60 ns a
 * state change. Blind to connects that fail before a SYN (no route) and to which process of the owner's tree accepts.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tcp;
	struct owner *owner;

	if (newstate != STATE(ESTABLISHED) && newstate != STATE(CLOSE)) {
		if (newstate == STATE(LISTEN) && sk->sk_protocol == IPPROTO_TCP)
			return listen(sk);
		return 0;
	}
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (!owner || !owner->agent)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk); /* NULL for the socket above MPTCP's subflows */
	if (!tcp)
		return 0;
	if (newstate == STATE(ESTABLISHED))
		return establish(sk, owner, tcp, oldstate == STATE(SYN_SENT));
	if (oldstate == STATE(CLOSE) || oldstate == STATE(LISTEN) || oldstate == STATE(SYN_RECV) ||
	    oldstate == STATE(NEW_SYN_RECV))
		return 0;
	return close(sk, owner, tcp, oldstate);
}
