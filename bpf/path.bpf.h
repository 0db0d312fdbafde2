/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A file's path, as d_path() would build it, on kernels whose bpf_d_path refuses the exec hook (all of them). */
#ifndef RUBICON_PATH_BPF_H
#define RUBICON_PATH_BPF_H

#include "core_fixes.bpf.h"
#include "events.h"

#define NAME_LONGEST 255
/* Components and mount points that are walked; beyond it the path's beginning is missing. */
#define PATH_STEPS 96

/*
 * Built from its end: what is whole stands at `text + start`, up to `text + LIMIT_PATH`. The walk's own state lies in here too, not
 * in registers: the verifier then knows nothing about it and sees the same state again after each step, which keeps it short.
 */
struct path_buffer {
	char text[LIMIT_PATH + NAME_LONGEST + 1];
	__u32 start;
	__u32 truncated; /* the beginning is missing */
};

/* Put one name and the slash before it in front of what stands there; false when there is no room. */
static __always_inline bool path_prepend(struct path_buffer *buffer, struct dentry *dentry)
{
	__u32 at = buffer->start, length = BPF_CORE_READ(dentry, d_name.len);
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);

	length &= NAME_LONGEST; /* no file system has longer ones */
	if (length + 1 > at)
		return false;
	at -= length;
	bpf_probe_read_kernel(&buffer->text[at & (LIMIT_PATH - 1)], length, name);
	at--;
	buffer->text[at & (LIMIT_PATH - 1)] = '/';
	buffer->start = at;
	return true;
}

/*
 * Walk dentries and mounts up to the root of the mount namespace: of the process's own, and above any chroot, so that a chroot
 * shows. A rename meanwhile can mix old and new names of it. A file on no mount (a memfd) is "/NAME".
 */
static __always_inline void path_walk(struct path_buffer *buffer, struct dentry *dentry, struct vfsmount *vfsmount)
{
	struct mount *mount = mount_of(vfsmount), *above;
	struct dentry *parent, *root;

	buffer->start = LIMIT_PATH;
	buffer->truncated = true;
	for (int step = 0; step < PATH_STEPS; step++) {
		parent = BPF_CORE_READ(dentry, d_parent);
		root = BPF_CORE_READ(mount, mnt.mnt_root);
		if (dentry == root) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount) {
				buffer->truncated = false;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		if (dentry == parent) {
			/* no directory's child: a memfd, or the source of a bind mount that was moved away below us */
			if (buffer->start == LIMIT_PATH)
				path_prepend(buffer, dentry);
			buffer->truncated = false;
			break;
		}
		if (!path_prepend(buffer, dentry))
			break;
		dentry = parent;
	}
	if (buffer->start == LIMIT_PATH && !buffer->truncated) {
		buffer->start = LIMIT_PATH - 1;
		buffer->text[LIMIT_PATH - 1] = '/';
	}
}

#endif
