/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the maps hold and the iterators show: the second half of the ABI, by the rules of events.h. */
#ifndef RUBICON_VALUES_H
#define RUBICON_VALUES_H

#include "events.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

/* Value of the tag hash, keyed by tgid. Written at enrolment and at fork with BPF_NOEXIST, deleted when the last thread exits. */
struct tag {
	__u64 agent;
	__u64 start_time;
	__u32 flags;
	__u32 padding;
};

/* Value of the cgroup hash, keyed by the enrolled cgroup's id on the default hierarchy. */
struct cgroup_tag {
	__u64 agent;
};

/* A token bucket. */
struct budget {
	__u64 tokens;
	__u64 refilled_ns; /* 0: never yet */
};

/* Value of the agent hash, keyed by agent: what the hooks must know of one agent. */
struct agent_state {
	__u64 cgroup_id;
	__u32 flags;
	__u32 tasks;	    /* tagged processes alive, kept by the hooks */
	__u32 marked_tasks; /* how many those were, of it and of all, when it was condemned for tag pressure */
	__u32 marked_tags;
	struct budget budgets[CLASS_COUNT];
};

/* Bits of owner.flags beyond enum event_flag's 16. */
enum owner_flag {
	OWNER_IN_SYNCED = 1 << 16,  /* next_in is known */
	OWNER_OUT_SYNCED = 1 << 17, /* next_out is known */
	OWNER_CUT = 1 << 18,	    /* an isolated agent holds it, though it is not its own: dropped and destroyed */
	OWNER_REST = 1 << 19,	    /* with OWNER_PART: nobody of the isolated part holds it */
	OWNER_PART = PART_BITS,	    /* when these bits are those of AGENT_PART, it is known whether the isolated part holds it */
};

/*
 * Socket-local owner: set at creation and connect, inherited by accepted sockets, outlives its maker's tag. Not above 120 bytes:
 * with what the kernel puts before it that is an allocation of 192.
 */
struct owner {
	__u64 agent;
	__u64 start_time;
	__u64 opened_ns;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 last_in_ns;
	__u64 last_out_ns;
	__u64 netns_cookie;
	__u32 pid;
	__u32 packets_in;
	__u32 packets_out;
	__u16 payloads_in;
	__u16 payloads_out;
	__u32 flags;			/* enum event_flag: EVENT_SSH, EVENT_OUTBOUND; enum owner_flag */
	__u32 next_in;			/* TCP sequence number after the last inbound payload byte */
	__u32 next_out;			/* the same, outbound */
	__u32 sends;			/* datagrams with a destination of their own */
	__u32 sent[LIMIT_DESTINATIONS]; /* hashes of the last destinations */
	__u8 head_in[LIMIT_HEAD];
	__u8 head_out[LIMIT_HEAD];
};

/* Key of the allow trie: `prefix` counts family and agent (96 bits) and then the bits of the network. */
struct allow_key {
	__u32 prefix;
	__u32 family;
	__u64 agent;
	__u8 address[16];
};

/* Value of the allow trie: a destination that an isolated agent may still reach. */
struct allow {
	__u32 listed; /* ports; 0: any */
	__u16 ports[LIMIT_ALLOW_PORTS];
};

/* A process in an agent's cgroup that an agent brought there. Value of the stranger hash, keyed by tgid. */
struct stranger {
	__u64 start_time;
};

/* An agent's process that found no place in the tag hash. Value of the hash of those, keyed by tgid. */
struct untagged {
	__u64 agent;
	__u64 start_time;
};

/* One thread group as the task iterator shows it; not a ring record. */
struct task_entry {
	__u64 start_time;
	__u64 parent_start_time;
	__u64 agent; /* 0: not tagged */
	__u64 cgroup_id;
	__u32 pid;
	__u32 parent_pid;
	__u32 state; /* letter, as in /proc/PID/stat; Z or X only when no thread of the group lives */
	__u32 flags; /* enum tag_flag */
	char comm[LIMIT_COMM];
};

/* One descriptor of a socket as the task_file iterator shows it; not a ring record. */
struct socket_entry {
	__u64 agent;
	__u64 start_time;
	__u64 cookie;
	__u32 pid;
	__u32 netns; /* inode of the socket's network namespace */
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 state;  /* as enum TCP_ESTABLISHED … */
	__u32 denied; /* 1: its agent is isolated, and may not have it */
	__u32 padding;
};

/* Daemons that are guarded, as places in hook_config. */
enum guarded {
	GUARDED_SENSOR = 0,
	GUARDED_PLANE = 1,
	GUARDED_SUPERVISOR = 2,
};

/* What control.bpf.c does; its arguments stand there. */
enum control_operation {
	CONTROL_TAG_ADD = 1,
	CONTROL_TAG_DELETE = 2,
	CONTROL_AGENT_PUT = 3,
	CONTROL_AGENT_FLAGS = 4,
	CONTROL_AGENT_DELETE = 5,
	CONTROL_CGROUP_ADD = 6,
	CONTROL_CGROUP_DELETE = 7,
	CONTROL_ISOLATING_OFF = 8,
	CONTROL_TAG_FLAGS = 9,
};

/* Key of the loss hash. */
struct account {
	__u64 agent;
	__u32 event_class;
	__u32 reason;
};

/* Written by the sensor before attaching; read by every hook. One entry. */
struct hook_config {
	__u64 epoch;
	__u64 rate[CLASS_COUNT]; /* tokens a second, 0 for no limit */
	__u64 burst[CLASS_COUNT];
	__u64 wakeup_bytes;			 /* ring fill at which the reader is woken */
	__u32 tag_high_water;			 /* tags at which an agent that holds many is condemned when it forks */
	__u32 tag_limit;			 /* tags at which any agent is */
	__u64 guarded_start_time[LIMIT_GUARDED]; /* enum guarded; 0: does not run */
	__u32 guarded_pid[LIMIT_GUARDED];
	__u32 padding;
};

#pragma clang diagnostic pop
#endif
