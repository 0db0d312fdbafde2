"""Detectors: one file each; same name for its page, samples and tests. They know nothing of one another."""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

from controlplane.model.detector import DetectorModule


def load() -> tuple[DetectorModule, ...]:
    """Every module of this package that declares a DETECTOR, sorted by module name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(cast("DetectorModule", module) for module in modules if hasattr(module, "DETECTOR"))
