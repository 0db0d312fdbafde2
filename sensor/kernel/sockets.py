"""The sockets that tagged processes hold: the task_file iterator's entries as Python."""

from __future__ import annotations

from sensor.kernel import abi, bpf
from sensor.kernel.abi import SocketEntryValue
from sensor.kernel.programs import AttachType

SocketEntry = SocketEntryValue


def listed(program: int) -> list[SocketEntry]:
    """Every descriptor of a socket, once each; a socket that several processes hold is there several times.

    Raises:
        OSError: the kernel refuses the iterator.
    """
    return [
        SocketEntryValue(*entry) for entry in abi.SOCKET_ENTRY.iter_unpack(bpf.iterate(program, AttachType.TRACE_ITER))
    ]
