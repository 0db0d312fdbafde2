/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a packet's payload is: IPv4 and IPv6 (extension headers, at most PACKET_EXTENSIONS), TCP, UDP, and others as raw bytes. */
#ifndef RUBICON_PACKET_BPF_H
#define RUBICON_PACKET_BPF_H

#include "flow.bpf.h"

enum {
	PACKET_EXTENSIONS = 6,
	PROTOCOL_HOPOPTS = 0,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_DSTOPTS = 60,
	ETHERTYPE_IP = 0x0800,
	ETHERTYPE_IPV6 = 0x86DD,
	IPV6_HEADER = 40,
	UDP_HEADER = 8,
	FRAGMENT_OFFSET = 0x1FFF,
};

/* Ports in host order, addresses as in struct flow. `length` is never 0 in a packet that was parsed. */
struct packet {
	__u8 source[16];
	__u8 destination[16];
	__u32 payload; /* offset from the network header */
	__u32 length;
	__u32 sequence; /* TCP: of the first payload byte */
	__u16 source_port;
	__u16 destination_port;
	__u16 family;
	__u16 protocol;
};

/*
 * True for a TCP packet over plain IPv4 or IPv6 without payload: half of all packets, and all of a connect and close. Reads in
 * place, which is several times cheaper than the helper; anything unusual is left to packet_parse.
 */
static __always_inline bool packet_empty(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *v6 = data;
	struct iphdr *v4 = data;
	struct tcphdr *tcp;

	if (skb->protocol == bpf_htons(ETHERTYPE_IP)) {
		tcp = (void *)(v4 + 1);
		if ((void *)(tcp + 1) > end || v4->ihl != 5 || v4->protocol != PROTOCOL_TCP)
			return false;
	} else {
		tcp = (void *)(v6 + 1);
		if ((void *)(tcp + 1) > end || v6->nexthdr != PROTOCOL_TCP)
			return false;
	}
	return skb->len <= (__u32)((void *)tcp - data) + tcp->doff * 4;
}

/* A TCP reset without payload, over plain IPv4 or IPv6: what the kernel sends for a connection that is destroyed. */
static __always_inline bool packet_reset(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 offset = skb->protocol == bpf_htons(ETHERTYPE_IP) ? sizeof(struct iphdr) : IPV6_HEADER;
	struct tcphdr *tcp = data + offset;

	return packet_empty(skb) && (void *)(tcp + 1) <= end && tcp->rst;
}

/* The offset of the transport header, or 0. */
static __always_inline __u32 network_parse(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr v6;
	struct iphdr v4;
	__u32 offset;
	__u8 next;

	if (skb->protocol == bpf_htons(ETHERTYPE_IP)) {
		if (bpf_skb_load_bytes(skb, 0, &v4, sizeof(v4)) || (v4.frag_off & bpf_htons(FRAGMENT_OFFSET)))
			return 0;
		packet->family = AF_INET;
		packet->protocol = v4.protocol;
		__builtin_memcpy(packet->source, &v4.saddr, 4);
		__builtin_memcpy(packet->destination, &v4.daddr, 4);
		return v4.ihl * 4;
	}
	if (skb->protocol != bpf_htons(ETHERTYPE_IPV6) || bpf_skb_load_bytes(skb, 0, &v6, sizeof(v6)))
		return 0;
	packet->family = AF_INET6;
	__builtin_memcpy(packet->source, &v6.saddr, 16);
	__builtin_memcpy(packet->destination, &v6.daddr, 16);
	next = v6.nexthdr;
	offset = IPV6_HEADER;
	for (int i = 0; i < PACKET_EXTENSIONS; i++) {
		__u8 extension[4];

		if (next != PROTOCOL_HOPOPTS && next != PROTOCOL_ROUTING && next != PROTOCOL_DSTOPTS && next != PROTOCOL_FRAGMENT)
			break;
		if (bpf_skb_load_bytes(skb, offset, extension, sizeof(extension)))
			return 0;
		if (next == PROTOCOL_FRAGMENT) {
			/* 13 bits of offset: only a first fragment has a transport header */
			if (extension[2] || (extension[3] & 0xF8))
				return 0;
			offset += 8;
		} else {
			offset += (extension[1] + 1) * 8;
		}
		next = extension[0];
	}
	packet->protocol = next;
	return offset;
}

/* False when it is no IP packet, is malformed, or carries no payload. */
static __always_inline bool packet_parse(struct __sk_buff *skb, struct packet *packet)
{
	__u32 offset = network_parse(skb, packet);
	struct tcphdr tcp;
	__u16 ports[2];

	if (!offset)
		return false;
	packet->payload = offset;
	if (packet->protocol == PROTOCOL_TCP) {
		if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof(tcp)))
			return false;
		packet->source_port = bpf_ntohs(tcp.source);
		packet->destination_port = bpf_ntohs(tcp.dest);
		packet->sequence = bpf_ntohl(tcp.seq) + tcp.syn;
		packet->payload += tcp.doff * 4;
	} else if (packet->protocol == PROTOCOL_UDP) {
		if (bpf_skb_load_bytes(skb, offset, ports, sizeof(ports)))
			return false;
		packet->source_port = bpf_ntohs(ports[0]);
		packet->destination_port = bpf_ntohs(ports[1]);
		packet->payload += UDP_HEADER;
	}
	if (packet->payload >= skb->len)
		return false;
	packet->length = skb->len - packet->payload;
	return true;
}

#endif
