"""Which release a rollback goes to, and whether the database is fit for it."""

from dataclasses import dataclass

from pergola.errors import PergolaError
from pergola.records import AFTER, Line
from pergola.release.database import Database
from pergola.release.releases import Releases


@dataclass(frozen=True)
class Choice:
    """The release to go back to, and the one that is live."""

    id: str
    commit: str
    from_: str | None
    changed: bool = False


# What stands for the revision of a release whose ledger line does not have it, and for one that
# cannot be told from the lines after that either.
NOT_NOTED = "not noted"
NOT_KNOWN = "one that an earlier Pergola did not note"


def choose(releases: Releases, wanted: str, force: bool, rebuilt: bool = False) -> Choice:
    """The release to roll back to: the one named, or the last good one that is not live.

    `rebuilt`: only its commit is wanted, of which a release is made again.
    """
    live = releases.live()
    good = [candidate for candidate in releases.good() if candidate != live]
    if live is None and not wanted and not good:
        raise PergolaError(
            f"no release yet: none of {releases.app.name} was ever live on this host",
            hint="deploy one: playbooks/deploy.yml",
        )
    if not wanted and not good:
        raise PergolaError(
            "there is no earlier good release to go back to",
            hint=f"sudo {releases.home}/bin/release releases shows those that are kept",
        )
    chosen = wanted or good[0]
    manifest = releases.manifest(chosen)  # refuses an unknown one by name
    if not releases.is_ready(chosen):
        raise PergolaError(f"release {chosen} was never prepared completely")
    if not rebuilt and (python := releases.lost_python(chosen)):
        raise PergolaError(
            f"{chosen} was made for {python}, which is not there for it any more",
            hint="roll back to its commit, made again with today's Python and environment: "
            f"playbooks/rollback.yml -e env=current -e release={chosen}. Nothing changed",
        )
    if not force and chosen != live:
        refuse_across_schema(releases, chosen)
    return Choice(chosen, manifest.commit, live)


def refuse_across_schema(releases: Releases, chosen: str) -> None:
    """Refuse to put a release on a schema that it may not know.

    It is allowed when every deploy since that changed the schema was marked backward-compatible.
    """
    now = Database(releases).revision()
    then: str | None = None
    changes: list[Line] = []
    for line in releases.ledger():
        before, after = line.schema or (None, None)
        if line.to == chosen and line.outcome == "live":
            then, changes = after if line.schema else NOT_NOTED, []
            continue
        if line.to == chosen and line.action == AFTER:
            then = after  # it served while its own migration went on
            continue
        if then == NOT_NOTED and line.schema:
            then = before  # it served with that until here
        elif then == NOT_NOTED and "migrate" in (line.action, line.phase):
            then = NOT_KNOWN
        if before != after:
            changes.append(line)
    if then in (now, NOT_NOTED):
        return
    breaking = [line.to for line in changes if not line.backward_compatible]
    if changes and not breaking and changes[-1].schema and changes[-1].schema[1] == now:
        return
    raise PergolaError(
        f"the database is at revision {now}, {chosen} was made for {then}",
        "migrated since by: " + (", ".join(dict.fromkeys(breaking)) or "somebody else"),
        hint="if that release can live with this schema: `-e force=true`; it is allowed without "
        "when the newer ones were deployed with `app_backward_compatible: true`. Nothing changed.",
    )
