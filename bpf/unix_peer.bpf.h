/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who listens where an agent connects a Unix socket. The hook runs before the kernel looks that up, so it is looked up here. */
#ifndef RUBICON_UNIX_PEER_BPF_H
#define RUBICON_UNIX_PEER_BPF_H

#include "core_fixes.bpf.h"
#include "tag.bpf.h"
#include "unix.bpf.h"

#define STATE_LISTEN 10	 /* TCP_LISTEN */
#define UNIX_BUCKETS 512 /* UNIX_HASH_SIZE of net/af_unix.h */
#define UNIX_CHAIN 1024	 /* sockets of one bucket that are walked */
#define NAME_ROOM 128	 /* LIMIT_UNIX_PATH, and a power of two */
#define NAME_AT(I) ((I) & (NAME_ROOM - 1))

struct unix_search {
	struct hlist_head *buckets;
	struct hlist_node *node;
	__u64 agent;	      /* who asks */
	struct pid *listener; /* who was found */
	__u64 peer_agent;
	__u64 peer_start_time;
	__u32 peer_pid;
	__u32 length;
	__u32 found_length;
	__u32 other; /* the one that was found is not the agent's own; of a byte clang makes no 0 or 1 that the verifier knows */
	__u16 type;  /* of the asking socket */
	bool whole;  /* all were looked at */
	char comm[LIMIT_COMM];
	char name[NAME_ROOM];  /* where the agent connects */
	char found[NAME_ROOM]; /* where the socket listens that is looked at */
};

struct unix_comparison {
	struct unix_search *search;
	bool same;
};

/* One byte of both names, counted from their ends. */
static long unix_compare(__u32 index, struct unix_comparison *comparison)
{
	struct unix_search *search = comparison->search;

	comparison->same =
		search->name[NAME_AT(search->length - 1 - index)] == search->found[NAME_AT(search->found_length - 1 - index)];
	return !comparison->same;
}

/*
 * Do both names mean the same place? One may be longer by whole components: /var/run/docker.sock is /run/docker.sock, and a relative
 * path is the end of an absolute one. Abstract names are equal or different.
 * A global function: the verifier follows it once, not from every state of the walk.
 */
__attribute__((noinline)) int unix_same(struct unix_search *search)
{
	struct unix_comparison comparison = { .search = search };
	__u32 ours, theirs, shorter;
	char first, before;

	if (!search)
		return 0;
	ours = search->length;
	theirs = search->found_length;
	shorter = ours < theirs ? ours : theirs;
	if (!shorter || (ours != theirs && (!search->name[0] || !search->found[0])))
		return 0;
	bpf_loop(shorter, unix_compare, &comparison, 0);
	if (!comparison.same)
		return 0;
	if (ours == theirs)
		return 1;
	first = ours < theirs ? search->name[0] : search->found[0];
	before = ours < theirs ? search->found[NAME_AT(theirs - ours - 1)] : search->name[NAME_AT(ours - theirs - 1)];
	return first == '/' || before == '/' ? 1 : 0;
}

/* The length of a socket's name, without family and NUL; the name itself is filled in. */
static __always_inline __u32 unix_bound(struct sock *sk, char *name)
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);
	__u32 length;

	if (!address)
		return 0;
	length = BPF_CORE_READ(address, len) - FAMILY_BYTES;
	if (length > LIMIT_UNIX_PATH)
		return 0;
	if (bpf_probe_read_kernel(name, LIMIT_UNIX_PATH,
				  (char *)address + bpf_core_field_offset(struct unix_address, name) + FAMILY_BYTES))
		return 0;
	/* a path's length counts its NUL in */
	return length && name[0] ? length - 1 : length;
}

/* Keep who listens: the process that called listen(), of which nothing but its pid is left when it has ended since. */
static __always_inline void unix_found(struct unix_search *search, struct pid *pid)
{
	struct hlist_node *link = BPF_CORE_READ(pid, tasks[PIDTYPE_TGID].first);
	struct task_struct *task;
	struct tag *tag;

	bpf_probe_read_kernel(&search->peer_pid, sizeof(search->peer_pid),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) + bpf_core_field_offset(struct upid, nr));
	search->listener = pid;
	search->peer_agent = 0;
	search->peer_start_time = 0;
	search->other = true;
	if (!link)
		return;
	task = (struct task_struct *)((char *)link - bpf_core_field_offset(struct task_struct, pid_links) -
				      PIDTYPE_TGID * sizeof(struct hlist_node));
	search->peer_start_time = BPF_CORE_READ(task, start_boottime);
	BPF_CORE_READ_STR_INTO(&search->comm, task, comm);
	tag = tag_find(search->peer_pid);
	if (tag && tag->start_time == search->peer_start_time)
		search->peer_agent = tag->agent;
	search->other = search->peer_agent != search->agent;
}

/* One socket of a bucket. Ends at the bucket's end, and at the first listener that is somebody else's. */
static long unix_socket(__u32 index, struct unix_search *search)
{
	struct hlist_node *node = search->node;
	struct sock *sk;
	struct pid *pid;

	if (!node)
		return 1;
	sk = (struct sock *)((char *)node - bpf_core_field_offset(struct sock, __sk_common.skc_node));
	search->node = BPF_CORE_READ(node, next);
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != STATE_LISTEN || BPF_CORE_READ(sk, sk_type) != search->type)
		return 0;
	search->found_length = unix_bound(sk, search->found);
	if (!unix_same(search))
		return 0;
	pid = BPF_CORE_READ(sk, sk_peer_pid);
	if (!pid)
		return 0;
	unix_found(search, pid);
	return search->other ? 1 : 0;
}

/* One bucket. A loop in a loop, not one with a counter of its own: that the verifier would follow number by number. */
static long unix_bucket(__u32 index, struct unix_search *search)
{
	search->node = 0;
	bpf_probe_read_kernel(&search->node, sizeof(search->node), &search->buckets[index]);
	bpf_loop(UNIX_CHAIN, unix_socket, search, 0);
	if (search->node && !search->other)
		search->whole = false;
	return search->other ? 1 : 0;
}

/* Look through the sockets of one network namespace; false when not all were looked at. */
static __always_inline bool unix_walk(struct unix_search *search, struct net *net)
{
	search->buckets = BPF_CORE_READ(net, unx.table.buckets);
	search->whole = search->buckets;
	if (search->buckets)
		bpf_loop(UNIX_BUCKETS, unix_bucket, search, 0);
	return search->whole;
}

/* The network namespace of the host's first process: a path leads there from every other. */
static __always_inline struct net *net_of_host(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct pid_namespace *namespace = 0;

	bpf_probe_read_kernel(&namespace, sizeof(namespace),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) + bpf_core_field_offset(struct upid, ns));
	return BPF_CORE_READ(namespace, child_reaper, nsproxy, net_ns);
}

/*
 * Find who listens where SK is about to be connected. Somebody else comes before the agent's own, so that no decoy of the same name
 * hides him. Neither lock nor path lookup: a socket that is bound or moved at this very moment may be missed, and so is one that the
 * agent names by a link. A path is looked for in the host's network namespace as well.
 */
static __always_inline enum peer_state unix_peer_find(struct unix_search *search, struct sock *sk)
{
	struct net *net = BPF_CORE_READ(sk, __sk_common.skc_net.net), *host;
	bool whole;

	search->type = BPF_CORE_READ(sk, sk_type);
	if (search->type == SOCK_DGRAM || !search->length)
		return PEER_UNKNOWN;
	whole = unix_walk(search, net);
	if (!search->other && search->name[0]) {
		host = net_of_host();
		if (host != net)
			whole = unix_walk(search, host) && whole;
	}
	if (search->listener)
		return search->other || whole ? PEER_FOUND : PEER_UNKNOWN;
	return whole ? PEER_NOBODY : PEER_UNKNOWN;
}

#endif
