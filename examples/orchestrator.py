"""An orchestrator: each rollout is an agent, and one that does what nobody asked for is ended.

    sudo rubicon up
    sudo python examples/orchestrator.py rollout-7 ./rollout.sh

Root and members of the group rubicon may do this. The rollout waits behind `read` until it is enrolled, so that not one
of its instructions goes unseen. Whatever comes first decides: its end, or an alert from severity high on.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE

import rubicon

GATE = ("sh", "-c", 'read -r go && exec "$@"', "sh")


async def main(name: str, *command: str) -> int:
    async with rubicon.AsyncClient() as client:
        agent = await client.agents.create(name, labels={"episode": name.rpartition("-")[2]})
        rollout = await asyncio.create_subprocess_exec(*GATE, *command, stdin=PIPE)
        await agent.enrol(pid=rollout.pid)
        over = asyncio.ensure_future(rollout.communicate(b"go\n"))
        watch = asyncio.ensure_future(anext(agent.watch(min_severity="high"), None))
        await asyncio.wait({over, watch}, return_when=asyncio.FIRST_COMPLETED)
        try:
            alert = watch.result() if watch.done() else None
            if alert is not None:
                response = await agent.kill(reason=alert.title)
                print(f"{alert.title}: killed {response.killed} processes, {response.state}")
        except rubicon.AgentKilledError as error:  # somebody else was faster: a rule, or a person
            print(f"{error.agent} was stopped: {error.reason} (alert {error.alert_id or 'none'})")
        for depth, _, process in (await agent.tree(all=True)).walk():
            print("  " * depth + f"{process.pid} {process.exe}", *process.argv[1:])
        return await rollout.wait()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: orchestrator.py NAME COMMAND…")
    sys.exit(asyncio.run(main(*sys.argv[1:])) and 1)
