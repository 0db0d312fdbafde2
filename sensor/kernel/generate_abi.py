"""Write sensor/kernel/abi.py and enums.py from the BTF of a built object: `make generate`, or

python -m sensor.kernel.generate_abi
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from sensor.kernel import layout
from sensor.kernel.btf import Btf, Type

HERE = Path(__file__).parent
SOURCE = HERE / "objects" / "fork.bpf.o"
LAYOUTS, ENUMS = HERE / "abi.py", HERE / "enums.py"
HEAD = '''"""Record layouts. Generated from the BTF of bpf/events.h by generate_abi.py: do not edit.

Formats are little-endian. That of a record leaves out what records begin with: HEADER first, then FLOW where the record has
one, then the format that is named after the record.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

'''
ENUMS_HEAD = '''"""Kinds, flags and limits. Generated from the BTF of bpf/events.h by generate_abi.py: do not edit."""

from __future__ import annotations

from enum import IntEnum, IntFlag
'''
RECORDS_WITHOUT_BODY = {"flow"}
MAP_VALUES = {
    "task",
    "socket_entry",
    "tag",
    "cgroup",
    "agent",
    "stranger",
    "untagged",
    "allow_key",
    "allow",
    "owner",
    "account",
    "budget",
    "config",
}


def render(btf: Btf) -> str:
    """The module of layouts.

    Raises:
        ValueError: the object does not carry the ABI.
    """
    out = [
        HEAD,
        f'DIGEST: Final = "{layout.digest(btf)}"\n"""Of every layout, name and number here and in enums.py."""\n\n',
    ]
    for name, kind, found in layout.parts(btf):
        if kind == "struct" and name not in RECORDS_WITHOUT_BODY:
            out.append(_struct(btf, name, found))
    out += [_tuple(btf, name, found) for name, kind, found in layout.parts(btf) if name in MAP_VALUES]
    return "".join(out)


def render_enums(btf: Btf) -> str:
    """The module of kinds, flags and limits; raises as `render`."""
    return ENUMS_HEAD + "".join(_enum(found) for _, kind, found in layout.parts(btf) if kind == "enum")


def _struct(btf: Btf, name: str, found: Type) -> str:
    whole = name in MAP_VALUES
    fields = list(layout.fields(btf, found, whole=whole))
    constant = {"flow_part": "FLOW"}.get(name, name.upper())
    names = ", ".join(field for _, field in fields if field)
    described = f"struct {found.name}{'' if whole or name == 'header' else ' after what it begins with'}: {names}"
    return (
        f'{constant}: Final = Struct("<{_joined([code for code, _ in fields])}")\n'
        f'"""{textwrap.fill(described, 110)}"""\n\n'
    )


def _joined(codes: list[str]) -> str:
    out = ""
    index = 0
    while index < len(codes):
        run = 1
        while index + run < len(codes) and codes[index + run] == codes[index] and codes[index].isalpha():
            run += 1
        out += f"{run}{codes[index]}" if run > 1 else codes[index]
        index += run
    return out


def _tuple(btf: Btf, name: str, found: Type) -> str:
    fields = [field for _, field in layout.fields(btf, found, whole=True) if field]
    bytes_fields = {field for code, field in layout.fields(btf, found, whole=True) if code.endswith("s")}
    title = "".join(part.capitalize() for part in name.split("_"))
    lines = "".join(f"    {field}: {'bytes' if field in bytes_fields else 'int'}\n" for field in fields)
    return f'\nclass {title}Value(NamedTuple):\n    """struct {found.name}."""\n\n{lines}\n'


def _enum(found: Type) -> str:
    title = "".join(part.capitalize() for part in found.name.split("_"))
    names = list(found.values)
    prefix = names[0][: names[0].index("_") + 1]
    assert all(name.startswith(prefix) for name in names), found.name
    base = "IntFlag" if found.name.endswith("_flag") else "IntEnum"
    lines = "".join(f"    {name.removeprefix(prefix)} = {value}\n" for name, value in found.values.items())
    return f'\nclass {title}({base}):\n    """enum {found.name}."""\n\n{lines}\n'


def main() -> None:
    """Write the modules, formatted."""
    if not SOURCE.exists():
        sys.exit(f"{SOURCE} is missing: run make bpf")
    btf = Btf.of_object(SOURCE)
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    for target, text in ((LAYOUTS, render(btf)), (ENUMS, render_enums(btf))):
        target.write_text(text.rstrip("\n") + "\n")
        subprocess.run([ruff, "format", "--quiet", str(target)], check=True)


if __name__ == "__main__":
    main()
