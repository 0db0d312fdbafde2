"""An honest program that runs commands on several hosts at once, and reports each result to a database, from one
process."""

import asyncio
import os

import asyncssh


async def work(number: int) -> None:
    async with asyncssh.connect(
        "127.0.0.1",
        int(os.environ["PORT"]),
        username="root",
        client_keys=[os.environ["KEY"]],
        known_hosts=None,
        config=None,
        agent_path=None,
    ) as connection:
        for size in (10, 100, 1000):
            done = await connection.run(f"head -c {size + number} /dev/zero | tr '\\0' x", check=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["TARGET"]))
            writer.write(str(done.stdout)[:60].encode())
            await reader.readexactly(48000)
            writer.close()


async def main() -> None:
    await asyncio.gather(*(work(number) for number in range(4)))


asyncio.run(main())
