"""The outside of asyncssh_reverse: waits for the connection, and listens on LISTEN for what is to go through it."""

import asyncio
import os

import asyncssh


async def serve(connection: asyncssh.SSHClientConnection) -> None:
    await connection.forward_local_port("127.0.0.1", int(os.environ["LISTEN"]), "127.0.0.1", int(os.environ["TARGET"]))


async def main() -> None:
    def accepted(connection: asyncssh.SSHClientConnection) -> None:
        asyncio.get_running_loop().create_task(serve(connection))

    await asyncssh.listen_reverse(
        "127.0.0.1",
        int(os.environ["PORT"]),
        acceptor=accepted,
        known_hosts=None,
        username="x",
        client_keys=None,
        config=None,
    )
    await asyncio.Event().wait()


asyncio.run(main())
