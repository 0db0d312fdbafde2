"""The tar: a manifest first, then a folder a process. Written beside its place and renamed: half of one never stands."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMAT = 1


def write(path: Path, head: dict[str, Any], files: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Write the archive, readable for its owner only; the manifest that it holds.

    Args:
        head: what the manifest says besides its files.
        files: (name, content), in order.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    contents = list(files)
    manifest = {
        "format": FORMAT,
        **head,
        "files": [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents
        ],
    }
    draft = path.with_name(path.name + ".partial")
    try:
        # a name that anybody may have put there, as a link or a file, is not written through
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        mode = "w:gz" if path.suffix in (".gz", ".tgz") else "w"
        with open(fd, "wb") as file, tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            _add(tar, "manifest.json", json.dumps(manifest, indent=2).encode())
            for name, data in contents:
                _add(tar, name, data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    tar.addfile(entry, io.BytesIO(data))
