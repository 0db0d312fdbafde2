/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every shared map stands here once. Each object that includes this header declares them all; libbpf joins them by pin path, so
 * two objects have one ring and one tag hash. Only map types that every kernel since 5.10 has may stand here.
 * Sizes marked "set by the loader" are placeholders.
 */
#ifndef RUBICON_MAPS_BPF_H
#define RUBICON_MAPS_BPF_H

#include "values.h"
#include <bpf/bpf_helpers.h>

#define MAP_HASH(NAME, KEY, VALUE, ENTRIES)      \
	struct {                                 \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, ENTRIES);    \
		__type(key, KEY);                \
		__type(value, VALUE);            \
	} NAME SEC(".maps")

#define MAP_ARRAY(NAME, TYPE, VALUE, ENTRIES) \
	struct {                              \
		__uint(type, TYPE);           \
		__uint(max_entries, ENTRIES); \
		__type(key, __u32);           \
		__type(value, VALUE);         \
	} NAME SEC(".maps")

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024); /* set by the loader */
} ring SEC(".maps");

MAP_HASH(tags, __u32, struct tag, 32768); /* set by the loader from pid_max */
MAP_HASH(cgroups, __u64, struct cgroup_tag, 4096);
MAP_HASH(agents, __u64, struct agent_state, 4096);
MAP_HASH(strangers, __u32, struct stranger, 4096);
/* Who found no place in `tags`, and how many that ever were: while it is 0 nobody pays for a look into `untagged`. */
MAP_HASH(untagged, __u32, struct untagged, 4096);
MAP_ARRAY(untagged_count, BPF_MAP_TYPE_ARRAY, __u64, 1);
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct allow_key);
	__type(value, struct allow);
} allows SEC(".maps");
MAP_HASH(losses, struct account, __u64, 16384);
MAP_ARRAY(hook_config, BPF_MAP_TYPE_ARRAY, struct hook_config, 1);
MAP_ARRAY(sequences, BPF_MAP_TYPE_PERCPU_ARRAY, __u64, 1);
/* The reader's position in the ring, plus 1, for which it was last woken by a record that does not wait. */
MAP_ARRAY(woken, BPF_MAP_TYPE_ARRAY, __u64, 1);
/*
 * Not 0 once an agent was isolated, so that until then no packet pays for the look into the agents map (40 ns). Set together with
 * the flag, by control.bpf.c; whoever releases the last isolated agent may clear it.
 */
MAP_ARRAY(isolating, BPF_MAP_TYPE_ARRAY, __u64, 1);
/* Tagged processes by the low bits of their pid: 0 says "not tagged" in 5 ns, where a miss in the hash takes 50. */
#define TAG_FILTER_SIZE 16384
struct tag_filter {
	__u32 counts[TAG_FILTER_SIZE];
};
MAP_ARRAY(tag_filter, BPF_MAP_TYPE_ARRAY, struct tag_filter, 1);
/* Tagged processes alive; the high-water mark is held against it. */
MAP_ARRAY(tag_count, BPF_MAP_TYPE_ARRAY, __u64, 1);

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

/*
 * MPTCP sockets that agents hold, by cookie: their packets leave through subflows, sockets of the kernel's own that do not show an
 * iterator the one above them. Whoever is pushed out when it is full is entered again at the sensor's next look.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64); /* agent */
} held_mptcp SEC(".maps");

#define LOOKUP(MAP, KEY) bpf_map_lookup_elem(&(MAP), (KEY))
#define UPDATE(MAP, KEY, VALUE, FLAGS) bpf_map_update_elem(&(MAP), (KEY), (VALUE), (FLAGS))
#define DELETE(MAP, KEY) bpf_map_delete_elem(&(MAP), (KEY))

/*
 * All types of the ABI, by value, so that every object's BTF carries them: the loader compares them with what its decoder was
 * generated from. The section is none that libbpf makes a map of.
 */
union abi {
	struct fork_event fork;
	struct exec_event exec;
	struct exit_event exit;
	struct join_event join;
	struct flow_event flow;
	struct close_event close;
	struct payload_event payload;
	struct packet_event packet;
	struct unix_connect_event unix_connect;
	struct unix_send_event unix_send;
	struct tamper_event tamper;
	struct task_entry task;
	struct socket_entry socket_entry;
	struct tag tag;
	struct cgroup_tag cgroup;
	struct agent_state agent;
	struct stranger stranger;
	struct untagged untagged;
	struct allow_key allow_key;
	struct allow allow;
	struct owner owner;
	struct account account;
	struct budget budget;
	struct hook_config config;
	enum limit limit;
	enum event_kind event_kind;
	enum event_class event_class;
	enum loss_reason loss_reason;
	enum event_flag event_flag;
	enum tag_flag tag_flag;
	enum agent_flag agent_flag;
	enum join_reason join_reason;
	enum descriptor_kind descriptor_kind;
	enum close_reason close_reason;
	enum peer_state peer_state;
	enum owner_flag owner_flag;
	enum guarded guarded;
	enum control_operation control_operation;
};
union abi *abi_types __attribute__((section(".abi"), used));

static __always_inline struct hook_config *config_get(void)
{
	__u32 zero = 0;

	return LOOKUP(hook_config, &zero);
}

#endif
