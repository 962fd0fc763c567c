"""Settings: environment variables LINKBOARD_*, each with a default fit for production."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(env_prefix="LINKBOARD_", extra="ignore")

    # Peer authentication on PostgreSQL's socket: the operating system's user is the password.
    database_url: str = "postgresql+asyncpg:///linkboard"
    pool_size: int = Field(5, ge=1)  # connections of one worker process, at most
    migration_lock_timeout: float = Field(5, gt=0)  # seconds that a migration waits for a table
    secure_cookies: bool = True  # only plain-HTTP development turns this off
    session_days: int = Field(30, ge=1)
    page_size: int = Field(20, ge=1, le=100)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    fetch_timeout: float = Field(10, gt=0)  # seconds for one title, redirects included
    fetch_concurrency: int = Field(8, ge=1)  # titles fetched at the same time by one process
    # For tests and intranets: networks that titles may be fetched from although they are not
    # public, on any port. CIDRs separated by commas. Every user may then reach what is in there.
    fetch_allow_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()

    # RFC 9106, second recommended option: 64 MiB for each password check, two at a time.
    argon2_time_cost: int = Field(3, ge=1)
    argon2_memory_kib: int = Field(65536, ge=8)
    argon2_parallelism: int = Field(4, ge=1)

    # Given by the deployment, under its own name; it ends up in a header, hence the pattern.
    release: str = Field(
        "dev", validation_alias="PERGOLA_RELEASE", pattern=r"^[A-Za-z0-9._+-]{1,100}$"
    )

    @field_validator("fetch_allow_networks", mode="before")
    @classmethod
    def split_networks(cls, value: object) -> object:
        """Read "10.0.0.0/8, fd00::/8"."""
        if isinstance(value, str):
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value


@lru_cache
def get_settings() -> Settings:
    """Read the environment once for each process."""
    return Settings()
