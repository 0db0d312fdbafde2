/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every difference between kernels that CO-RE's own relocation does not cover, each with the commit that made it. */
#ifndef RUBICON_CORE_FIXES_BPF_H
#define RUBICON_CORE_FIXES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* 2f064a59a11f ("sched: Change task_struct::state", 5.14) renamed state to __state. */
struct task_struct___before_5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

static __always_inline __u32 task_state(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state);
	return BPF_CORE_READ((struct task_struct___before_5_14 *)task, state);
}

/*
 * f122a08b197d ("capability: just use a 'u64' instead of a 'u32[2]' array", 6.3): eight bytes before and after, and the same
 * number on a little-endian machine.
 */
static __always_inline __u64 capabilities_of(const struct cred *cred)
{
	__u64 set = 0;

	bpf_core_read(&set, sizeof(set), &cred->cap_effective);
	return set;
}

/* fefba7d1ae19 ("bpf: Propagate modified uaddrlen from cgroup sockaddr programs", 6.7): so that an older kernel's types will do. */
struct bpf_sock_addr_kern___since_6_7 {
	__u32 uaddrlen;
} __attribute__((preserve_access_index));

#define ADDRESS_LENGTH(KERNEL) (((struct bpf_sock_addr_kern___since_6_7 *)(KERNEL))->uaddrlen)

/* struct mount is private to fs/: found from its vfsmount by the offset that BTF gives. */
static __always_inline struct mount *mount_of(struct vfsmount *vfsmount)
{
	return (struct mount *)((char *)vfsmount - bpf_core_field_offset(struct mount, mnt));
}

/* The cgroup above; NULL at the root. */
static __always_inline struct cgroup *cgroup_parent(struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, self.parent, cgroup);
}

#endif
