"""What is written down of an application on its host: how, of what, when and by whom.

/srv/<app>/settings.json                how releases are made here
/srv/<app>/releases/<id>/release.json   the manifest: what one is made of, but for secrets
/srv/<app>/ledger.jsonl                 a line for each thing that was done
<live or /run>/maintenance.json         whose the maintenance page is
/run/<app>/deploy.json                  who has the lock (see pergola.lock)

Form 0 has no number. Up to commit a8c6ce6 a ledger line named its release `release`, a failure had
the outcome `failed`, migrations had lines of their own, and settings knew neither database nor
lock. The first documents of form 1 have no number yet either.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from pergola.documents import Form, Json

# The phase, and the ledger's action, that comes when the release serves.
AFTER = "migrate_after"


@dataclass(frozen=True)
class Process:
    """A process beside the workers. `overlap`: it may run beside the next release's.

    `shell`: its command is a shell's; those of an earlier Pergola were words. `memory_max`,
    `stop_signal`: systemd's; empty: as the slots' and SIGTERM.
    """

    name: str
    command: str = ""
    overlap: bool = False
    drain_seconds: int | str = 30
    shell: bool = False
    memory_max: str = ""
    stop_signal: str = ""


@dataclass(frozen=True)
class Schedule:
    """A command at certain times; not every host of an application may run it.

    `shell`: as a process's.
    """

    name: str
    command: str = ""
    on_calendar: str = ""
    persistent: bool = True
    random_delay_seconds: int | str = 0
    timeout_seconds: int | str = 3600
    suspended: bool = False
    every_host: bool = False
    shell: bool = False


@dataclass(frozen=True)
class Manifest:
    """What a release is made of: its commit, and the settings that are part of it.

    `installer`: uv-lock or requirements. `environment_names`: of variables, secret or not.
    `credential_variables`: those that have a secret file's path, and its name.
    `lock`: the list of packages in the archive; empty: an earlier Pergola's, at its top.
    `directory`: where the application is in the archive. `version_variables`: what tells the tools
    that build the project its version, which they cannot ask git for. `exported`: the list was
    made of a lock that knows nothing of what builds the project.
    `node`: the version of Node that the static command had.
    `web`: whether it serves requests, and not its processes and schedules alone.
    `health_status`: the answers that count as ready, such as 200 or 2xx. `server`: uvicorn,
    granian, hypercorn or command. `interpreter`: the path of its Python; empty: the system's usual
    one. `own_server`: Pergola's Uvicorn with its version, where the application's lock has none.
    `shared_directories`: those that stay, from the application's own.
    """

    id: str = ""
    commit: str = ""
    describe: str = ""
    date: str = ""
    installer: str = ""
    lock: str = ""
    directory: str = ""
    version_variables: dict[str, str] = field(default_factory=dict)
    exported: bool = False
    requirements: str = ""
    extras: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    package: str = ""
    python: str = ""
    interpreter: str = ""
    subdirectory: str = ""
    build_command: str = ""
    web: bool = True
    asgi: str = ""
    workers: int = 1
    uvicorn_options: list[str] = field(default_factory=list)
    domain: str = "localhost"
    health_path: str = "/"
    migrate_command: str = ""
    static_dir: str = ""
    static_command: str = ""
    node: str = ""
    project_install_options: list[str] = field(default_factory=list)
    backward_compatible: bool = False
    processes: list[Process] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    environment_names: list[str] = field(default_factory=list)
    credential_variables: dict[str, str] = field(default_factory=dict)
    health_status: list[str] = field(default_factory=lambda: ["200"])
    health_follow_redirects: bool = False
    server: str = "uvicorn"
    server_command: str = ""
    server_options: list[str] = field(default_factory=list)
    own_server: str = ""
    shared_directories: list[str] = field(default_factory=list)
    # What is run once it serves, outside of a migration's limits.
    migrate_after_command: str = ""

    @property
    def lock_path(self) -> str:
        """The list of packages, from the archive's top."""
        usual = {"uv-lock": "uv.lock"}.get(self.installer, "requirements.txt")
        return self.lock or usual


@dataclass(frozen=True)
class Settings:
    """How releases are made on this host: role release's __release_settings.

    `host`: the name by which people know it. `user`, `build_user`: accounts. `database`: libpq's
    description of it; empty: it has none; None: an earlier Pergola's settings, which did not say.
    `database_elsewhere`: it is on another server, of which only a release's environment tells.
    `connections`: what the application may open at once, on all its `hosts`.
    `migrate_limits`: settings of PostgreSQL's for migrations, in seconds. `build_sandbox`: lines of
    the unit that builds.
    """

    host: str = ""
    user: str = ""
    build_user: str = ""
    uv: str = ""
    python: str = ""
    keep: int = 2
    disk_free_mb: int = 0
    lock_seconds: int = 900
    unconnected_seconds: int = 180
    build_sandbox: Json = field(default_factory=dict)
    prepare_timeout_seconds: int = 600
    migrate_timeout_seconds: int = 600
    migrate_limits: dict[str, int] = field(default_factory=dict)
    migrate_after_timeout_seconds: int = 3600
    database: str | None = None
    database_elsewhere: bool = False
    connections: int = 0
    hosts: int = 1
    schema_query: str = ""
    backup_command: str = ""
    after_units: list[str] = field(default_factory=list)
    runs_schedules: bool = True
    bake_seconds: int = 0
    bake_error_percent: float = 5.0
    access_log: str = ""


@dataclass(frozen=True)
class Line:
    """Something that was done to the release `to`.

    `time`: in UTC. `action`: deploy, rollback, found, drain, run, migrate_after. `outcome`: live,
    refused, returned (it had been live), killed, done, failed, or how a command ended. `schema`:
    revisions before and after, each None without one; None: not noted. `seconds`: by phase.
    """

    time: str = ""
    action: str = "?"
    outcome: str = "?"
    who: str = ""
    to: str = ""
    commit: str = ""
    from_: str | None = None
    schema: tuple[str | None, str | None] | None = None
    backward_compatible: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    baked: dict[str, int] | None = None
    phase: str = ""
    reason: str = ""
    command: str = ""


@dataclass(frozen=True)
class Page:
    """Who turned on the maintenance page, and until when (seconds since 1970; None: until off)."""

    who: str = ""
    until: float | None = None


@dataclass
class Holder:
    """Who has a lock; `until` and `unconnected_until` are seconds since the boot.

    `shared`: what the phases of a deploy tell each other.
    """

    run: str = ""
    who: str = "somebody"
    what: str = "a deploy"
    since: str = "?"
    phase: str = ""
    pid: int = 0
    connection: list[int] = field(default_factory=list)
    until: float = 0
    unconnected_until: float = 0
    shared: Json = field(default_factory=dict)


def accepts(accepted: Iterable[str], status: int | str | None) -> bool:
    """Whether a status is one of those accepted, each such as 204 or 2xx."""
    text = str(status)
    return any(text == one.replace("xx", text[1:]) for one in accepted)


def as_it_is(found: Json) -> Json:
    return found


def line_of_first_form(found: Json) -> Json:
    line = {**found, "to": found.get("to") or found.get("release", "")}
    if found.get("outcome") == "failed":
        # Its own action was the phase, and requests had not been switched.
        line |= {"outcome": "refused", "phase": found.get("action", "?"), "action": "deploy"}
    return line


def with_shared(found: Json) -> Json:
    """What an earlier Pergola wrote: there stood what the phases share beside all the rest."""
    own = {one.name for one in fields(Holder)}
    beside = {name: value for name, value in found.items() if name not in own}
    return {**found, "shared": beside}


MANIFEST = Form(Manifest, 1, {0: as_it_is}, unnumbered=0)
SETTINGS = Form(Settings, 1, {0: as_it_is}, unnumbered=0)
RARE = ("schema", "baked", "phase", "reason", "command")
LINE = Form(Line, 1, {0: line_of_first_form}, unnumbered=0, sparse=RARE)
PAGE = Form(Page)
HOLDER = Form(Holder, 1, {0: with_shared}, unnumbered=0)
