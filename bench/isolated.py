"""What an isolation costs those whom it does not concern: processes of no agent, and other agents."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from bench.host import BIN, ENVIRONMENT, micro, minima, rubicon, up
from bench.row import Row
from bench.stats import paired

WORKLOADS = {"connect_close": "a connect", "udp_send": "a datagram", "tcp_round_trip": "a round trip of two packets"}


@contextmanager
def _isolated() -> Iterator[None]:
    """Another agent is isolated inside the block: the programs that only then are attached, are."""
    command = [str(BIN / "rubicon"), "run", "-q", "--name", "isolated", "--", "sh", "-c", "echo ready; exec sleep 600"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        rubicon("isolate", "isolated")
        try:
            yield
        finally:
            rubicon("kill", "isolated")
            process.wait(timeout=60)


def measure(pairs: int, seconds: float) -> list[Row]:
    """Rows "something isolated", microseconds added, for an agent that is not isolated and for a process of none."""
    figures: dict[tuple[str, bool], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with up(), micro(seconds, *WORKLOADS) as command:

        def block(isolated: bool) -> None:
            bare = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
            for who, output in (("nobody's", bare), ("another agent's", rubicon("run", "--", *command).stdout)):
                for name, minimum in minima(output).items():
                    figures[who, isolated][name].append(minimum)

        for pair in range(pairs):
            for isolated in (False, True) if pair % 2 == 0 else (True, False):
                if isolated:
                    with _isolated():
                        block(True)
                else:
                    block(False)
    return [
        Row(
            f"while something is isolated, {who} process: {what}",
            "µs",
            paired(figures[who, False][name], figures[who, True][name], lambda up, down: (up - down) / 1000),
            None,
            pairs,
        )
        for who in ("nobody's", "another agent's")
        for name, what in WORKLOADS.items()
    ]
