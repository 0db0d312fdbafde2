"""Compile the BPF objects into the wheel, so that installing it needs no compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

HERE = Path(__file__).resolve().parent


class BuildObjects(build_py):
    """build_py, preceded by `make bpf`."""

    def run(self) -> None:
        """Build the objects.

        Raises:
            SystemExit: there is no clang to build them with.
        """
        if not self.editable_mode:
            if not shutil.which("clang"):
                raise SystemExit("building Rubicon needs clang and libbpf's headers: run deploy/dependencies.sh build")
            subprocess.run(["make", "--silent", "bpf"], cwd=HERE, check=True)
        super().run()


class ObjectDistribution(Distribution):
    """Marks the wheel as platform-specific: BPF objects are compiled for one architecture's registers."""

    def has_ext_modules(self) -> bool:
        """Always true."""
        return True


setup(cmdclass={"build_py": BuildObjects}, distclass=ObjectDistribution)
