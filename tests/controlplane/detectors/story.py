"""SSH sessions told in events, with the sizes that real clients and servers were seen to send."""

from __future__ import annotations

from typing import Any

from controlplane.detectors import ssh_outbound, ssh_remote_forward
from controlplane.detectors._ssh.wire import MODES
from controlplane.model import Alert, ProcessKey
from controlplane.pipeline import Pipeline
from rubicon.v1 import alert_pb2, event_pb2, flow_pb2, process_pb2
from tests.controlplane.builders import HOST, Kernel, key, tcp

MS = 1_000_000
OPENSSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
LOGIN = [(True, 44), (False, 44), (True, 60), (False, 68), (True, 140), (False, 100), (True, 308), (False, 28)]
PIPE, FILE = process_pb2.DESCRIPTOR_KIND_PIPE, process_pb2.DESCRIPTOR_KIND_FILE
SOCKET = process_pb2.DESCRIPTOR_KIND_SOCKET
HIGH, CRITICAL, MEDIUM = alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_CRITICAL, alert_pb2.SEVERITY_MEDIUM
ROOT = key(100)
CHACHA = MODES[0]
"""The mode whose sizes LOGIN has."""


class Story:
    """One agent whose root process is pid 100; the clock moves 1 ms with each event."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.pipeline = Pipeline([ssh_outbound, ssh_remote_forward])
        self.events: list[event_pb2.Event] = []
        self._alerts: dict[str, Alert] = {}
        self._offsets: dict[tuple[int, bool], tuple[int, int]] = {}
        self.tell(self.kernel.enrol(ROOT))
        self.tell(self.kernel.exec(ROOT, "bash"))

    def tell(self, event: event_pb2.Event) -> event_pb2.Event:
        self.kernel.now += MS
        self.events.append(event)
        self._alerts.update(self.pipeline.apply(HOST, [event]).alert_of)
        assert self.pipeline.crashes == {}
        return event

    def wait(self, milliseconds: float) -> None:
        self.kernel.now += int(milliseconds * MS)

    def alerts(self, detector: str = "ssh-remote-forward") -> list[Alert]:
        return [alert for alert in self._alerts.values() if alert.detector == detector]

    def alert(self) -> Alert:
        (found,) = self.alerts()
        return found

    def kinds(self) -> set[str]:
        """Kinds of evidence of the one alert; the banner is not counted."""
        return {item.kind for item in self.alert().evidence if item.fields.get("what") != "banner"}

    def run(self, pid: int, *argv: str, parent: ProcessKey = ROOT, stdio: int = FILE, cwd: str = "/w") -> ProcessKey:
        """Fork and exec."""
        child = self.fork(pid, parent)
        descriptors = [process_pb2.Descriptor(kind=stdio)] * 3  # type: ignore[arg-type]
        self.tell(self.kernel.exec(child, *argv, parent=parent, cwd=cwd, stdio=descriptors))
        return child

    def fork(self, pid: int, parent: ProcessKey) -> ProcessKey:
        child = key(pid, self.kernel.now)
        self.tell(self.kernel.fork(parent, child))
        return child

    def connect(self, process: ProcessKey, cookie: int, address: str = "203.0.113.9", port: int = 443) -> flow_pb2.Flow:
        flow = tcp(cookie, address, port)
        self.tell(self.kernel.flow(process, "connect", flow))
        self.tell(self.kernel.flow(process, "establish", flow))
        return flow

    def send(self, process: ProcessKey, flow: flow_pb2.Flow, data: bytes, *, outbound: bool = True) -> None:
        """Bytes in the clear: a payload record and a packet record."""
        offset, index = self._offsets.get((flow.cookie, outbound), (0, 0))
        bare = flow_pb2.Flow()
        bare.CopyFrom(flow)
        bare.direction = flow_pb2.FLOW_DIRECTION_UNSPECIFIED
        facts: dict[str, Any] = {"outbound": outbound, "length": len(data), "offset": offset}
        self.tell(self.kernel.flow(process, "payload", bare, data=data[:256], **facts))
        self.packet(process, flow, len(data), outbound=outbound)
        self._offsets[flow.cookie, outbound] = (offset + len(data), index + 1)

    def packet(self, process: ProcessKey, flow: flow_pb2.Flow, length: int, *, outbound: bool) -> event_pb2.Event:
        bare = flow_pb2.Flow()
        bare.CopyFrom(flow)
        bare.direction = flow_pb2.FLOW_DIRECTION_UNSPECIFIED
        return self.tell(self.kernel.flow(process, "packet", bare, outbound=outbound, length=length))

    def packets(self, process: ProcessKey, flow: flow_pb2.Flow, *sizes: int) -> None:
        """Sizes: positive leave the agent, negative come in."""
        for size in sizes:
            self.packet(process, flow, abs(size), outbound=size > 0)

    def ssh(
        self, process: ProcessKey, cookie: int = 1, banner: bytes = OPENSSH, port: int = 443, *, login: bool = True
    ) -> flow_pb2.Flow:
        """Connect, banner, and the sizes of a login."""
        flow = self.connect(process, cookie, port=port)
        self.send(process, flow, banner)
        self.send(process, flow, OPENSSH, outbound=False)
        for outbound, size in LOGIN if login else ():
            self.packet(process, flow, size, outbound=outbound)
        return flow

    def config(self, process: ProcessKey, *forwards: str, may: bool = False, control_path: str = "") -> None:
        self.tell(
            self.kernel.event(
                process,
                cpu=0xFFFFFFFF,
                ssh_config=event_pb2.SshConfig(
                    remote_forwards=forwards, may_match=may, files=["/root/.ssh/config"], control_path=control_path
                ),
            )
        )

    def unix(self, process: ProcessKey, path: str) -> None:
        self.tell(self.kernel.event(process, unix_connect=event_pb2.UnixConnect(path=path, cookie=9)))

    def used(self, process: ProcessKey, flow: flow_pb2.Flow, cookie: int = 2, owner: ProcessKey | None = None) -> None:
        """The far side opens a channel: the process connects, confirms, and relays 7 bytes in and 1000 out."""
        owner = owner or process
        self.packet(owner, flow, 100, outbound=False)
        near = self.connect(process, cookie, "127.0.0.1", 8000)
        self.packet(owner, flow, 44, outbound=True)
        self.packet(owner, flow, 44, outbound=False)
        self.packet(process, near, 7, outbound=True)
        self.packet(process, near, 1000, outbound=False)
        self.packet(owner, flow, 1036, outbound=True)
