"""Ctrl-C and its kin at any moment of any command, from the first instruction on: quiet, and 128 + the signal's number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUBICON = Path(sys.executable).with_name("rubicon")
ENVIRONMENT = {**os.environ, "RUBICON_INSTANCE": "t-nothing-runs"}
MOMENTS = 25
COMMANDS = (("--help",), ("ps",), ("kill", "--local", "some"), ("run", "--profile", "show"))


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [RUBICON, *words],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment(words: tuple[str, ...], number: int) -> None:
    began = time.monotonic()
    with start(*words) as whole:
        _, said = whole.communicate(timeout=60)
    took = time.monotonic() - began
    codes = []
    for moment in range(0, MOMENTS, 1 if number == signal.SIGINT else 5):
        with start(*words) as running:
            time.sleep(took * moment / MOMENTS)  # the moment itself is what is tested
            running.send_signal(number)
            _, err = running.communicate(timeout=60)
        assert running.returncode in (128 + number, -number, whole.returncode), moment
        assert err in ("", said), moment
        codes.append(running.returncode)
    assert {128 + number, -number} & set(codes), "some came before the end"


@pytest.mark.parametrize("before", ["signal.default_int_handler", "signal.SIG_IGN"])
def test_what_must_be_tidied_up_is(before: str) -> None:
    program = f"""if True:
        import os, signal
        from rubicon.cli import interrupt
        signal.signal(signal.SIGINT, {before})
        interrupt.quietly()
        try:
            with interrupt.raising():
                os.kill(os.getpid(), signal.SIGINT)
                print("went on", flush=True)
        except KeyboardInterrupt:
            print("tidied up", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        print("went on", flush=True)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    ignored = before == "signal.SIG_IGN"
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (
        0 if ignored else 130,
        ["went on", "went on"] if ignored else ["tidied up"],
        "",
    )


def test_a_signal_that_was_held_back_is_not_forgotten() -> None:
    program = "import rubicon.cli.__main__; print('went on')"
    held = f"import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{2}}); os.kill(os.getpid(), 2); {program}"
    done = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_script_finds_its_other_half_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "rubicon").symlink_to(RUBICON)
    for command in ([tmp_path / "rubicon"], ["sh", "-c", "rubicon version"], ["sh", RUBICON]):
        words = [*command, "version"] if command[-1] != "rubicon version" else command
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(words, env={**ENVIRONMENT, "PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("rubicon ")
