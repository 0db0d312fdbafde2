"""What both transports know about the connection to the plane."""

from __future__ import annotations

OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # a closed client must not lend its connection to the next one, which may be of another instance
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
HEALTH = "/grpc.health.v1.Health/Check"


def serving(answer: bytes) -> bool:
    """A HealthCheckResponse says SERVING: field 1, varint, value 1 (health.proto), which spares another import."""
    return answer == b"\x08\x01"
