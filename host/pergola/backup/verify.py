"""Reading every file of the repositories.

pgBackRest's own verify exits 0 whatever it finds (its issue 2502), and says nothing of WAL that is
missing between two files: what counts is what it prints, the same from 2.45 to 2.58.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pergola.backup.pages import named
from pergola.backup.repository import Repositories
from pergola.backup.server import Server
from pergola.backup.settings import Repository, Settings
from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.results import recorded

OPTIONS = ["--output=text", "--verbose", "--log-level-console=detail", "--no-log-timestamp"]
NAMED = 10  # files named in a report; one that many others are in is named once for each of them

DAMAGE = re.compile(
    r"^P\d+\s+\w+: (?P<what>file missing|invalid checksum|invalid size) '(?P<file>.*)'$"
)
UNREADABLE = re.compile(r"^P\d+\s+\w+: invalid result (?P<file>\S+): (?P<what>.*)$")
RANGE = re.compile(
    r"^P\d+\s+\w+: archiveId: (?P<history>\S+), "
    r"wal start: (?P<first>[0-9A-F]{24}), wal stop: (?P<last>[0-9A-F]{24})$"
)
STATUS = re.compile(r"^status: (?P<status>\w+)$")
NO_INFO = re.compile(r"^\s+(?P<what>No usable \S+ file)$")
CHECKED = re.compile(r"total (?:WAL|files) checked: (?P<count>\d+)")


@dataclass
class Verified:
    """What pgBackRest found in one repository of one stanza."""

    ok: bool = False
    checked: int = 0  # files, WAL included
    damage: list[str] = field(default_factory=list)  # what is wrong with which file, each once
    gaps: list[tuple[str, str]] = field(default_factory=list)  # the WAL before and after each

    @classmethod
    def of(cls, output: str) -> "Verified":
        """From what `pgbackrest verify` printed with OPTIONS."""
        found, statuses = cls(), []
        before: dict[tuple[str, str], str] = {}
        for line in output.splitlines():
            if match := DAMAGE.match(line) or UNREADABLE.match(line) or NO_INFO.match(line):
                parts = match.groupdict()
                damage = ": ".join(filter(None, [parts.get("file"), parts["what"]]))
                if damage not in found.damage:
                    found.damage.append(damage)
            elif match := RANGE.match(line):
                # A new timeline begins where the old one was left, which is no gap.
                timeline = match["history"], match["first"][:8]
                if timeline in before:
                    found.gaps.append((before[timeline], match["first"]))
                before[timeline] = match["last"]
            elif match := STATUS.match(line):
                statuses.append(match["status"])
            elif not line.startswith(("P", " " * 10)) and (match := CHECKED.search(line)):
                found.checked += int(match["count"])
        # Silence is no proof: the words are asked for, and must be there.
        found.ok = set(statuses) == {"ok"} and not found.damage
        return found


def verify(stanzas: Sequence[Settings]) -> None:
    """Read all files of the repositories that this host keeps; PergolaError names what is damaged.

    WAL that is missing after the newest backup is damage too: no restore gets past it.
    """
    with recorded("verify") as result:
        began = time.monotonic()
        wrong: list[PergolaError] = []
        checked = 0
        for settings in stanzas:
            for repository in settings.local:
                try:
                    checked += verify_one(settings, repository)
                except PergolaError as error:
                    wrong.append(error)
            checked += verify_files(settings, wrong)
        if wrong:
            raise PergolaError(
                "; ".join(error.reason for error in wrong),
                "\n".join(filter(None, (error.evidence for error in wrong))),
                hint="make a full backup (pergola-backup full), find out why (a failing disk?); "
                "see docs/backups.md",
            )
        result.more["files"] = checked
        result.says = f"{checked} files read in {time.monotonic() - began:.1f} s, all in order"


def verify_files(settings: Settings, wrong: list[PergolaError]) -> int:
    """Read the copies of a server's files; how many there are."""
    # Not for what is called each minute.
    from pergola.backup.files import copies

    count, damaged = copies.damaged(settings)
    if damaged:
        more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        wrong.append(
            PergolaError(
                f"copies of files are damaged: {', '.join(damaged[:NAMED])}{more}",
                "remove these, and sudo pergola-backup files-copy fetches them again",
            )
        )
    return count


def verify_one(settings: Settings, repository: Repository) -> int:
    """Read all files of one repository; how many there are."""
    repositories = Repositories(settings)
    where = f"{settings.stanza} in {repository.name}"
    done = repositories.run("verify", f"--repo={repository.number}", *OPTIONS)
    if done.returncode:
        raise PergolaError(
            f"{where} could not be verified: pgbackrest verify ended with {done.returncode}",
            last_lines(done.stdout + done.stderr),
        )
    found = Verified.of(done.stdout)
    if not found.ok:
        more = len(found.damage) - NAMED
        damage = found.damage[:NAMED] + ([f"and {more} more"] if more > 0 else [])
        raise PergolaError(
            f"{where} is damaged: {'; '.join(damage) or 'pgbackrest verify did not say what is'}",
            last_lines(done.stdout),
        )
    newest = repositories.newest(repository.number)
    if newest.damaged:
        files = named(Server(settings.version), repositories.damaged_files(newest))
        raise PergolaError(
            f"{where}: pages of PostgreSQL were damaged when its newest backup was made: {files}"
        )
    for last, following in found.gaps:
        if last >= newest.last_wal:
            raise PergolaError(
                f"{where} lacks the WAL between {last} and {following}: until the next full "
                "backup no restore gets past it"
            )
    return found.checked
