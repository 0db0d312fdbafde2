/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The name of the AF_UNIX socket that a call leads to, in the cgroup hooks of such calls. */
#ifndef RUBICON_UNIX_BPF_H
#define RUBICON_UNIX_BPF_H

#include "core_fixes.bpf.h"
#include "events.h"
#include <bpf/bpf_helpers.h>

/* The kernel's own context: the path is not in the one that programs get. Since 6.2. */
extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

#define FAMILY_BYTES 2

/*
 * Copy the name to PATH, which has room for LIMIT_UNIX_PATH bytes and one more; its length. A path ends at its NUL, which callers
 * may or may not count in; an abstract name begins with one and may hold more. The end is found by a helper: of a loop with a
 * way out at every byte the verifier would follow every length to the program's end.
 */
static __always_inline __u32 unix_name(struct bpf_sock_addr *ctx, char *path)
{
	struct bpf_sock_addr_kern *kernel = bpf_cast_to_kern_ctx(ctx);
	char *name = (char *)kernel->uaddr + FAMILY_BYTES;
	__u32 length = ADDRESS_LENGTH(kernel);
	long copied;

	length = length > FAMILY_BYTES ? length - FAMILY_BYTES : 0;
	if (length > LIMIT_UNIX_PATH)
		length = LIMIT_UNIX_PATH;
	if (!length || bpf_probe_read_kernel(path, 1, name))
		return 0;
	if (!path[0])
		return bpf_probe_read_kernel(path, length, name) ? 0 : length;
	copied = bpf_probe_read_kernel_str(path, length + 1, name);
	return copied > 0 ? copied - 1 : 0; /* it counts the NUL that it has written */
}

#endif
