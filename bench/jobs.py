"""Whole jobs, enrolled against nothing running: a build, and a run of a test suite."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.host import BIN, ENVIRONMENT, up
from bench.row import Row
from bench.stats import paired

FILES = 600
"""Of the build, which takes about a minute; each is some hundred lines, as most are: a compiler driver, a compiler and an
assembler, about 0.1 s."""
FUNCTIONS = 40
TESTS = 900
"""Of the suite; each calls a program and reads a file, as tests of tools do."""
BAR = 1.02

_FUNCTION = """
static long work_{n}(const char *text, long from)
{{
	char buffer[256];
	long sum = from;

	snprintf(buffer, sizeof(buffer), "%s %ld {n}", text, from);
	for (size_t i = 0; i < strlen(buffer); i++)
		sum = sum * 31 + (isalnum(buffer[i]) ? buffer[i] : {n});
	return sum > {n} ? sum % ({n} + 7) : labs(sum);
}}
"""
_SUITE = """
import subprocess, pytest
@pytest.mark.parametrize("n", range({tests}))
def test_tool(n, tmp_path):
    (tmp_path / "in").write_text("a line\\n" * (n + 1))
    done = subprocess.run(["wc", "-l", str(tmp_path / "in")], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) == n + 1
    table = {{str(i): hash((i, n)) for i in range(20_000)}}
    assert len(sorted(table.values())) == 20_000
"""


@contextmanager
def _build() -> Iterator[list[str]]:
    """A make of FILES files with as many jobs as there are processors."""
    with tempfile.TemporaryDirectory(prefix="rubicon-bench-") as folder:
        head = "#include <ctype.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\n"
        body = "".join(_FUNCTION.format(n=n) for n in range(FUNCTIONS))
        calls = " + ".join(f"work_{n}(t, x)" for n in range(FUNCTIONS))
        for number in range(FILES):
            source = f"{head}{body}\nlong all_{number}(const char *t, long x) {{ return {calls}; }}\n"
            (Path(folder) / f"f{number}.c").write_text(source)
        objects = " ".join(f"f{number}.o" for number in range(FILES))
        (Path(folder) / "Makefile").write_text(f"all: {objects}\n%.o: %.c\n\t$(CC) -O2 -c -o $@ $<\n")
        yield ["make", "-s", "-B", f"-j{subprocess.check_output(['nproc'], text=True).strip()}", "-C", folder]


@contextmanager
def _suite() -> Iterator[list[str]]:
    """A run of pytest over TESTS tests."""
    with tempfile.TemporaryDirectory(prefix="rubicon-bench-") as folder:
        (Path(folder) / "test_tools.py").write_text(_SUITE.format(tests=TESTS))
        yield [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, folder]


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True, timeout=600)
    return time.monotonic() - began


def measure(pairs: int) -> list[Row]:
    """Rows "compile job" and "pytest run": wall time under `rubicon run`, its start included, over wall time without."""
    rows = []
    for title, job in (("compile job", _build), ("pytest run", _suite)):
        down, enrolled = [], []
        with job() as command:
            _seconds(command)
            for pair in range(pairs):
                for arm in ((False, True), (True, False))[pair % 2]:
                    if not arm:
                        down.append(_seconds(command))
                        continue
                    with up():
                        enrolled.append(_seconds([str(BIN / "rubicon"), "run", "-q", "--", *command]))
        found = paired(down, enrolled, lambda u, d: u / d)
        rows.append(Row(f"enrolled: {title}, {sorted(down)[pairs // 2]:.1f} s", "ratio", found, BAR, pairs))
    return rows
