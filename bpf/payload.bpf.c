// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What an agent's flows carry: their first bytes each way, the sizes of their packets, whether they speak SSH. */
#define EMIT_TID 0
#include "vmlinux.h"
#include "emit.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include "packet.bpf.h"
#include "verdict.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PASS 1
#define DROP 0
#define CGROUP_LEVELS 8
#define SILENCE_NS 20000000ULL /* an SSH packet after this much silence its way is recorded: at most 50 a second each way */

struct payload_record {
	union {
		struct payload_event event;
		struct event_header header;
	};
	__u8 data[LIMIT_PAYLOAD];
};

static __always_inline bool says_ssh(const __u8 *bytes)
{
	return bytes[0] == 'S' && bytes[1] == 'S' && bytes[2] == 'H' && bytes[3] == '-';
}

/*
 * Look for the banner (RFC 4253, 4.2) at the start of the stream, however small the pieces it comes in, and at the start of
 * each packet: behind a proxy's answer, or after the lines that a server may send before it. True when this packet has it.
 * A flow that turns out to be SSH may show its first payloads anew: the key exchange, which says who is the server, follows.
 */
static __always_inline bool ssh_look(struct __sk_buff *skb, struct owner *owner, const struct packet *packet, __u8 *head,
				     __u64 offset)
{
	__u8 bytes[LIMIT_HEAD] = {};
	bool found;

	found = packet->length >= LIMIT_HEAD && !bpf_skb_load_bytes(skb, packet->payload, bytes, LIMIT_HEAD) && says_ssh(bytes);
	if (offset < LIMIT_HEAD) {
		for (__u32 i = 0; i < LIMIT_HEAD; i++)
			if (i >= offset && i - offset < packet->length)
				bpf_skb_load_bytes(skb, packet->payload + i - (__u32)offset, &head[i], 1);
		found |= says_ssh(head);
	}
	if (found && !(owner->flags & EVENT_SSH)) {
		BITS_SET(&owner->flags, EVENT_SSH);
		owner->payloads_in = 0;
		owner->payloads_out = 0;
	}
	return found;
}

static __always_inline void flow_fill(struct flow *flow, struct __sk_buff *skb, const struct owner *owner,
				      const struct packet *packet, __u32 type, bool outbound)
{
	flow_start(flow, bpf_get_socket_cookie(skb), owner->netns_cookie, packet->family, type, packet->protocol);
	__builtin_memcpy(flow->source, outbound ? packet->source : packet->destination, sizeof(flow->source));
	__builtin_memcpy(flow->destination, outbound ? packet->destination : packet->source, sizeof(flow->destination));
	flow->source_port = outbound ? packet->source_port : packet->destination_port;
	flow->destination_port = outbound ? packet->destination_port : packet->source_port;
}

static __always_inline void payload_emit(struct __sk_buff *skb, const struct owner *owner, const struct packet *packet,
					 __u32 type, __u64 offset, bool outbound)
{
	struct payload_record *record;
	__u32 kept = packet->length, last;

	record = EMIT_RESERVE(payload_record, EVENT_PAYLOAD, CLASS_PAYLOAD, owner->agent, owner->pid, owner->start_time);
	if (!record)
		return;
	record->header.flags |= EVENT_BY_OWNER | (outbound ? EVENT_OUTBOUND : 0) | (owner->flags & EVENT_SSH);
	flow_fill(&record->event.flow, skb, owner, packet, type, outbound);
	record->event.offset = offset;
	record->event.length = packet->length;
	if (kept > LIMIT_PAYLOAD)
		kept = LIMIT_PAYLOAD;
	/* what an older verifier can follow: one register, compared and used, that makes a size which is not 0 */
	last = kept - 1;
	barrier_var(last);
	if (last >= LIMIT_PAYLOAD || bpf_skb_load_bytes(skb, packet->payload, record->data, last + 1))
		kept = 0;
	record->event.kept = kept;
	EMIT_SUBMIT(record);
}

static __always_inline void packet_emit(struct __sk_buff *skb, const struct owner *owner, const struct packet *packet, __u32 type,
					__u64 offset, __u32 index, bool outbound)
{
	struct packet_event *record;

	record = EMIT_RESERVE(packet_event, EVENT_PACKET, CLASS_BULK, owner->agent, owner->pid, owner->start_time);
	if (!record)
		return;
	record->header.flags |= EVENT_BY_OWNER | (outbound ? EVENT_OUTBOUND : 0) | (owner->flags & EVENT_SSH);
	flow_fill(&record->flow, skb, owner, packet, type, outbound);
	record->offset = offset;
	record->length = packet->length;
	record->index = index;
	EMIT_SUBMIT(record);
}

/*
 * Where this packet's payload stands in its direction of the flow; false when nothing in it is new (a retransmission).
 * Moves the flow's counters. Datagrams simply add up.
 */
static __always_inline bool payload_count(struct owner *owner, const struct packet *packet, bool outbound, __u64 *offset)
{
	__u32 synced = outbound ? OWNER_OUT_SYNCED : OWNER_IN_SYNCED;
	__u64 *bytes = outbound ? &owner->bytes_out : &owner->bytes_in;
	__u32 *next = outbound ? &owner->next_out : &owner->next_in;
	__s32 ahead;

	*offset = *bytes;
	if (packet->protocol != PROTOCOL_TCP) {
		*bytes += packet->length;
		return true;
	}
	if (!(owner->flags & synced)) {
		/* a flow older than its owner: counted from here */
		BITS_SET(&owner->flags, synced); /* the other direction may set its own on another CPU */
		*next = packet->sequence;
	}
	ahead = packet->sequence - *next; /* negative: overlaps what was seen; positive: a gap, filled later */
	*offset += (__s64)ahead;
	ahead += packet->length;
	if (ahead <= 0)
		return false;
	*bytes += ahead;
	*next += ahead;
	return true;
}

/* The per-packet part, for a socket that has an owner: count, look, record. */
static __always_inline void packet_see(struct __sk_buff *skb, struct owner *owner, __u32 type, bool outbound)
{
	struct packet packet = {};
	__u16 *payloads;
	__u32 index;
	__u64 offset, now, last;
	bool early, banner = false;

	if (!packet_parse(skb, &packet) || !payload_count(owner, &packet, outbound, &offset))
		return;
	index = outbound ? owner->packets_out++ : owner->packets_in++;
	early = owner->packets_in + owner->packets_out <= LIMIT_PACKETS;
	if (early)
		banner = ssh_look(skb, owner, &packet, outbound ? owner->head_out : owner->head_in, offset);
	payloads = outbound ? &owner->payloads_out : &owner->payloads_in;
	if (banner || *payloads < LIMIT_PAYLOAD_RECORDS) {
		*payloads += 1;
		payload_emit(skb, owner, &packet, type, offset, outbound);
	}
	if (owner->flags & EVENT_SSH) {
		now = bpf_ktime_get_boot_ns();
		last = outbound ? owner->last_out_ns : owner->last_in_ns;
		if (outbound)
			owner->last_out_ns = now;
		else
			owner->last_in_ns = now;
		early |= now - last >= SILENCE_NS;
	}
	if (early)
		packet_emit(skb, owner, &packet, type, offset, index, outbound);
}

/* True when the packet's cgroup, or one above it, has per-packet programs of its own: on the root it was or will be seen there. */
static __always_inline bool watched_below(struct __sk_buff *skb)
{
	struct cgroup_tag *tag;
	__u64 id;

	for (int level = 1; level <= CGROUP_LEVELS; level++) {
		id = bpf_skb_ancestor_cgroup_id(skb, level);
		if (!id)
			return false;
		tag = LOOKUP(cgroups, &id);
		if (tag)
			return true;
	}
	return false;
}

static __always_inline int payload(struct __sk_buff *skb, bool outbound, bool on_root)
{
	struct bpf_sock *sk = skb->sk;
	struct owner *owner;

	if (!sk)
		return PASS;
	/* half of all packets, and all of a connect and close: nothing to record, and the cheapest question first */
	if (packet_empty(skb) && !isolating_on())
		return PASS;
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (!owner)
		return PASS;
	if (verdict_packet(skb, owner, outbound))
		return outbound && packet_reset(skb) ? PASS : DROP; /* the other end learns that it is over */
	if (!owner->agent)
		return PASS;
	/* the rest of a long flow: nothing to record, close has the byte counts from TCP itself */
	if (owner->packets_in + owner->packets_out >= LIMIT_PACKETS && !(owner->flags & EVENT_SSH))
		return PASS;
	if (packet_empty(skb))
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	/* a listener's packets belong to no flow yet (the ACK that completes a handshake) */
	if (sk->state == BPF_TCP_LISTEN && sk->protocol == PROTOCOL_TCP)
		return PASS;
	if (on_root && watched_below(skb))
		return PASS;
	packet_see(skb, owner, sk->type, outbound);
	return PASS;
}

/*
 * tcp_v4_rcv, udp_queue_rcv_skb, raw_rcv …                  ip_output / ip6_output
 *   sk_filter_trim_cap                                        ip_finish_output / ip6_finish_output
 *     BPF_CGROUP_RUN_PROG_INET_INGRESS   <- here                 BPF_CGROUP_RUN_PROG_INET_EGRESS   <- here
 *
 * Why: every packet with its socket, on any port and from any client, before it is delivered or leaves; it can be dropped.
 * Attached to the agent's own cgroup (a socket belongs to the cgroup of its creator), to the root only while something has
 * left its cgroup or is isolated. Since 4.10. Cost when not enrolled: none (on the root: one look into the socket a packet).
 *
 * A packet here is what the stack hands over at once: with segmentation offload (GSO, GRO) one "packet" may be many on the wire,
 * and its length is theirs together. TCP payload is placed by sequence number, so retransmissions count nothing and offsets are
 * those of the stream; of two packets that arrive in the wrong order the later one is not recorded. Data that rides on the very
 * ACK that completes a handshake is seen before the accepted socket exists, and is counted but not recorded.
 * Blind to AF_PACKET, to kernel-made sockets without an owner, and inside whatever is encrypted.
 */
SEC("cgroup_skb/ingress")
int payload_ingress(struct __sk_buff *skb)
{
	return payload(skb, false, false);
}

SEC("cgroup_skb/egress")
int payload_egress(struct __sk_buff *skb)
{
	return payload(skb, true, false);
}

/* For the root cgroup, while something has left its agent's cgroup, holds a passed socket or is isolated. */
SEC("cgroup_skb/ingress")
int leaver_ingress(struct __sk_buff *skb)
{
	return payload(skb, false, true);
}

SEC("cgroup_skb/egress")
int leaver_egress(struct __sk_buff *skb)
{
	return payload(skb, true, true);
}
