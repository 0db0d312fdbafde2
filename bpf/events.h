/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Record layouts, the only truth for them (the ABI). The Python decoder is generated from this header's BTF, checked in,
 * and compared with the loaded object at start. Include after vmlinux.h.
 *
 * Rules: fixed-size integers only, padding written out (-Wpadded is an error in here), limits as enums so that BTF carries
 * them. pid means tgid in the initial pid namespace; times are CLOCK_BOOTTIME nanoseconds; ports are in host byte order;
 * addresses are 16 bytes, IPv4 in the first four.
 */
#ifndef RUBICON_EVENTS_H
#define RUBICON_EVENTS_H

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

enum limit {
	LIMIT_ARGV = 16384,	   /* bytes of arguments in an exec record */
	LIMIT_PATH = 1024,	   /* bytes of one path, NUL not included */
	LIMIT_PAYLOAD = 256,	   /* bytes of one payload record */
	LIMIT_PAYLOAD_RECORDS = 4, /* payload records each way of a flow */
	LIMIT_PACKETS = 64,	   /* packet records of a flow before sampling */
	LIMIT_UNIX_PATH = 108,
	LIMIT_DESTINATIONS = 4, /* UDP destinations that a socket remembers */
	LIMIT_HEAD = 4,		/* first stream bytes each way that a socket remembers */
	LIMIT_COMM = 16,
	LIMIT_STDIO = 3,
	LIMIT_ALLOW_PORTS = 14, /* ports of one destination that an isolated agent may still reach */
};

enum event_kind {
	EVENT_FORK = 1,
	EVENT_EXEC = 2,
	EVENT_EXIT = 3,
	EVENT_JOIN = 4,
	EVENT_SOCKET = 10,
	EVENT_BIND = 11,
	EVENT_LISTEN = 12,
	EVENT_CONNECT = 13,
	EVENT_SEND = 14,
	EVENT_ESTABLISH = 15,
	EVENT_CLOSE = 16,
	EVENT_PAYLOAD = 17,
	EVENT_PACKET = 18,
	EVENT_UNIX_CONNECT = 19,
	EVENT_UNIX_SEND = 20,
};

enum event_class {
	CLASS_PROCESS = 1, /* fork exec exit join */
	CLASS_FLOW = 2,	   /* bind listen connect establish close unix_connect */
	CLASS_PAYLOAD = 3, /* payload */
	CLASS_BULK = 4,	   /* socket send packet unix_send */
	CLASS_COUNT = 5,
};

enum loss_reason {
	LOSS_RING_FULL = 1,
	LOSS_BUDGET = 2,
	LOSS_COUNT = 3,
};

enum event_flag {
	EVENT_ARGV_TRUNCATED = 1 << 0,
	EVENT_PATH_TRUNCATED = 1 << 1,
	EVENT_MEMFD = 1 << 2,
	EVENT_DELETED = 1 << 3,
	EVENT_REFUSED = 1 << 4,	 /* a hook answered EPERM */
	EVENT_OUTBOUND = 1 << 5, /* payload and packet: left the agent; establish and close: the agent opened it */
	EVENT_BY_OWNER = 1 << 6, /* the process is the socket's owner, not current */
	EVENT_SSH = 1 << 7,	 /* the flow has shown an SSH banner */
	EVENT_CORE_DUMPED = 1 << 8,
};

enum tag_flag {
	TAG_ROOT = 1 << 0,   /* root process of its agent */
	TAG_LEFT = 1 << 1,   /* has left its agent's cgroup */
	TAG_JOINED = 1 << 2, /* tagged because it joined the agent's cgroup */
};

enum agent_flag {
	AGENT_CONDEMNED = 1 << 0,     /* its tasks die at fork and exec */
	AGENT_ISOLATED = 1 << 1,      /* its sockets are refused and dropped */
	AGENT_STRANGER = 1 << 2,      /* an untagged process was moved into its cgroup: no cgroup.kill */
	AGENT_OWN_CGROUP = 1 << 3,    /* has a cgroup of its own */
	AGENT_LEAVERS = 1 << 4,	      /* a tagged task left the cgroup: per-packet programs follow it */
	AGENT_TAG_PRESSURE = 1 << 5,  /* condemned at the tag hash's high-water mark */
	AGENT_LOOPBACK = 1 << 6,      /* isolated, but for loopback addresses */
	AGENT_ALLOWS = 1 << 7,	      /* isolated, but for what the allow trie holds */
	AGENT_NO_UNIX = 1 << 8,	      /* isolated, from AF_UNIX as well */
	AGENT_ALL_STRANGERS = 1 << 9, /* a stranger found no room in its map: nobody is tagged by its place any more */
};

enum join_reason {
	JOIN_ENROLLED = 1,
	JOIN_LEFT = 2,
	JOIN_STRANGER = 3,
	JOIN_CONTESTED = 4,
};

enum descriptor_kind {
	DESCRIPTOR_CLOSED = 1,
	DESCRIPTOR_FILE = 2,
	DESCRIPTOR_PIPE = 3,
	DESCRIPTOR_TTY = 4,
	DESCRIPTOR_SOCKET = 5,
	DESCRIPTOR_DEVICE = 6,
	DESCRIPTOR_OTHER = 7,
};

enum close_reason {
	CLOSE_CLOSED = 1,
	CLOSE_REFUSED = 2,
	CLOSE_RESET = 3,
};

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
	__u32 tasks; /* tagged processes alive, kept by the hooks */
	struct budget budgets[CLASS_COUNT];
};

/* Bits of owner.flags beyond enum event_flag's 16. */
enum owner_flag {
	OWNER_IN_SYNCED = 1 << 16,  /* next_in is known */
	OWNER_OUT_SYNCED = 1 << 17, /* next_out is known */
	OWNER_CUT = 1 << 18,	    /* an isolated agent holds it, though it is not its own: dropped and destroyed */
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

/* What control.bpf.c does; its arguments stand there. */
enum control_operation {
	CONTROL_TAG_ADD = 1,
	CONTROL_TAG_DELETE = 2,
	CONTROL_AGENT_PUT = 3,
	CONTROL_AGENT_FLAGS = 4,
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
	__u64 wakeup_bytes;   /* ring fill at which the reader is woken */
	__u32 tag_high_water; /* tags at which an agent that holds many is condemned when it forks */
	__u32 tag_limit;      /* tags at which any agent is */
	__u32 sensor_pid;
	__u32 padding;
};

struct event_header {
	__u16 kind;
	__u16 flags;
	__u32 cpu;
	__u64 epoch;
	__u64 sequence;
	__u64 time_ns;
	__u64 agent;
	__u64 start_time;
	__u32 pid;
	__u32 tid;
};

struct fork_event {
	struct event_header header;
	__u64 child_start_time;
	__u64 parent_start_time;
	__u64 cgroup_id;
	__u32 child_pid;
	__u32 parent_pid;
	__u32 namespace_pid;
	__u32 padding;
};

struct descriptor {
	__u64 inode;
	__u64 cookie;
	__u32 kind;
	__u32 family;
};

/* Followed by exe, filename, interpreter, cwd (each of its length, no NUL) and argv (NUL-separated as in memory). */
struct exec_event {
	struct event_header header;
	__u64 inode;
	__u64 device;
	__u64 cgroup_id;
	__u64 capabilities;
	__u64 parent_start_time;
	__u32 parent_pid;
	__u32 uid;
	__u32 euid;
	__u32 gid;
	__u32 egid;
	__u32 pid_namespace;
	__u32 net_namespace;
	__u32 mnt_namespace;
	__u32 user_namespace;
	__u32 argv_length; /* whole, in the kernel */
	__u32 argv_kept;   /* bytes in this record */
	__u16 exe_length;
	__u16 filename_length;
	__u16 interpreter_length;
	__u16 cwd_length;
	__u32 padding;
	struct descriptor stdio[LIMIT_STDIO];
	char comm[LIMIT_COMM];
};

struct exit_event {
	struct event_header header;
	__u32 code; /* as wait(2): status << 8 | core << 7 | signal */
	__u32 padding;
};

struct join_event {
	struct event_header header; /* of the mover */
	__u64 target_start_time;
	__u64 cgroup_id;
	__u64 cgroup_agent;
	__u32 target_pid;
	__u32 reason;
};

struct flow {
	__u64 cookie;
	__u64 netns_cookie;
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 padding[3];
};

/* socket, bind, listen, connect, send, establish */
struct flow_event {
	struct event_header header;
	struct flow flow;
};

struct close_event {
	struct event_header header;
	struct flow flow;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 duration_ns;
	__u32 reason;
	__u32 error;
};

/* Followed by `kept` bytes. */
struct payload_event {
	struct event_header header;
	struct flow flow;
	__u64 offset;
	__u32 length;
	__u32 kept;
};

struct packet_event {
	struct event_header header;
	struct flow flow;
	__u64 offset;
	__u32 length;
	__u32 index;
};

/* Followed by `length` bytes of path. */
struct unix_connect_event {
	struct event_header header;
	__u64 cookie;
	__u32 length;
	__u32 padding;
};

/* Followed by `length` bytes of path. */
struct unix_send_event {
	struct event_header header;
	__u64 cookie;
	__u32 length;
	__u32 padding;
};

#pragma clang diagnostic pop
#endif
