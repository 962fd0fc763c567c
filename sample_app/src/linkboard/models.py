"""The three tables."""

from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import urlsplit

from sqlalchemy import DateTime, Index, MetaData, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

# Named constraints, so that a later migration can drop or change each of them by name.
SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention

MAX_ID = 2**31 - 1  # PostgreSQL's integer
MAX_URL = 2000  # a unique index holds the address, and one index entry at most 2704 bytes


def now() -> datetime:
    """Return the time with its zone."""
    return datetime.now(UTC)


class User(SQLModel, table=True):
    """Someone who may sign in."""

    __tablename__: ClassVar[str] = "users"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_type=Text, unique=True)
    password_hash: str = Field(sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


class LoginSession(SQLModel, table=True):
    """One signed-in browser. Its token is kept as a hash: a stolen backup opens no session."""

    __tablename__: ClassVar[str] = "sessions"

    token_hash: str = Field(sa_type=Text, primary_key=True)
    user_id: int = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))


class Link(SQLModel, table=True):
    """One link of one user. `state` is text, not an enum type: those are painful to migrate."""

    __tablename__: ClassVar[str] = "links"
    __table_args__ = (
        UniqueConstraint("user_id", "url"),
        Index(None, "user_id", "id"),  # paging: the newest links of one user
    )

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="users.id", ondelete="CASCADE")
    url: str = Field(sa_type=Text)
    title: str | None = Field(default=None, sa_type=Text)
    state: str = Field(default="pending", sa_type=Text)  # pending, done, failed
    problem: str | None = Field(default=None, sa_type=Text)  # why there is no title
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))

    @property
    def host(self) -> str:
        """The part of the address that people recognise."""
        return (urlsplit(self.url).hostname or "").removeprefix("www.")
