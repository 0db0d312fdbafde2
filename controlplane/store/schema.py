"""Tables of the plane.

A row carries as columns what is asked for, and as `body` the entity's protobuf message (see proto/rubicon/v1), so that
a field more costs no migration. Times are wall-clock nanoseconds. Queries use SQLAlchemy Core and nothing that
PostgreSQL does not have; the one dialect-specific thing, the upsert, is spelled alike in both.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

# SQLite makes only an INTEGER primary key its row id.
_Serial = BigInteger().with_variant(Integer, "sqlite")

boots = Table(
    "hosts",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("host", String(253), nullable=False),
    Column("boot_id", String(36), nullable=False),
    Column("clock_offset_ns", BigInteger, nullable=False),
    Column("acknowledged", BigInteger, nullable=False, default=0),
    Column("last_seen_ns", BigInteger, nullable=False),
    Column("coverage", LargeBinary, nullable=False, default=b""),
    Index("hosts_identity", "host", "boot_id", unique=True),
)
"""One row for each boot of a host; other tables name it by the small number `boot`."""

seen = Table(
    "seen",
    metadata,
    Column("boot", Integer, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("cpu", BigInteger, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)
"""What is known of the record sequences of each CPU, so that a re-sent record is dropped after a restart too."""

agents = Table(
    "agents",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("state", Integer, nullable=False),
    Column("boot", Integer),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("body", LargeBinary, nullable=False),
    Index("agents_name", "name"),
    Index("agents_started", "started_ns", "id"),
    Index("agents_state", "state"),
)

processes = Table(
    "processes",
    metadata,
    Column("boot", Integer, primary_key=True),
    Column("start_time_ns", BigInteger, primary_key=True),
    Column("pid", Integer, primary_key=True),
    Column("agent_id", String(12), nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("body", LargeBinary, nullable=False),
    Index("processes_agent", "agent_id", "ended_ns"),
    sqlite_with_rowid=False,
)
"""Keyed by start time before pid: who begins is added at the end, whatever number it has."""

flows = Table(
    "flows",
    metadata,
    Column("boot", Integer, primary_key=True),
    Column("cookie", BigInteger, primary_key=True),
    Column("agent_id", String(12), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("start_time_ns", BigInteger, nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    Column("destination", LargeBinary, nullable=False),
    Column("destination_port", Integer, nullable=False),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("bytes_received", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("flows_agent", "agent_id"),
    Index("flows_destination", "destination", "destination_port"),
    sqlite_with_rowid=False,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("agent_id", String(12), nullable=False),
    Column("detector", String(64), nullable=False),
    Column("severity", Integer, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("alerts_time", "time_ns", "id"),
    Index("alerts_agent", "agent_id", "time_ns"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("agent_id", String(12), nullable=False),
    Column("state", Integer, nullable=False),
    Column("requested_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("responses_time", "requested_ns", "id"),
    Index("responses_agent", "agent_id", "requested_ns"),
)

audit_records = Table(
    "audit_records",
    metadata,
    Column("sequence", _Serial, primary_key=True, autoincrement=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("request", BigInteger, nullable=False),
    Column("identity", String(512), nullable=False),
    Column("action", String(32), nullable=False),
    Column("agent_id", String(12), nullable=False),
    Column("alert_id", String(16), nullable=False),
    Column("response_id", String(16), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("audit_records_agent", "agent_id", "sequence"),
    Index("audit_records_request", "request"),
    Index("audit_records_response", "response_id"),
    Index("audit_records_time", "time_ns"),
)
"""The audit: `body` is the canonical JSON that `hash` is of (rubicon/v1/audit_chain.py), the other columns are to search by."""

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("sequence", _Serial, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
"""Signed heads of the audit; each stands in the plane's own file as well."""

segments = Table(
    "segments",
    metadata,
    Column("first_position", BigInteger, primary_key=True, autoincrement=False),
    Column("events", Integer, nullable=False),
    Column("first_time_ns", BigInteger, nullable=False),
    Column("last_time_ns", BigInteger, nullable=False),
    Column("kinds", BigInteger, nullable=False),
    Column("level", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("segments_level", "level", "first_position"),
    Index("segments_time", "last_time_ns"),
)
"""Stored events; see segments.py. `level` 0 is as committed, 1 is compacted."""

segment_agents = Table(
    "segment_agents",
    metadata,
    Column("agent_id", String(12), primary_key=True),
    Column("first_position", BigInteger, primary_key=True),
    Column("boot", Integer, nullable=False),
    Index("segment_agents_segment", "first_position"),
    sqlite_with_rowid=False,
)
"""Which agents a segment has events of ('' for events about the host)."""
