"""Write the OCI form of the launch profile beside this file: `make generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rubicon.cli.launch.profile import oci

FOLDER = Path(__file__).parent


def files() -> dict[Path, str]:
    """What each file is to hold."""
    made: dict[str, Any] = {"seccomp.json": oci.seccomp(), "capabilities.json": oci.capabilities()}
    return {FOLDER / name: json.dumps(value, indent=2) + "\n" for name, value in made.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
