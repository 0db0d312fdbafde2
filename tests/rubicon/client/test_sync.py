"""The client for ordinary code, against a real plane."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from queue import Queue

import pytest

from rubicon.client import Alert, Client, Response, errors
from rubicon.v1 import coverage_pb2, event_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tunnel
from tests.rubicon.world import Command, Result, World

ROOT, CHILD = key(100), key(101)


def rollout(kernel: Kernel) -> list[event_pb2.Event]:
    """An agent of two processes, of which one opens a tunnel."""
    return [
        kernel.enrol(ROOT, labels={"episode": "7"}),
        kernel.exec(ROOT, "bash", "rollout.sh"),
        kernel.fork(ROOT, CHILD),
        *tunnel(kernel, CHILD),
    ]


def test_an_agent_is_made_enrolled_and_finished(world: World, client: Client) -> None:
    agent = client.agents.create("rollout-7", labels={"episode": "7"}, on_alert="kill")
    assert (agent.name, agent.state, agent.alive, agent.on_alert) == ("rollout-7", "pending", True, "kill")
    assert agent.labels == {"episode": "7"}
    kernel = Kernel(agent=agent.id)

    async def enrol(command: Command) -> Result:
        assert world.link
        if command.HasField("enrol"):
            assert (command.enrol.process.pid, command.enrol.process.start_time_ns) == (ROOT.pid, ROOT.start_time_ns)
            event = kernel.enrol(ROOT, name=command.enrol.enrol.name, labels=command.enrol.enrol.labels)
        else:
            assert command.finish.detach
            event = kernel.finish("detached")
        await world.link.send([event])
        return Result()

    world.obey = enrol
    world.connect()
    running = agent.enrol(pid=ROOT.pid, start_time=ROOT.start_time_ns)
    assert (running.id, running.state, running.host) == (agent.id, "running", HOST.host)
    assert running.started_at is not None
    assert running.ended_at is None
    assert client.agents.connect("rollout-7").id == agent.id
    assert [each.id for each in client.agents.list(labels={"episode": "7"})] == [agent.id]
    assert list(client.agents.list(labels={"episode": "8"})) == []
    over = running.finish(detach=True)
    assert (over.state, over.alive) == ("finished", False)
    assert list(client.agents.list()) == []
    assert [each.state for each in client.agents.list(all=True)] == ["finished"]
    with pytest.raises(errors.AgentEnded):
        client.agents.connect(agent.id)
    assert agent.refresh().state == "finished"


def test_tree_events_and_alerts_are_read(world: World, client: Client) -> None:
    world.deliver(rollout(Kernel()))
    agent = client.agents.get("rollout")
    assert (agent.process_count, agent.alert_count, agent.flow_count) == (2, 2, 1)
    tree = agent.tree()
    assert len(tree) == 2
    assert [(depth, process.pid) for depth, _, process in tree.walk()] == [(0, 100), (1, 101)]
    assert [each.argv[0] for each in tree] == ["bash", "ssh"]
    kinds = [event.kind for event in agent.events()]
    assert kinds[:4] == ["enrol", "exec", "fork", "exec"]
    execs = list(agent.events(kinds=("exec",)))
    assert [event.detail["argv"][0] for event in execs] == ["bash", "ssh"]
    assert next(event.kind for event in client.events(pid=101, cursor=execs[1].cursor)) == "connect"
    worst = next(iter(agent.alerts(min_severity="high")))
    assert (worst.detector, worst.severity, worst.agent_name) == ("ssh-remote-forward", "high", "rollout")
    assert worst.process
    assert worst.process.argv[1:3] == ("-N", "-R")
    assert worst.flow
    assert worst.flow.destination == "203.0.113.9:443"
    assert worst == client.alerts.get(worst.id)
    assert {each.detector for each in client.alerts.list()} == {"ssh-outbound", "ssh-remote-forward"}
    assert list(client.alerts.list(since=datetime.now(UTC) + timedelta(days=400 * 365))) == []


def test_times_are_those_of_the_kernel_to_the_nanosecond(world: World, client: Client) -> None:
    kernel = Kernel()
    world.deliver([kernel.enrol(ROOT), kernel.event(ROOT, time_ns=1_234_567_891, exec=kernel.image("true"))])
    (event,) = client.events(kinds=("exec",))
    assert event.boot_time_ns == 1_234_567_891
    assert event.time_ns == HOST.clock_offset_ns + 1_234_567_891
    assert event.time == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.time_ns // 1000)
    assert list(client.events(until=event.time)) == [
        each for each in client.events() if each.time_ns < event.time_ns // 1000 * 1000
    ]


def test_kill_says_how_it_went(world: World, client: Client) -> None:
    kernel = Kernel()
    world.deliver(rollout(kernel))
    done = client.agents.get("rollout").kill(reason="it tunnels", force=True)
    assert (done.action, done.state, done.verified, done.killed) == ("kill", "verified", True, 2)
    assert (done.reason, done.steps) == ("it tunnels", ("condemned", "cgroup.kill"))
    assert done.elapsed_ns == 7_250_000
    (command,) = world.commands
    assert (command.kill.agent_id, command.kill.force) == (AGENT, True)
    assert [each.id for each in client.responses("rollout")] == [done.id]
    assert [each.id for each in client.agents.get("rollout").responses()] == [done.id]
    assert client.agents.get("rollout").state == "killed"


def test_a_response_is_watched_from_its_request_to_its_proof(world: World, client: Client) -> None:
    kernel = Kernel()
    world.connect(capabilities=["kill", "contain"])
    world.deliver(rollout(kernel))
    agent = client.agents.get("rollout")
    seen: list[Response] = []
    ends: list[errors.RubiconError] = []
    standing = threading.Event()

    def watch() -> None:
        try:
            for response in agent.watch_responses():
                seen.append(response)
                standing.set()
        except errors.RubiconError as error:
            ends.append(error)

    before = agent.release(reason="nothing is in force")
    watching = threading.Thread(target=watch)
    watching.start()
    assert standing.wait(10), "it begins with what was"
    done = agent.kill(reason="it tunnels")
    world.deliver([kernel.finish("killed")])
    watching.join(20)
    assert [type(each) for each in ends] == [errors.AgentKilledError]
    assert seen[0] == before
    assert [(each.id, each.state) for each in seen[1:]] == [(done.id, "requested"), (done.id, "verified")]
    assert [*client.watch_responses(response_id=done.id)] == [done]
    with pytest.raises(errors.NotFound):
        next(client.watch_responses(response_id="0"))


def test_one_process_is_killed_by_its_identity(world: World, client: Client) -> None:
    world.deliver(rollout(Kernel()))
    child = client.process(CHILD.pid, start_time=CHILD.start_time_ns)
    assert child.kill(reason="only this").verified
    assert world.commands[0].kill.process.pid == CHILD.pid
    with pytest.raises(errors.ProcessNotFound):
        client.process(CHILD.pid, start_time=CHILD.start_time_ns + 1).kill()


def test_one_process_is_frozen_isolated_and_released(world: World, client: Client) -> None:
    world.connect(capabilities=["kill", "contain"])
    world.deliver(rollout(Kernel()))
    child = client.process(CHILD.pid)
    done = [child.freeze(ttl=60), child.isolate(allow=["10.0.0.0/8"], reason="why"), child.release()]
    assert [each.action for each in done] == ["freeze", "isolate", "release"]
    assert {each.process for each in done} == {(CHILD.pid, CHILD.start_time_ns)}
    asked = [command.contain for command in world.commands]
    assert [each.process.pid for each in asked] == [CHILD.pid] * 3
    assert (asked[0].ttl_ns, list(asked[1].isolation.allow)) == (60 * 10**9, ["10.0.0.0/8"])


def test_a_watch_begins_with_what_exists_and_goes_on(world: World, client: Client) -> None:
    kernel = Kernel()
    world.deliver(rollout(kernel))
    watch = client.agents.get("rollout").watch(min_severity="high")
    first = next(watch)
    assert first.detector == "ssh-remote-forward"
    other = Kernel("bbbb00000001", epoch=78)
    world.deliver([other.enrol(key(200), name="second"), *tunnel(other, key(200), cookie=6)])
    world.deliver(tunnel(kernel, ROOT, cookie=9))
    second = next(watch)
    assert (second.agent_name, second.detector) == ("rollout", "ssh-remote-forward")
    assert second.id != first.id


def test_more_than_a_page(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rubicon.client.requests.agents.PAGE", 3)
    made = [client.agents.create(f"a{number}").id for number in range(8)]
    assert [each.id for each in client.agents.list()] == made[::-1]


def test_coverage_probe_and_health(world: World, client: Client) -> None:
    kernel = Kernel(agent="")

    async def probe(command: Command) -> Result:
        assert world.link
        await world.link.send([kernel.event(None, probe=event_pb2.Probe(token=command.probe.token))])
        return Result()

    world.obey = probe
    fact = coverage_pb2.CoverageFact(
        fact="exec", hook="sched_process_exec", mechanism="tracepoint", state=coverage_pb2.COVERAGE_STATE_PARTIAL
    )
    world.connect(coverage=coverage_pb2.Coverage(kernel="6.18", loader="libbpf", facts=[fact]))
    (host,) = client.coverage()
    assert (host.host, host.kernel, host.loader, host.connected) == ("rome", "6.18", "libbpf", True)
    assert (host.facts[0].fact, host.facts[0].state) == ("exec", "partial")
    assert 0 < client.probe() < 10
    assert client.healthy()
    world.stop_plane()
    assert not client.healthy()
    world.start_plane()


def test_many_threads_use_one_client(world: World, client: Client) -> None:
    world.deliver(rollout(Kernel()))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend(each.id for each in client.agents.list())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [AGENT] * 8
    assert len([each for each in world.local.asked if each["op"] == "attest"]) == 1, "one token serves all"


def test_a_token_is_renewed_in_time_and_when_the_plane_does_not_take_it(world: World, client: Client) -> None:
    world.local.ttl = 5  # below the margin: each call needs a new one
    client.agents.create("a")
    client.agents.create("b")
    assert len(world.local.asked) == 2
    world.local.ttl = 60
    client.agents.create("c")
    world.stop_plane()
    world.stage.key = bytes(32)  # a plane whose key was renewed
    world.start_plane()
    assert client.agents.create("d").name == "d"
    assert len(world.local.asked) == 4


def test_closing_ends_a_watch(world: World, client: Client) -> None:
    world.deliver(rollout(Kernel()))
    seen: Queue[Alert] = Queue()

    def watch() -> None:
        for alert in client.alerts.watch(existing=True):
            seen.put(alert)

    thread = threading.Thread(target=watch)
    thread.start()
    seen.get(timeout=10)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(errors.RubiconUnreachable, match="closed"):
        list(client.agents.list())


def test_what_cannot_be_is_told_before_it_is_sent(client: Client) -> None:
    agent = client.agents.create("a")
    for arguments in ({}, {"pid": 1, "cgroup": "/x"}):
        with pytest.raises(errors.InvalidArgument, match="either pid or cgroup"):
            agent.enrol(**arguments)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match="use one of info"):
        client.alerts.list(min_severity="loud").__next__()
