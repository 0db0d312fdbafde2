"""The console script before anything is loaded."""

from __future__ import annotations

import hmac
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sensor.daemon import main


def test_it_knows_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == version("rubicon")


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--explode"])
    assert ended.value.code == 2
    assert "--explode" in capsys.readouterr().err


def test_it_imports_nothing_that_it_does_not_need() -> None:
    heavy = [
        "rich",
        "pyroute2",
        "cryptography",
        "jwt",
        "paramiko",
        "sqlalchemy",
        "email",
        "unittest",
        "ssl",
        "_hashlib",
    ]
    program = f"import sys, sensor.daemon; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path("/"))
    assert done.stdout.strip() == "[]"


def test_its_own_hashes_are_those_of_openssl() -> None:
    program = "import sensor.daemon, hmac; print(hmac.digest(b'key', b'message', 'sha256').hex())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path("/"))
    assert done.stdout.strip() == hmac.digest(b"key", b"message", "sha256").hex()


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("rubicon-sensor")
    done = subprocess.run([str(script), "--help"], capture_output=True, text=True, check=True)
    assert "rubicon-sensor" in done.stdout
