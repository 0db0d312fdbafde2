"""The privileged daemon of a host: it watches agents from the kernel, ships what they did, and stops them."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec


def _import_without(module: str, *optional: str) -> None:
    """Import it without modules that it takes only where it finds them; no other import is concerned.

    What one of this process has imported before stays as it is.
    """
    if any(each in sys.modules for each in (module, *optional)):
        return
    sys.modules.update(dict.fromkeys(optional))  # type: ignore[arg-type]  # documented: an import of these fails
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module:
            raise
        # the reader of SSH configurations runs with the standard library alone
    finally:
        for each in optional:
            del sys.modules[each]


# A sensor is on every host of a cluster: 4 MB for tracebacks that no daemon prints, 5 MB for an OpenSSL of which it would use
# one hash (TLS is gRPC's own). An interpreter that was built without hashes of its own needs OpenSSL's.
_import_without("asyncio", "ssl")
if find_spec("_sha2") or find_spec("_sha256"):
    _import_without("hmac", "_hashlib")
_import_without("structlog", "rich")
