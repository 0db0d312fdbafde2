"""Reads what an exec record says."""

from __future__ import annotations

import re

from controlplane.model.process import Credentials, Descriptor, Image, Namespaces
from rubicon.v1 import event_pb2

_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope|\.slice)?(?:/|$)")


def image_of(record: event_pb2.Exec, time_ns: int) -> Image:
    """The image that an exec (or a snapshot of /proc) describes, true from `time_ns` on."""
    credentials = namespaces = None
    if record.HasField("credentials"):
        c = record.credentials
        credentials = Credentials(c.uid, c.euid, c.gid, c.egid, c.capabilities)
    if record.HasField("namespaces"):
        n = record.namespaces
        namespaces = Namespaces(n.pid, n.net, n.mnt, n.user)
    return Image(
        time_ns=time_ns,
        exe=record.exe,
        argv=tuple(record.argv),
        argv_truncated=record.argv_truncated,
        filename=record.filename,
        interpreter=record.interpreter,
        cwd=record.cwd,
        comm=record.comm,
        inode=record.inode,
        device=record.device,
        memfd=record.memfd,
        deleted=record.deleted,
        credentials=credentials,
        namespaces=namespaces,
        stdio=tuple(Descriptor(d.kind, d.inode, d.family, d.cookie) for d in record.stdio),
    )


def container_of(cgroup_path: str) -> str:
    """Container id in a cgroup path, or empty.

    Docker, containerd, CRI-O and podman name a container's cgroup by its 64 hex digits, alone or as
    `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID`; the innermost counts.
    """
    found = _CONTAINER.findall(cgroup_path)
    return str(found[-1]) if found else ""
