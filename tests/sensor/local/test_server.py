"""The local socket: every op, every refusal, and callers that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rubicon.v1 import response_pb2, tokens
from tests.sensor.act.stage import until
from tests.sensor.local.conftest import NOBODY, Served

pytestmark = pytest.mark.root
CLIENT = """
import json, socket, sys, os
s = socket.socket(socket.AF_UNIX)
if len(sys.argv) > 3: os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\\n")
print(s.makefile().readline(), flush=True)
"""


async def ask(served: Served, request: dict[str, object], uid: int = 0) -> dict[str, object]:
    """The answer to another process, of another user if wanted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, served.path, json.dumps(request), *([str(uid)] if uid else []),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    answer: dict[str, object] = json.loads(output)
    return answer


async def test_attest_signs_what_the_kernel_says(served: Served) -> None:
    answer = await served.call("attest")
    assert answer["ok"]
    claims = tokens.verify(served.key, answer["token"], "api")
    assert (claims.pid, claims.uid) == (os.getpid(), 0)
    assert claims.start_time == served.stage.key(os.getpid())[1]
    assert claims.host == answer["host"]
    assert claims.boot_id == answer["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert abs(answer["expires_at"] - claims.expires_at) <= 1


async def test_attest_signs_another_users_uid(served: Served) -> None:
    answer = await ask(served, {"op": "attest"}, NOBODY)
    assert tokens.verify(served.key, str(answer["token"]), "api").uid == NOBODY


async def test_a_launched_child_is_an_agent(served: Served) -> None:
    child = served.stage.held("sleep", "60")
    answer = await served.call(
        "launch", pid=child.pid, name="first", labels={"k": "v"}, command=["sleep", "60"], on_alert="kill", uid=0
    )
    assert answer["ok"], answer
    agent = served.stage.registry.find("first")
    assert (answer["agent_id"], answer["name"], answer["cgroup_path"]) == (agent.id, "first", agent.cgroup_path)
    assert served.stage.members(agent) == [child.pid]
    assert agent.on_alert == "kill"
    assert f"uid 0 pid {os.getpid()}" in agent.enrolled_by
    listed = (await served.call("agents"))["agents"]
    assert [(each["id"], each["processes"], each["labels"]) for each in listed] == [(agent.id, 1, {"k": "v"})]
    assert (await served.call("status"))["agents"] == 1


@pytest.mark.parametrize("name", ["4242", "pid:4242", "a1b2c3d4e5f6", "x" * 64, "-x"])
async def test_a_name_that_would_deceive_is_refused(served: Served, name: str) -> None:
    child = served.stage.held("sleep", "60")
    answer = await served.call("launch", pid=child.pid, name=name)
    assert answer["reason"] == "INVALID_ARGUMENT"
    assert name in answer["error"]


async def test_only_a_child_of_the_caller_can_be_launched(served: Served) -> None:
    child = served.stage.held("sleep", "60")
    for request in (
        {"op": "launch", "pid": child.pid},
        {"op": "launch", "pid": os.getpid()},
        {"op": "launch", "pid": 1},
    ):
        answer = await ask(served, request)
        assert answer["reason"] == "PERMISSION_DENIED", answer
    answer = await ask(served, {"op": "launch", "pid": child.pid}, NOBODY)
    assert answer["reason"] == "PERMISSION_DENIED"
    assert "owner" in str(answer["error"])


async def test_kill_by_name_and_by_process(served: Served) -> None:
    agent, child = served.stage.launch("sh", "-c", "sleep 60 & sleep 61", name="target")
    until(lambda: len(served.stage.members(agent)) == 3)
    pid, start_time = served.stage.key(next(each for each in served.stage.members(agent) if each != child.pid))
    answer = await served.call("kill", target={"pid": pid, "start_time": start_time + 1})
    assert answer["reason"] == "PROCESS_NOT_FOUND"
    answer = await served.call("kill", target={"pid": pid, "start_time": start_time})
    assert (answer["response"]["state"], answer["response"]["killed"]) == ("RESPONSE_STATE_VERIFIED", 1)
    answer = await served.call("kill", target="target", reason="because")
    assert answer["response"]["state"] == "RESPONSE_STATE_VERIFIED"
    assert answer["response"]["agent_id"] == agent.id
    assert answer["response"]["reason"] == "because"
    assert f"pid {os.getpid()}" in answer["response"]["requested_by"]
    until(lambda: child.poll() == -9)
    first, second = (event.contain for event in served.stage.events if event.HasField("contain"))
    assert first.action == second.action == response_pb2.ACTION_KILL
    assert (first.process.pid, first.process.start_time_ns, second.process.pid) == (pid, start_time, 0)
    for name in ("reason", "requested_by"):
        assert getattr(second, name) == answer["response"][name]
    assert second.response_id == answer["response"]["id"]


async def test_finish_detaches(served: Served) -> None:
    agent, child = served.stage.launch("sleep", "60", name="free")
    assert (await served.call("finish", agent="free"))["reason"] == "INVALID_ARGUMENT"
    assert (await served.call("finish", agent="free", detach=True))["agent_id"] == agent.id
    assert child.poll() is None
    (finish,) = (event.finish for event in served.stage.events if event.HasField("finish"))
    assert finish.reason == "finished"
    assert f"pid {os.getpid()}" in finish.requested_by


async def test_an_agent_is_refused_whatever_it_asks(served: Served) -> None:
    for op in ("attest", "launch", "kill", "agents", "status", "finish", "nonsense"):
        request = json.dumps({"op": op, "pid": 1, "target": "x", "agent": "x"})
        agent, child = served.stage.launch(sys.executable, "-c", CLIENT, served.path, request)
        output, _ = await asyncio.to_thread(child.communicate)
        answer = json.loads(output)
        assert (answer["ok"], answer["reason"]) == (False, "CALLER_IS_AGENT")
        tampers = [event for event in served.stage.events if event.agent_id == agent.id and event.HasField("tamper")]
        assert [event.tamper.action for event in tampers] == ["local-socket"]
        assert op in tampers[0].tamper.detail
        assert tampers[0].process.pid == child.pid


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "INVALID_ARGUMENT"),
        (b"nonsense\n", "INVALID_ARGUMENT"),
        (b"\xff\xfe\n", "INVALID_ARGUMENT"),
        (b"[]\n", "INVALID_ARGUMENT"),
        (b"[" * 5000 + b"\n", "INVALID_ARGUMENT"),
        (b'{"op": 7}\n', "INVALID_ARGUMENT"),
        (b'{"op": "explode"}\n', "INVALID_ARGUMENT"),
        (b'{"op": "launch"}\n', "INVALID_ARGUMENT"),
        (b'{"op": "launch", "pid": "1"}\n', "INVALID_ARGUMENT"),
        (b'{"op": "launch", "pid": true}\n', "INVALID_ARGUMENT"),
        (b'{"op": "launch", "pid": -1}\n', "INVALID_ARGUMENT"),
        (b'{"op": "launch", "pid": 1, "command": [1]}\n', "INVALID_ARGUMENT"),
        (b'{"op": "launch", "pid": 99999999999}\n', "PROCESS_NOT_FOUND"),
        (b'{"op": "kill"}\n', "INVALID_ARGUMENT"),
        (b'{"op": "kill", "target": []}\n', "INVALID_ARGUMENT"),
        (b'{"op": "kill", "target": "x", "force": 1}\n', "INVALID_ARGUMENT"),
        (b'{"op": "kill", "target": "nobody"}\n', "AGENT_NOT_FOUND"),
        (b'{"op": "kill", "target": {"pid": 1}}\n', "PROCESS_NOT_FOUND"),
        (b'{"op": "kill", "target": {"pid": 99999999999}}\n', "PROCESS_NOT_FOUND"),
        (b'{"op": "finish", "agent": "nobody"}\n', "AGENT_NOT_FOUND"),
        (b"x" * 70000 + b"\n", "INVALID_ARGUMENT"),
        (b"x" * 200000, "INVALID_ARGUMENT"),
    ],
)
async def test_bad_requests_get_a_typed_answer(served: Served, line: bytes, reason: str) -> None:
    answer = await served.send(line)
    assert (answer["ok"], answer["reason"]) == (False, reason)
    assert answer["error"]
    assert (await served.call("status"))["ok"]


async def test_a_request_cut_short(served: Served) -> None:
    reader, writer = await asyncio.open_unix_connection(served.path)
    writer.write(b'{"op":')
    writer.write_eof()
    assert json.loads(await reader.readline())["reason"] == "INVALID_ARGUMENT"
    writer.close()


async def test_a_silent_or_slow_caller_is_let_go(served: Served) -> None:
    reader, writer = await asyncio.open_unix_connection(served.path)
    started = time.monotonic()
    writer.write(b'{"op"')
    assert json.loads(await reader.readline())["reason"] == "DEADLINE"
    assert await reader.read() == b""
    assert time.monotonic() - started < 5
    writer.close()


async def test_a_caller_that_does_not_read_holds_nobody_up(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.setblocking(False)
        deaf.connect(served.path)
        sent, deadline = 0, time.monotonic() + 10
        while sent < 100 and time.monotonic() < deadline:
            try:
                deaf.send(b'{"op": "nonsense"}\n' * 50)
            except BlockingIOError:
                sent += 1  # neither side takes more
            except (BrokenPipeError, ConnectionResetError):
                break  # it was let go
            await asyncio.sleep(0.001)
            assert (await served.call("status"))["ok"]


def flood(path: str, count: int) -> list[dict[str, object]]:
    """Connect many times at once and ask on each connection; the answers."""
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for each in crowd:
            each.settimeout(10)
            each.connect(path)
        for each in crowd:
            with contextlib.suppress(BrokenPipeError):
                each.sendall(b'{"op": "status"}\n')
        return [json.loads(stack.enter_context(each.makefile()).readline()) for each in crowd]


async def test_a_flood_of_connections_is_refused_and_ends(served: Served) -> None:
    answers = await asyncio.to_thread(flood, served.path, 20)
    refused = [answer for answer in answers if not answer["ok"]]
    assert len(refused) == 20 - 12
    assert {answer["reason"] for answer in refused} == {"DEADLINE"}
    deadline = time.monotonic() + 10
    while not (await served.call("status"))["ok"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_several_requests_on_one_connection(served: Served) -> None:
    reader, writer = await asyncio.open_unix_connection(served.path)
    for _ in range(3):
        writer.write(b'{"op": "status"}\n{"op": "nonsense"}\n')
        assert json.loads(await reader.readline())["ok"]
        assert not json.loads(await reader.readline())["ok"]
    writer.close()


async def test_a_caller_that_has_ended_is_refused(served: Served) -> None:
    program = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.set_inheritable(True)\n"
        "if os.fork(): os._exit(0)\n"
        "sys.stdin.readline()\n"
        'try: s.sendall(b\'{"op": "attest"}\\n\')\n'
        "except BrokenPipeError: pass\n"
        "print(s.makefile().readline(), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, served.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.wait()
    output, _ = await asyncio.to_thread(process.communicate, "\n")
    assert json.loads(output)["reason"] == "PROCESS_NOT_FOUND"


async def test_only_the_group_may_connect(served: Served) -> None:
    status = Path(served.path).stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o660, 0, NOBODY)


async def test_stop_removes_the_socket(served: Served) -> None:
    _, writer = await asyncio.open_unix_connection(served.path)
    await served.server.stop()
    assert not Path(served.path).exists()
    writer.close()
