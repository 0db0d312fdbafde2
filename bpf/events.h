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
	LIMIT_GUARDED = 3,	/* daemons that are guarded: sensor, plane, supervisor */
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
	EVENT_TAMPER = 21,
};

enum event_class {
	CLASS_PROCESS = 1, /* fork exec exit join tamper */
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

/* Where flags of tags, agents and owners have the number of an isolation of a part of an agent. */
#define PART_SHIFT 20
#define PART_BITS (0x7FF << PART_SHIFT)

enum tag_flag {
	TAG_ROOT = 1 << 0,    /* root process of its agent */
	TAG_LEFT = 1 << 1,    /* has left its agent's cgroup */
	TAG_JOINED = 1 << 2,  /* tagged because it joined the agent's cgroup */
	TAG_PART = PART_BITS, /* of the isolated part of its agent, its children too: when these bits are those of AGENT_PART */
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
	AGENT_PART = PART_BITS,	      /* not 0: isolated is only what is marked with these bits: TAG_PART, OWNER_PART */
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

/* Who was found listening where a Unix socket is connected. */
enum peer_state {
	PEER_UNKNOWN = 1, /* not looked for (datagrams), or not all sockets could be looked at */
	PEER_NOBODY = 2,  /* nobody by this name */
	PEER_FOUND = 3,
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
	__u64 peer_agent;      /* whose the listener is, 0 for nobody's */
	__u64 peer_start_time; /* 0: who called listen() has ended since */
	__u32 peer_pid;
	__u32 peer; /* enum peer_state */
	__u32 length;
	__u32 padding;
	char peer_comm[LIMIT_COMM];
};

/* Followed by `length` bytes of path. */
struct unix_send_event {
	struct event_header header;
	__u64 cookie;
	__u32 length;
	__u32 padding;
};

/* A signal to a daemon that is guarded. The header is the sender's. */
struct tamper_event {
	struct event_header header;
	__u64 target_start_time;
	__u32 target_pid;
	__u32 guarded; /* enum guarded */
	__u32 signal;
	__u32 by_kernel; /* not kill(2) and its like: ptrace, cgroup.kill, the OOM killer, on the sender's account */
};

#pragma clang diagnostic pop
#endif
