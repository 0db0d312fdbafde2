/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a subflow, through which MPTCP's packets leave, to whoever holds the socket above it. */
#ifndef RUBICON_MPTCP_BPF_H
#define RUBICON_MPTCP_BPF_H

#include "maps.bpf.h"
#include <bpf/bpf_core_read.h>

/* Who holds the MPTCP socket above this one, where this is a subflow; 0 for nobody's. */
static __always_inline __u64 holder_above(struct tcp_sock *tcp)
{
	struct mptcp_subflow_context *subflow;
	__u64 cookie, *agent;

	if (!bpf_core_field_exists(tcp->is_mptcp) || !tcp->is_mptcp)
		return 0;
	subflow = BPF_CORE_READ(tcp, inet_conn.icsk_ulp_data);
	cookie = BPF_CORE_READ(subflow, conn, __sk_common.skc_cookie.counter);
	agent = LOOKUP(held_mptcp, &cookie);
	return agent ? *agent : 0;
}

#endif
