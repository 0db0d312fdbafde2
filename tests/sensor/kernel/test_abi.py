"""One ABI: the decoder is what the objects' BTF says, in the file, in the kernel and in what is pinned; else nothing starts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubicon.v1.instance import Instance
from sensor.kernel import abi, bpf, enums, generate_abi, host, layout, objects
from sensor.kernel.btf import Btf, elf_section
from sensor.kernel.errors import KernelAbiMismatch
from sensor.kernel.loader import Kernel
from sensor.kernel.programs import OBJECTS
from sensor.kernel.settings import KernelSettings

_OBJECTS = [entry.name for entry in OBJECTS]
_BTF = elf_section((objects.FOLDER / "fork.bpf.o").read_bytes(), ".BTF")


def _object(name: str) -> Path:
    return objects.FOLDER / f"{name}.bpf.o"


@pytest.mark.parametrize(("module", "render"), [(abi, generate_abi.render), (enums, generate_abi.render_enums)])
def test_the_decoder_is_what_the_generator_writes(
    tmp_path: Path, module: ModuleType, render: Callable[[Btf], str]
) -> None:
    target = tmp_path / "written.py"
    target.write_text(render(Btf.of_object(_object("fork"))).rstrip("\n") + "\n")
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    config = Path(__file__).parents[3] / "pyproject.toml"
    subprocess.run([ruff, "format", "--quiet", "--config", str(config), str(target)], check=True)
    assert module.__file__
    assert target.read_text() == Path(module.__file__).read_text()


@pytest.mark.parametrize("name", _OBJECTS)
def test_every_object_carries_the_same_layouts(name: str) -> None:
    assert layout.digest(Btf.of_object(_object(name))) == abi.DIGEST


def test_records_have_the_sizes_that_c_gives_them() -> None:
    btf = Btf.of_object(_object("fork"))
    head, flow = abi.HEADER.size, abi.FLOW.size
    sizes = {
        "event_header": head,
        "fork_event": head + abi.FORK.size,
        "exec_event": head + abi.EXEC.size,
        "exit_event": head + abi.EXIT.size,
        "join_event": head + abi.JOIN.size,
        "flow_event": head + flow,
        "close_event": head + flow + abi.CLOSE.size,
        "payload_event": head + flow + abi.PAYLOAD.size,
        "packet_event": head + flow + abi.PACKET.size,
        "unix_connect_event": head + abi.UNIX_CONNECT.size,
        "unix_send_event": head + abi.UNIX_SEND.size,
        "tag": abi.TAG.size,
        "agent_state": abi.AGENT.size,
        "task_entry": abi.TASK.size,
        "hook_config": abi.CONFIG.size,
    }
    assert {name: btf.named("struct", name).size for name in sizes} == sizes
    assert abi.OWNER.size <= 120, "so that the kernel's allocation is one of 192"


@pytest.mark.parametrize("change", ["size", "offset", "name", "number"])
def test_the_digest_changes_with_every_part_of_a_layout(change: str) -> None:
    btf = Btf(_BTF)
    before = layout.digest(btf)
    found = btf.named("struct", "fork_event")
    if change == "size":
        found.size += 8
    elif change == "offset":
        found.members[1].offset += 8
    elif change == "name":
        found.members[1].name = "another"
    else:
        btf.named("enum", "event_kind").values["EVENT_FORK"] = 99
    assert layout.digest(btf) != before


@pytest.mark.parametrize("length", [0, 1, 23, 24, 100, len(_BTF) // 2, len(_BTF) - 1])
def test_truncated_types_are_a_value_error(length: int) -> None:
    with pytest.raises(ValueError, match=r"BTF|string|subsection|has no"):
        layout.digest(Btf(_BTF[:length]))


@given(st.integers(0, len(_BTF) - 1), st.binary(min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_damaged_types_end_no_sensor(at: int, damage: bytes) -> None:
    data = _BTF[:at] + damage + _BTF[at + len(damage) :]
    # what the loader turns into KernelAbiMismatch
    with contextlib.suppress(ValueError, LookupError, RecursionError, struct.error):
        layout.digest(Btf(data))


@pytest.mark.root
class TestStart:
    """What the loader does about a mismatch."""

    def test_loaded_programs_have_the_decoders_layouts(self, instance: Instance) -> None:
        """Asked of the kernel, not of the file: the BTF that each loaded program carries."""
        kernel = Kernel.open(instance, KernelSettings())
        try:
            for name, fd in kernel._loaded.programs.items():
                assert layout.digest(Btf(_kernel_btf(fd))) == abi.DIGEST, name
        finally:
            kernel.close()

    def test_an_object_of_another_layout_is_refused(self, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(abi, "DIGEST", "0123456789abcdef")
            with pytest.raises(KernelAbiMismatch, match="make bpf generate"):
                Kernel.open(instance, KernelSettings())
        kernel = Kernel.open(instance, KernelSettings())  # the failed start is in nobody's way
        assert not kernel.adopted
        kernel.close()

    def test_an_object_without_types_is_refused(
        self, instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in objects.FOLDER.glob("*.o"):
            shutil.copy(path, tmp_path)
        data = (tmp_path / "exit.bpf.o").read_bytes()
        at = data.index(_BTF[:24][:4] + b"\x18\0\0\0")  # magic, version, flags; header's length
        (tmp_path / "exit.bpf.o").write_bytes(data[:at] + bytes(64) + data[at + 64 :])
        monkeypatch.setattr(objects, "FOLDER", tmp_path)
        kernel = Kernel.open(instance, KernelSettings())
        assert "exit" in [fact.fact for fact in kernel.coverage if fact.state == "missing"], "libbpf refuses it first"
        kernel.close()

    def test_pins_of_another_layout_are_refused_and_stay_in_force(self, instance: Instance) -> None:
        Kernel.open(instance, KernelSettings()).close()
        folder = _pins(instance)
        (folder / f"abi-{abi.DIGEST}").rmdir()
        (folder / "abi-older").mkdir()
        links = sorted(each.name for each in (folder / "links").iterdir())
        with pytest.raises(KernelAbiMismatch, match="rubicon down"):
            Kernel.open(instance, KernelSettings())
        assert sorted(each.name for each in (folder / "links").iterdir()) == links
        Kernel.unload(instance)
        Kernel.open(instance, KernelSettings()).close()

    def test_a_pinned_map_of_another_shape_is_refused(self, instance: Instance) -> None:
        kernel = Kernel.open(instance, KernelSettings())
        maps = _pins(instance) / "maps"
        (maps / "tags").unlink()
        bpf.pin(kernel._maps["losses"].fd, str(maps / "tags"))
        kernel.close()
        with pytest.raises(KernelAbiMismatch, match=r"another shape.*rubicon down"):
            Kernel.open(instance, KernelSettings())


def _pins(instance: Instance) -> Path:
    folder = host.bpffs()
    assert folder
    return folder / instance.name


def _kernel_btf(program: int) -> bytes:
    """Types that the kernel keeps for a program: bpf_prog_info.btf_id, then bpf_btf_info."""
    number = struct.unpack_from("<I", bpf._info(program, 216), 128)[0]
    fd = bpf.call(19, struct.pack("<I", number))[0]
    try:
        size = struct.unpack_from("<I", bpf._info(fd, 16), 8)[0]
        data = ctypes.create_string_buffer(size)
        bpf._info(fd, 16, struct.pack("<QII", ctypes.addressof(data), size, 0))
        return data.raw
    finally:
        os.close(fd)
