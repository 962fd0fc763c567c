"""An application's repositories: one beside each repository that pgBackRest has on this host.

Where these are, their key and how long backups are kept is in pgBackRest's configuration, which
role backup writes: what is set for PostgreSQL holds for files too, and nothing more is to be kept.
Hosts of the group `backup` copy the one on this host (see copies); where that is lost, it comes
back from there.
"""

import dataclasses
import hashlib
import hmac
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pergola.backup import settings
from pergola.backup.files.mirror import Mirror
from pergola.backup.files.readers import of_root, share
from pergola.backup.files.remote import Remote, reached, told
from pergola.errors import PergolaError
from pergola.people import last_lines, moment_written
from pergola.system import Done, attempt, checked

CONFIGURATION = Path("/etc/pgbackrest/pgbackrest.conf")
CACHE = Path("/var/cache/pergola-restic")
APP = re.compile(r"[a-z][a-z0-9-]*")
# Another key of files needs another label.
LABEL = b"Pergola: files of applications"
HERE = 1  # the number of the repository on this host
# How restic says it, in all versions from 0.12 on. A refused login is another answer.
MISSING = "The specified key does not exist"
WRONG_KEY = "wrong password"
SOME_UNREADABLE = 3
SECONDS_TO_ANSWER = 60  # restic itself tries for a quarter of an hour
WRONG_KEY_HINT = """\
they were made with another backup.key: put that back from where you keep its copy
(docs/disaster.md). Nothing was changed there"""


@dataclass(frozen=True)
class Snapshot:
    """A backup of an application's files; `at`: seconds since 1970."""

    id: str
    at: float


@dataclass(frozen=True)
class Repository:
    """One of an application. `name`: for people; `key` and `variables` are secret.

    `path`: where it is in this host's file system; `copies`: of it, on other hosts.
    """

    name: str
    address: str
    keep_days: int
    key: str = field(repr=False)
    path: Path | None = None
    copies: tuple[Remote, ...] = ()
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    # -- restic ------------------------------------------------------------------------------------

    def attempt(self, *words: object, timeout: float | None = None) -> Done:
        """Run restic, which reads the key from its input: no other process sees that."""
        options = [f"--repo={self.address}", *(f"--option={one}" for one in self.options)]
        return attempt(
            *("restic", "--quiet", *options, *words),
            stdin=f"{self.key}\n",
            environment={"RESTIC_CACHE_DIR": str(CACHE), **self.variables},
            timeout=timeout,
            what=f"restic {words[0]} in {self.name}",
        )

    def do(self, *words: object) -> str:
        return self.checked(self.attempt(*words), words[0])

    def checked(self, done: Done, verb: object) -> str:
        if WRONG_KEY in done.stdout + done.stderr:
            raise PergolaError(f"{self.name} cannot be read with this key", hint=WRONG_KEY_HINT)
        return checked(done, f"restic {verb} in {self.name}")

    # -- what is there -----------------------------------------------------------------------------

    def is_there(self) -> bool:
        """PergolaError where that cannot be known."""
        if self.path:
            return (self.path / "config").exists()
        done = self.attempt("cat", "config", timeout=SECONDS_TO_ANSWER)
        if done.returncode and MISSING not in done.stderr:
            self.checked(done, "cat")
        return done.returncode == 0

    def have(self) -> None:
        """Have it, and no lock in it of a run that was killed."""
        if self.bring_back():
            self.do("unlock")
            return
        self.do("init")
        if self.path:
            share(self.path.parent)

    def bring_back(self) -> bool:
        """Have it from a copy where it is lost; whether there is one now.

        PergolaError where a host that may have a copy does not answer: another repository in the
        place of the lost one would not go together with it.
        """
        if self.path:
            of_root(self.path)
            for copy in self.copies if not self.is_there() else ():
                mirror = Mirror(copy, self.path)
                try:
                    mirror.fetch()
                except PergolaError as error:
                    raise error.but(
                        f"{self.name} is not there, and {copy.name} may have it"
                    ) from None
                share(self.path.parent)
                if mirror.refused:
                    raise damaged(self.name, mirror)
                if self.is_there():
                    break
        return self.is_there()

    def snapshots(self) -> list[Snapshot]:
        """The oldest first, those of a copy where it is lost; none where there is no repository."""
        if self.is_there():
            return self.listed()
        for copy in self.copies:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                Mirror(copy, place).fetch(("keys", "snapshots", "config"))
                one = dataclasses.replace(self, address=folder, path=place, copies=())
                if one.is_there():
                    return one.listed()
        return []

    def listed(self) -> list[Snapshot]:
        found = json.loads(self.do("snapshots", "--json", "--no-lock")) or []
        return sorted(
            (Snapshot(one["short_id"], moment_written(one["time"], 0)) for one in found),
            key=lambda snapshot: snapshot.at,
        )

    # -- what is done ------------------------------------------------------------------------------

    def add(self, *words: object) -> tuple[Mapping[str, int], list[str]]:
        """Make a backup; what restic counted, and the paths that it could not read."""
        done = self.attempt("backup", "--json", *words)
        if done.returncode != SOME_UNREADABLE:
            self.checked(done, "backup")
        told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        wrong = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        summary = next((one for one in told if one.get("message_type") == "summary"), None)
        if summary is None:
            raise PergolaError(f"restic did not say what is in {self.name} now", done.stderr)
        return summary, [one.get("item", "") for one in wrong]

    def forget(self) -> None:
        """Remove backups that are older than they are kept; the newest stays, however old it is."""
        keep = f"--keep-within={self.keep_days}d"
        # All are of one application, whatever its host was called.
        self.do("forget", "--group-by=", keep, "--prune")

    def check(self, part: int, parts: int) -> None:
        """Look through the index, and read one of several parts of all data."""
        try:
            self.do("check", f"--read-data-subset={part}/{parts}")
        except PergolaError as error:
            raise error.but(f"{self.name} is damaged", hint="see docs/backups.md") from None

    def restore(self, snapshot: Snapshot, target: Path) -> None:
        self.do("restore", snapshot.id, "--no-lock", f"--target={target}")

    def sizes(self, snapshot: Snapshot) -> dict[str, int]:
        """The sizes of the plain files in a snapshot, by their paths there."""
        said = self.do("ls", "--json", "--no-lock", snapshot.id)
        nodes = [json.loads(line) for line in said.splitlines()]
        return {node["path"]: node.get("size", 0) for node in nodes if node.get("type") == "file"}


# -- where they are --------------------------------------------------------------------------------


def of(app: str, configuration: Path | None = None) -> list[Repository]:
    """Those of an application, this host's own first; PergolaError where there are no backups."""
    file = configuration or CONFIGURATION
    found = dict(told(file)["global"])
    key, days = derived(found["repo1-cipher-pass"]), int(found["repo1-retention-full"])
    here = Path(found["repo1-path"]) / "files" / app
    numbers = [name.split("-")[0] for name, value in found.items() if (name[-5:], value) == S3]
    return [
        Repository(str(here), str(here), days, key, here, copies_of(app, file.parent / "conf.d")),
        *(in_storage(found, number, app, days, key) for number in numbers),
    ]


def copies_of(app: str, configurations: Path) -> tuple[Remote, ...]:
    """On the hosts that keep copies of this one's backups."""
    own = settings.FORM.read(settings.FILE)
    keepers = [one.name for one in own.repositories if not one.local] if own else []
    return tuple(
        remote.below(f"files/{remote.stanza}/{app}")
        for name in keepers
        if (file := configurations / f"{name}.conf").exists()  # else it was in no run yet
        for remote in reached(file, name)
    )


def are_elsewhere() -> bool:
    """Whether there is more than this host's own disk for them."""
    here, *others = of("")
    return bool(others or here.copies)


S3 = ("-type", "s3")


def in_storage(found: Mapping[str, str], number: str, app: str, days: int, key: str) -> Repository:
    """The one in the S3-compatible storage that a repository of pgBackRest's is in."""
    bucket, path = found[f"{number}-s3-bucket"], found[f"{number}-path"].strip("/")
    place = "/".join(filter(None, (bucket, path, "files", app)))
    host = f"{found[f'{number}-s3-endpoint']}:{found[f'{number}-storage-port']}"
    style = "path" if found[f"{number}-s3-uri-style"] == "path" else "dns"
    return Repository(
        f"s3://{place}",
        f"s3:https://{host}/{place}",
        days,
        key,
        options=(f"s3.bucket-lookup={style}",),
        variables={
            "AWS_ACCESS_KEY_ID": found[f"{number}-s3-key"],
            "AWS_SECRET_ACCESS_KEY": found[f"{number}-s3-key-secret"],
            "AWS_DEFAULT_REGION": found[f"{number}-s3-region"],
        },
    )


def derived(key: str) -> str:
    """The key of files: whoever has only that cannot read the databases."""
    return hmac.new(key.encode(), LABEL, hashlib.sha256).hexdigest()


def share_own() -> None:
    """Let the daemon read the repositories on this host."""
    share(of("")[0].path or Path())


def damaged(name: str, mirror: Mirror) -> PergolaError:
    wrong = "; ".join(f"{path} {why}" for path, why in mirror.refused.items())
    return PergolaError(
        f"the copy on {mirror.remote.name} is damaged: {wrong}",
        hint=f"all else is in {name} now: run this again to go on with that",
    )


def said(error: PergolaError) -> str:
    """An error in one line."""
    return ": ".join(filter(None, (error.reason, last_lines(error.evidence, 1))))
