"""A local forward by asyncssh: the tunnel's door is on this side."""

import asyncio
import os

import asyncssh


async def main() -> None:
    async with asyncssh.connect(
        "127.0.0.1",
        int(os.environ["PORT"]),
        username="root",
        client_keys=[os.environ["KEY"]],
        known_hosts=None,
        config=None,
        agent_path=None,
    ) as connection:
        await connection.forward_local_port(
            "127.0.0.1", int(os.environ["LISTEN"]), "127.0.0.1", int(os.environ["TARGET"])
        )
        await connection.wait_closed()


asyncio.run(main())
