// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Sockets that an agent's processes hold but never made or connected: inherited, received, or older than the enrolment. */
#include "vmlinux.h"
#include "held.bpf.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * read(2) of the iterator's descriptor
 *   task_file_seq_show   <- here: for every descriptor of every task (of one task, when the link says so)
 *
 * Why: no hook sees an inherited descriptor or one that came by SCM_RIGHTS. The sensor runs it at enrolment, at isolation and
 * when a process appears that may hold such a socket. A socket that has an owner keeps it (held.bpf.h).
 * Each socket that got an owner is reported as a socket record with both its sides, and its cookie (8 bytes) is written to the
 * reader, whose count of them is the number of bytes divided by eight.
 * Since 5.8; bpf_sock_from_file and the socket's storage here since 5.11. No cost but its own run (0.3 ms on a small host).
 * Blind to a descriptor that is still in flight between two Unix sockets.
 */
SEC("iter/task_file")
int tag_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct tag *tag;
	struct sock *sk;
	__u64 cookie;
	__u32 pid;

	if (!task || !file)
		return 0;
	pid = task->tgid;
	tag = LOOKUP(tags, &pid);
	if (!tag)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !sock_inet(sk))
		return 0;
	cookie = held(sk, tag, pid);
	if (cookie)
		bpf_seq_write(ctx->meta->seq, &cookie, sizeof(cookie));
	return 0;
}

/*
 * read(2) of the iterator's descriptor
 *   task_file_seq_show   <- here: for every descriptor of every task
 *
 * Why: what an agent holds is asked of the kernel's own tables, sockets of families that no cgroup hook governs too (packet,
 * vsock, XDP …), and descriptors of a thread that has unshared its table. A socket with two descriptors is listed twice.
 * Since 5.11, as above. No cost but its own run.
 */
SEC("iter/task_file")
int list_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct socket_entry entry = {};
	struct file *file = ctx->file;
	struct socket *socket;
	struct tag *tag;
	struct sock *sk;
	__u32 pid;

	if (!task || !file)
		return 0;
	pid = task->tgid;
	tag = LOOKUP(tags, &pid);
	if (!tag)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	entry.agent = tag->agent;
	entry.start_time = tag->start_time;
	entry.cookie = bpf_get_socket_cookie(sk);
	entry.pid = pid;
	entry.netns = sk->__sk_common.skc_net.net->ns.inum;
	entry.family = sk->__sk_common.skc_family;
	entry.type = sk->sk_type;
	entry.protocol = sk->sk_protocol;
	entry.state = sk->__sk_common.skc_state;
	entry.denied = sock_inet(sk) && verdict_sock(tag->agent, tag->flags, sk);
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}
