/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow part of records, filled from what each kind of hook has at hand. source is always the agent's side.
 * Macros where the argument is a hook's context: the verifier wants each context read with a constant offset.
 */
#ifndef RUBICON_FLOW_BPF_H
#define RUBICON_FLOW_BPF_H

#include "events.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10

/* Sixteen bytes of an address, from four words in network order. */
#define ADDRESS_FILL(TARGET, WORD0, WORD1, WORD2, WORD3)                   \
	({                                                                 \
		__u32 __words[4] = { (WORD0), (WORD1), (WORD2), (WORD3) }; \
		__builtin_memcpy((TARGET), __words, sizeof(__words));      \
	})

/* A socket without addresses yet. The record is not zeroed by the ring, so every byte is written here. */
static __always_inline void flow_start(struct flow *flow, __u64 cookie, __u64 netns_cookie, __u32 family, __u32 type,
				       __u32 protocol)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->cookie = cookie;
	flow->netns_cookie = netns_cookie;
	flow->family = family;
	flow->type = type;
	flow->protocol = protocol;
}

/* Both sides of a kernel socket, for hooks that get a struct sock by BTF. */
static __always_inline void flow_from_sock(struct flow *flow, const struct sock *sk, __u64 netns_cookie)
{
	flow_start(flow, sk->__sk_common.skc_cookie.counter, netns_cookie, sk->__sk_common.skc_family, sk->sk_type,
		   sk->sk_protocol);
	if (sk->__sk_common.skc_family == AF_INET6) {
		ADDRESS_FILL(flow->source, sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0],
			     sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1],
			     sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2],
			     sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
		ADDRESS_FILL(flow->destination, sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0],
			     sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1], sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2],
			     sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
	} else {
		ADDRESS_FILL(flow->source, sk->__sk_common.skc_rcv_saddr, 0, 0, 0);
		ADDRESS_FILL(flow->destination, sk->__sk_common.skc_daddr, 0, 0, 0);
	}
	flow->source_port = sk->__sk_common.skc_num;
	flow->destination_port = bpf_ntohs(sk->__sk_common.skc_dport);
}

#endif
