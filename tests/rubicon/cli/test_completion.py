"""Completion in the shells, by the scripts that `rubicon completion` prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rubicon.cli.commands import COMMANDS
from rubicon.cli.framework import agent_names
from tests.rubicon.cli.conftest import Cli
from tests.rubicon.world import FolderInstance, World

BIN = Path(sys.executable).parent


def completed(words: str) -> list[str]:
    """What bash offers for the last word of a command line."""
    program = f"""
        eval "$(rubicon completion bash)"
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _rubicon_completion rubicon
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "RUBICON_INSTANCE": "t-nothing-runs"}
    done = subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    return done.stdout.split()


def test_bash_completes_commands_and_options() -> None:
    assert completed('rubicon ""') == list(COMMANDS)
    assert completed("rubicon t") == ["tree"]
    assert completed("rubicon co") == ["coverage", "completion"]
    assert {"--json", "--follow", "--since", "--kind", "--show-secrets"} <= set(completed("rubicon events --"))
    assert completed("rubicon alerts --severity h") == ["high"]
    assert completed("rubicon run --on-alert k") == ["kill"]


def test_bash_completes_what_is_to_be_run() -> None:
    assert "true" in completed("rubicon run -- tru")
    assert completed("rubicon run -- /bin/tru") == completed("rubicon run -- ls /bin/tru") == []


def test_nothing_is_said_where_nothing_runs() -> None:
    assert completed('rubicon tree ""') == []
    assert completed("rubicon nosuch x") == []


def test_agents_are_completed(told: World, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import click

    context = click.Context(click.Command("tree"))
    parameter = click.Argument(["agent"])
    assert agent_names(context, parameter, "") == ["rollout"]
    assert agent_names(context, parameter, "ro") == ["rollout"]
    assert agent_names(context, parameter, "x") == []
    monkeypatch.setattr("rubicon.v1.instance.Instance.current", lambda: FolderInstance(str(tmp_path / "none")))
    assert agent_names(context, parameter, "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(cli: Cli, shell: str) -> None:
    done = cli("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "_RUBICON_COMPLETE" in done.out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.out, text=True, check=True)
