from alembic import op

revision = "one"
down_revision = None


def upgrade():
    op.execute("create table word (text text)")
    op.execute("insert into word values ('kept')")
