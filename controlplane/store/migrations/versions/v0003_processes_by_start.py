"""Processes stand in the order in which they began: new ones go to the end of the table, and not to a page of each pid."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
_COLUMNS = "boot, start_time_ns, pid, agent_id, started_ns, ended_ns, body"


def upgrade() -> None:
    _rebuild("boot", "start_time_ns", "pid")


def downgrade() -> None:
    _rebuild("boot", "pid", "start_time_ns")


def _rebuild(*key: str) -> None:
    op.drop_index("processes_agent", "processes")
    op.rename_table("processes", "processes_before")
    op.create_table(
        "processes",
        *(sa.Column(name, sa.BigInteger() if name.endswith("_ns") else sa.Integer(), nullable=False) for name in key),
        sa.Column("agent_id", sa.String(length=12), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(*key),
        sqlite_with_rowid=False,
    )
    op.execute(f"INSERT INTO processes ({_COLUMNS}) SELECT {_COLUMNS} FROM processes_before ORDER BY {', '.join(key)}")
    op.drop_table("processes_before")
    op.create_index("processes_agent", "processes", ["agent_id", "ended_ns"], unique=False)
