/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an agent may still do. A hook asks here instead of having a second program beside it: a second program would cost every
 * call again. The answers come from the agents map and the allow trie alone, which are pinned: what is denied stays denied
 * without the sensor.
 */
#ifndef RUBICON_VERDICT_BPF_H
#define RUBICON_VERDICT_BPF_H

#include "flow.bpf.h"
#include "owner.bpf.h"
#include "packet.bpf.h"

#define ALLOW_FIXED_BITS 96
#define IPV4_BITS 32
#define IPV6_BITS 128

/* The other end of a call or packet. Address as in struct flow, port in host order. */
struct peer {
	__u32 family;
	__u16 port;
	__u8 address[16];
};

/* An IPv4 address in IPv6 clothes reaches the same host. */
static __always_inline void peer_unmap(struct peer *peer)
{
	__u32 *words = (__u32 *)peer->address;

	if (peer->family != AF_INET6 || words[0] || words[1] || words[2] != bpf_htonl(0xFFFF))
		return;
	peer->family = AF_INET;
	words[0] = words[3];
	words[2] = 0;
	words[3] = 0;
}

/* Connecting to the unspecified address reaches this host as well. */
static __always_inline bool peer_loopback(const struct peer *peer)
{
	const __u32 *words = (const __u32 *)peer->address;

	if (peer->family == AF_INET)
		return !words[0] || (words[0] & bpf_htonl(0xFF000000)) == bpf_htonl(0x7F000000);
	return !words[0] && !words[1] && !words[2] && (!words[3] || words[3] == bpf_htonl(1));
}

static __always_inline bool peer_listed(__u64 agent, const struct peer *peer)
{
	struct allow_key key = { .agent = agent, .family = peer->family };
	struct allow *allow;

	key.prefix = ALLOW_FIXED_BITS + (peer->family == AF_INET ? IPV4_BITS : IPV6_BITS);
	__builtin_memcpy(key.address, peer->address, sizeof(key.address));
	allow = LOOKUP(allows, &key);
	if (!allow)
		return false;
	if (!allow->listed)
		return true;
	for (__u32 i = 0; i < LIMIT_ALLOW_PORTS; i++)
		if (i < allow->listed && allow->ports[i] == peer->port)
			return true;
	return false;
}

static __always_inline bool peer_allowed(__u64 agent, __u32 flags, struct peer *peer)
{
	peer_unmap(peer);
	if ((flags & AGENT_LOOPBACK) && peer_loopback(peer))
		return true;
	return (flags & AGENT_ALLOWS) && peer_listed(agent, peer);
}

/* True when an agent with this STATE is isolated from every address. */
static __always_inline bool state_restricted(const struct agent_state *state)
{
	return !(state->flags & (AGENT_LOOPBACK | AGENT_ALLOWS));
}

/* True when a process or socket of an agent with this STATE has no network. MARK: its bits of TAG_PART, or owner_mark. */
static __always_inline bool state_isolates(const struct agent_state *state, __u32 mark)
{
	__u32 part = state->flags & AGENT_PART;

	return (state->flags & AGENT_ISOLATED) && (!part || (mark & AGENT_PART) == part);
}

/* True when this process may not make or bind sockets at all. */
static __always_inline bool verdict_socket(const struct tag *tag)
{
	struct agent_state *state = agent_get(tag->agent);

	if (!state)
		return false;
	if (state->flags & AGENT_CONDEMNED)
		return true;
	return state_isolates(state, tag->flags) && state_restricted(state);
}

/* True when this process may not connect or send to this address: `address` in network order, IPv4 in its first word. */
static __always_inline bool verdict_connect(const struct tag *tag, __u32 family, const __u32 *address, __u16 port)
{
	struct agent_state *state = agent_get(tag->agent);
	struct peer peer = { .family = family, .port = port };

	if (!state)
		return false;
	if (state->flags & AGENT_CONDEMNED)
		return true;
	if (!state_isolates(state, tag->flags))
		return false;
	if (state_restricted(state))
		return true;
	__builtin_memcpy(peer.address, address, sizeof(peer.address));
	return !peer_allowed(tag->agent, state->flags, &peer);
}

/* True when this process may neither connect AF_UNIX sockets nor send a datagram to the path of one. */
static __always_inline bool verdict_unix(const struct tag *tag)
{
	struct agent_state *state = agent_get(tag->agent);

	if (!state)
		return false;
	if (state->flags & AGENT_CONDEMNED)
		return true;
	return state_isolates(state, tag->flags) && (state->flags & AGENT_NO_UNIX);
}

/* True when the agent, or the part of it that is isolated, may not send or get this packet. */
static __always_inline bool verdict_skb(struct __sk_buff *skb, __u64 agent, const struct agent_state *state, __u32 mark,
					bool outbound)
{
	struct packet packet = {};
	struct peer peer = {};

	if (!state_isolates(state, mark))
		return false;
	if (state_restricted(state))
		return true;
	packet_parse(skb, &packet); /* false for a packet without payload, whose addresses are there all the same */
	if (!packet.family)
		return true;
	peer.family = packet.family;
	peer.port = outbound ? packet.destination_port : packet.source_port;
	__builtin_memcpy(peer.address, outbound ? packet.destination : packet.source, sizeof(peer.address));
	return !peer_allowed(agent, state->flags, &peer);
}

/* True when a packet of a socket with this owner must be dropped. */
static __always_inline bool verdict_packet(struct __sk_buff *skb, const struct owner *owner, bool outbound)
{
	struct agent_state *state;

	if (!isolating_on())
		return false;
	if (owner->flags & OWNER_CUT)
		return true;
	state = agent_get(owner->agent);
	return state && verdict_skb(skb, owner->agent, state, owner_mark(owner, state), outbound);
}

/*
 * True when the agent, or the part of it that is isolated, may not have this socket: it leads where the agent may not go. One that leads nowhere yet is denied only
 * to an agent that may reach nobody. For hooks that get a struct sock by BTF.
 */
static __always_inline bool verdict_sock(__u64 agent, __u32 mark, const struct sock *sk)
{
	struct agent_state *state = agent_get(agent);
	struct peer peer = {};

	if (!state || !state_isolates(state, mark))
		return false;
	if (state_restricted(state))
		return true;
	peer.family = sk->__sk_common.skc_family;
	peer.port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (!peer.port)
		return false;
	if (peer.family == AF_INET6)
		ADDRESS_FILL(peer.address, sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0],
			     sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1], sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2],
			     sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
	else
		ADDRESS_FILL(peer.address, sk->__sk_common.skc_daddr, 0, 0, 0);
	return !peer_allowed(agent, state->flags, &peer);
}

#endif
