/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of an exec record that has a fixed size: file, credentials, namespaces, and what descriptors 0, 1 and 2 are. */
#ifndef RUBICON_EXEC_FACTS_BPF_H
#define RUBICON_EXEC_FACTS_BPF_H

#include "core_fixes.bpf.h"
#include "events.h"

#define MODE_TYPE 0170000
#define MODE_FIFO 0010000
#define MODE_CHARACTER 0020000
#define MODE_DIRECTORY 0040000
#define MODE_BLOCK 0060000
#define MODE_REGULAR 0100000
#define MODE_SOCKET 0140000
#define MAJOR_TTY 4
#define MAJOR_TTY_AUX 5
#define MAJOR_PTY_FIRST 128 /* masters from here, slaves from 136 */
#define MAJOR_PTY_LAST 143

/* A kernel device number (12 bits of major, 20 of minor) as stat(2) shows it: new_encode_dev(). */
static __always_inline __u64 device_number(__u32 device)
{
	__u32 major = device >> 20, minor = device & 0xfffff;

	return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
}

static __always_inline __u32 character_kind(__u32 major)
{
	if (major == MAJOR_TTY || major == MAJOR_TTY_AUX || (major >= MAJOR_PTY_FIRST && major <= MAJOR_PTY_LAST))
		return DESCRIPTOR_TTY;
	return DESCRIPTOR_DEVICE;
}

/* The cookie is 0 for a socket that nobody has asked for one yet; the socket hooks ask for every internet socket of an agent. */
static __always_inline void descriptor_fill(struct descriptor *descriptor, struct file *file)
{
	struct socket *socket;
	struct inode *inode;
	struct sock *sk;

	descriptor->inode = 0;
	descriptor->cookie = 0;
	descriptor->family = 0;
	descriptor->kind = DESCRIPTOR_CLOSED;
	if (!file)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	descriptor->inode = BPF_CORE_READ(inode, i_ino);
	switch (BPF_CORE_READ(inode, i_mode) & MODE_TYPE) {
	case MODE_REGULAR:
	case MODE_DIRECTORY:
		descriptor->kind = DESCRIPTOR_FILE;
		break;
	case MODE_FIFO:
		descriptor->kind = DESCRIPTOR_PIPE;
		break;
	case MODE_CHARACTER:
		descriptor->kind = character_kind(BPF_CORE_READ(inode, i_rdev) >> 20);
		break;
	case MODE_BLOCK:
		descriptor->kind = DESCRIPTOR_DEVICE;
		break;
	case MODE_SOCKET:
		descriptor->kind = DESCRIPTOR_SOCKET;
		socket = BPF_CORE_READ(file, private_data);
		sk = BPF_CORE_READ(socket, sk);
		descriptor->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
		descriptor->family = BPF_CORE_READ(sk, __sk_common.skc_family);
		break;
	default:
		descriptor->kind = DESCRIPTOR_OTHER;
	}
}

static __always_inline void descriptors_fill(struct exec_event *event, struct task_struct *task)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd), *file;
	__u32 count = BPF_CORE_READ(table, max_fds);

	for (__u32 i = 0; i < LIMIT_STDIO; i++) {
		file = 0;
		if (i < count)
			bpf_probe_read_kernel(&file, sizeof(file), files + i);
		descriptor_fill(&event->stdio[i], file);
	}
}

/* Is the file gone from its directory, or did it never have one? */
static __always_inline __u16 file_flags(struct file *exe)
{
	struct dentry *dentry = BPF_CORE_READ(exe, f_path.dentry);
	const unsigned char *text = BPF_CORE_READ(dentry, d_name.name);
	char name[8] = {};

	bpf_probe_read_kernel(name, sizeof(name) - 1, text);
	/* a memfd's dentry is no directory's child: nobody can give a file on disk this parent */
	if (dentry == BPF_CORE_READ(dentry, d_parent) && name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' &&
	    name[4] == 'd' && name[5] == ':')
		return EVENT_MEMFD;
	if (!BPF_CORE_READ(exe, f_inode, i_nlink) || !BPF_CORE_READ(dentry, d_hash.pprev))
		return EVENT_DELETED;
	return 0;
}

static __always_inline void exec_facts(struct exec_event *event, struct task_struct *task, struct file *exe)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct nsproxy *namespaces = BPF_CORE_READ(task, nsproxy);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid upid = {};

	event->header.flags |= file_flags(exe);
	event->inode = BPF_CORE_READ(exe, f_inode, i_ino);
	event->device = device_number(BPF_CORE_READ(exe, f_inode, i_sb, s_dev));
	event->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	event->capabilities = capabilities_of(cred);
	event->parent_pid = BPF_CORE_READ(task, real_parent, tgid);
	event->parent_start_time = BPF_CORE_READ(task, real_parent, group_leader, start_boottime);
	event->uid = BPF_CORE_READ(cred, uid.val);
	event->euid = BPF_CORE_READ(cred, euid.val);
	event->gid = BPF_CORE_READ(cred, gid.val);
	event->egid = BPF_CORE_READ(cred, egid.val);
	bpf_probe_read_kernel(&upid, sizeof(upid),
			      (char *)pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(upid));
	event->pid_namespace = BPF_CORE_READ(upid.ns, ns.inum);
	event->net_namespace = BPF_CORE_READ(namespaces, net_ns, ns.inum);
	event->mnt_namespace = BPF_CORE_READ(namespaces, mnt_ns, ns.inum);
	event->user_namespace = BPF_CORE_READ(cred, user_ns, ns.inum);
	event->padding = 0;
	descriptors_fill(event, task);
	bpf_core_read(event->comm, sizeof(event->comm), &task->comm);
}

#endif
