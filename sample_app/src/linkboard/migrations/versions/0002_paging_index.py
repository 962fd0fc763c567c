"""An index for paging through the links of one user.

Backward compatible: a release that knows only 0001 works on this schema as before.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Not CONCURRENTLY: it would wait for every open transaction, and a second deploy that waits for
    # the advisory lock has one open. On a table this small the lock lasts milliseconds.
    op.create_index("ix_links_user_id_id", "links", ["user_id", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_links_user_id_id", table_name="links")
