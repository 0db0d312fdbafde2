"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("boot", sa.Integer(), nullable=True),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("agents_name", "agents", ["name"], unique=False)
    op.create_index("agents_started", "agents", ["started_ns", "id"], unique=False)
    op.create_index("agents_state", "agents", ["state"], unique=False)
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("detector", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("alerts_agent", "alerts", ["agent_id", "time_ns"], unique=False)
    op.create_index("alerts_time", "alerts", ["time_ns", "id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.String(length=512), nullable=False),
        sa.Column("method", sa.String(length=128), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_time", "audit", ["time_ns", "id"], unique=False)
    op.create_table(
        "flows",
        sa.Column("boot", sa.Integer(), nullable=False),
        sa.Column("cookie", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("start_time_ns", sa.BigInteger(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=True),
        sa.Column("destination", sa.LargeBinary(), nullable=False),
        sa.Column("destination_port", sa.Integer(), nullable=False),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("boot", "cookie"),
        sqlite_with_rowid=False,
    )
    op.create_index("flows_agent", "flows", ["agent_id"], unique=False)
    op.create_index("flows_destination", "flows", ["destination", "destination_port"], unique=False)
    op.create_table(
        "hosts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("boot_id", sa.String(length=36), nullable=False),
        sa.Column("clock_offset_ns", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ns", sa.BigInteger(), nullable=False),
        sa.Column("coverage", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("hosts_identity", "hosts", ["host", "boot_id"], unique=True)
    op.create_table(
        "processes",
        sa.Column("boot", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("start_time_ns", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("boot", "pid", "start_time_ns"),
        sqlite_with_rowid=False,
    )
    op.create_index("processes_agent", "processes", ["agent_id", "ended_ns"], unique=False)
    op.create_table(
        "responses",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("requested_ns", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("responses_agent", "responses", ["agent_id", "requested_ns"], unique=False)
    op.create_index("responses_time", "responses", ["requested_ns", "id"], unique=False)
    op.create_table(
        "seen",
        sa.Column("boot", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("cpu", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("boot", "epoch", "cpu"),
    )
    op.create_table(
        "segment_agents",
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("boot", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "first_position"),
        sqlite_with_rowid=False,
    )
    op.create_index("segment_agents_segment", "segment_agents", ["first_position"], unique=False)
    op.create_table(
        "segments",
        sa.Column("first_position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("first_time_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kinds", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("first_position"),
    )
    op.create_index("segments_level", "segments", ["level", "first_position"], unique=False)
    op.create_index("segments_time", "segments", ["last_time_ns"], unique=False)


def downgrade() -> None:
    op.drop_table("hosts")
    op.drop_table("seen")
    op.drop_table("agents")
    op.drop_table("processes")
    op.drop_table("flows")
    op.drop_table("alerts")
    op.drop_table("responses")
    op.drop_table("audit")
    op.drop_table("segments")
    op.drop_table("segment_agents")
