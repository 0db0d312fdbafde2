"""Connects out and is the SSH server on that connection: a tunnel without any forward request."""

import asyncio
import os

import asyncssh


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


async def main() -> None:
    connection = await asyncssh.connect_reverse(
        "127.0.0.1", int(os.environ["PORT"]), server_factory=Server, server_host_keys=[os.environ["KEY"]], config=None
    )
    await connection.wait_closed()


asyncio.run(main())
