"""What a user imports: pinned names, and what importing costs."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rubicon
import rubicon.client
from rubicon.cli.commands import COMMANDS, Commands, summary
from rubicon.client import errors
from rubicon.v1 import error_pb2

PACKAGE = {
    "Agent", "AgentKilledError", "Alert", "AsyncAgent", "AsyncClient", "Client", "Coverage", "Event", "NotFound",
    "Process", "Refused", "Response", "RubiconError", "RubiconUnreachable", "Tree", "client", "errors",
}  # fmt: skip
CLIENT = (PACKAGE - {"client"}) | {"AlertFlow", "CoverageFact", "Evidence", "Rule", "Survivor"}
METHODS = {
    "Client": {
        "agent", "call", "close", "coverage", "events", "healthy", "pages", "probe", "process", "reload_rules",
        "responses", "resuming", "rules", "watch_responses",
    },
    "Agent": {
        "alerts", "alive", "ended_at", "enrol", "events", "finish", "freeze", "isolate", "kill", "refresh", "release",
        "responses", "started_at", "tree", "wait", "watch", "watch_responses",
    },
}  # fmt: skip
NAMESPACES = {
    "agents": {"connect", "create", "get", "list"},
    "alerts": {"get", "list", "watch"},
    "audit": {"export", "get", "list", "verify"},
}
ERRORS = {
    "AgentEnded", "AgentKilledError", "AgentNameTaken", "AgentNotFound", "AlreadyEnrolled", "CallerIsAgent",
    "CgroupNotFound", "CursorInvalid", "DeadlineExceeded", "HostMismatch", "InternalError", "InvalidArgument",
    "NotFound", "Overloaded",
    "PermissionDenied", "ProcessNotFound", "Refused", "RubiconError", "RubiconUnreachable", "SensorDuplicate",
    "SensorUnreachable", "StoreUnavailable", "TargetProtected", "TokenExpired", "Unauthenticated",
}  # fmt: skip
HEAVY = {
    "alembic", "asyncio", "controlplane", "google", "grpc", "jwt", "paramiko", "rich", "sensor", "sqlalchemy",
    "structlog", "zstandard",
}  # fmt: skip


def methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")} - {"client"}


def loaded(program: str) -> set[str]:
    """Which of the heavy packages a program has loaded at its end."""
    tail = f"\nimport sys; print(*({HEAVY | {'click', 'rubicon.cli'}} & sys.modules.keys()), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program + tail], capture_output=True, text=True, check=True, cwd="/")
    return set(done.stderr.splitlines()[-1].split())


def test_names_of_the_package() -> None:
    assert set(rubicon.__all__) == PACKAGE
    assert set(rubicon.client.__all__) == CLIENT
    for module in (rubicon, rubicon.client):
        assert set(module.__all__) <= set(dir(module))
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'Klient'"):
            module.Klient  # noqa: B018


@pytest.mark.parametrize(("sync", "aio"), [("Client", "AsyncClient"), ("Agent", "AsyncAgent")])
def test_names_of_the_client_are_the_same_for_asyncio(sync: str, aio: str) -> None:
    facts = {name for name in methods(getattr(rubicon, sync)) if name in rubicon.Agent.__dataclass_fields__}
    assert methods(getattr(rubicon, sync)) - facts == METHODS[sync]
    assert methods(getattr(rubicon, aio)) - facts == METHODS[sync]


@pytest.mark.parametrize("name", sorted(NAMESPACES))
def test_names_below_the_client_are_the_same_for_asyncio(name: str) -> None:
    sync = getattr(importlib.import_module(f"rubicon.client.{name}"), name.title())
    aio = getattr(importlib.import_module(f"rubicon.client.aio_{name}"), f"Async{name.title()}")
    assert methods(sync) == methods(aio) == NAMESPACES[name]
    for method in NAMESPACES[name]:
        assert (
            inspect.signature(getattr(sync, method)).parameters.keys()
            == inspect.signature(getattr(aio, method)).parameters.keys()
        )


def test_names_of_errors_and_a_class_for_every_reason_of_the_wire() -> None:
    assert {kind.__name__ for kind in errors._tree(errors.RubiconError)} == ERRORS
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert set(errors.BY_REASON) == reasons - {"UNSPECIFIED"}
    for reason, kind in errors.BY_REASON.items():
        found = errors.from_reason(f"ERROR_REASON_{reason}", "what", "do this")
        assert (type(found), found.reason, str(found), found.hint) == (kind, reason, "what", "do this")
    newer = errors.from_reason("NOT_INVENTED_YET", "what")
    assert isinstance(newer, errors.InternalError)
    assert newer.hint


def test_the_docstring_draws_the_real_tree_of_errors() -> None:
    assert errors.__doc__
    for name in ERRORS:
        assert name in errors.__doc__, name


@pytest.mark.parametrize(
    "program",
    [
        "import rubicon",
        "import rubicon.client",
        "import rubicon.v1.instance, rubicon.v1.ids, rubicon.v1.tokens",
        "import rubicon.client.local, rubicon.client.errors",
        "import rubicon.cli.main",
        "from rubicon.cli.main import main; main(['--help'])",
        "from rubicon.cli.main import main; main(['run', '--help'])",
        "from rubicon.cli.main import main; main(['nosuch'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(program: str) -> None:
    assert loaded(program) & HEAVY == set()


@pytest.mark.parametrize("program", ["rubicon.Client", "rubicon.AsyncClient", "rubicon.errors"])
def test_the_client_loads_neither_the_command_line_nor_a_daemon(program: str) -> None:
    unwanted = {"alembic", "click", "controlplane", "jwt", "paramiko", "rich", "rubicon.cli", "sensor", "sqlalchemy"}
    assert not loaded(f"import rubicon; {program}") & unwanted


def test_help_is_there_at_once() -> None:
    took = min(worked(str(Path(sys.executable).with_name("rubicon")), "--help") for _ in range(5))
    bare = min(worked(sys.executable, "-c", "pass") for _ in range(5))
    assert took < bare + 0.25, f"--help takes {took:.3f} s, an empty Python {bare:.3f} s"


def worked(*command: str) -> float:
    """Seconds that a command had a processor: how long it takes where nobody else wants one."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
    os.close(null)
    _, status, used = os.wait4(pid, 0)
    assert status == 0
    return used.ru_utime + used.ru_stime


def test_every_command_is_listed_and_its_summary_is_its_help() -> None:
    folder = Path(importlib.import_module("rubicon.cli.command").__path__[0])
    assert {path.stem for path in folder.glob("[!_]*.py")} == set(COMMANDS)
    group = Commands()
    for name in COMMANDS:
        command = group.get_command(group.make_context("rubicon", ["x"], resilient_parsing=True), name)
        assert command
        assert command.name == name
        assert inspect.cleandoc(command.help or "") == summary(name)


def test_documentation_of_the_command_line_is_up_to_date() -> None:
    root = Path(__file__).parents[2]
    program = "import runpy; print(runpy.run_path('docs/generate_cli.py')['page'](), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env={**os.environ, "COLUMNS": "200"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == (root / "docs" / "cli.md").read_text(), "run 'make generate'"
