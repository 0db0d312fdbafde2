"""When Rubicon is taken down: nobody stays stopped. The hooks go with the pins, so isolation ends by itself."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from rubicon.v1.instance import Instance
from sensor.act.cgroup import Cgroup
from sensor.act.processes import pinned
from sensor.act.registry import Registry
from sensor.errors import ProcessNotFound

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


def let_go(instance: Instance, boot_id: str) -> int:
    """Thaw every agent's cgroup and wake whoever was stopped by signal; how many agents that were.

    No kernel side is open any more, so who is meant is told by /proc, whose start times have ticks of 10 ms.
    """
    agents = [agent for agent in Registry(instance.state_dir / "agents.json", boot_id) if agent.stands]
    for agent in agents:
        if agent.cgroup_path:
            Cgroup.at(agent.cgroup_path).thaw()
        for pid, start_time in agent.stopped:
            with contextlib.suppress(ProcessNotFound, ProcessLookupError), pinned(pid) as pidfd:
                if _started_ticks(pid) == start_time // _TICK_NS:
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    return len(agents)


def _started_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat; -1 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return -1
