"""The audit becomes a chain; what was audited before becomes its beginning."""

import hashlib
import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    records = op.create_table(
        "audit_records",
        sa.Column("sequence", serial, autoincrement=False, nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("request", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.String(length=512), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("alert_id", sa.String(length=16), nullable=False),
        sa.Column("response_id", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("audit_records_agent", "audit_records", ["agent_id", "sequence"], unique=False)
    op.create_index("audit_records_request", "audit_records", ["request"], unique=False)
    op.create_index("audit_records_response", "audit_records", ["response_id"], unique=False)
    op.create_index("audit_records_time", "audit_records", ["time_ns"], unique=False)
    op.create_table(
        "audit_checkpoints",
        sa.Column("sequence", serial, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    select = sa.text("SELECT time_ns, identity, method, target, outcome FROM audit ORDER BY time_ns, id")
    previous = "0" * 64
    for sequence, old in enumerate(op.get_bind().execute(select).all(), 1):
        # The form of rubicon/v1/audit_chain.py and controlplane/audit/record.py, as they were at this revision.
        action = {"CreateAgent": "create", "EnrolAgent": "enrol", "FinishAgent": "finish", "ProbePipeline": "probe"}
        body = {
            "sequence": sequence,
            "previous": previous,
            "time": f"{datetime.fromtimestamp(old.time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{old.time_ns % 10**9:09d}Z",
            "phase": "result",
            "request": 0,
            "identity": old.identity,
            "action": action.get(old.method, old.method.lower())[:32],
            "target": old.target,
            "agent": "",
            "reason": "",
            "alert": "",
            "response": "",
            "outcome": old.outcome,
            "detail": "kept before the audit was a chain",
        }
        data = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(data)
        row = {
            "time_ns": old.time_ns,
            "agent_id": "",
            "alert_id": "",
            "response_id": "",
            "hash": digest.digest(),
            "body": data,
        }
        same = {name: body[name] for name in ("sequence", "phase", "request", "identity", "action")}
        op.bulk_insert(records, [{**row, **same}])
        previous = digest.hexdigest()
    op.drop_table("audit")


def downgrade() -> None:
    op.drop_table("audit_checkpoints")
    op.drop_table("audit_records")
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
