"""Which release a rollback goes to, and whether the database is fit for it."""

from typing import Any

from releases.database import Database
from releases.store import Store
from releases.system import ReleaseError


def choose(store: Store, wanted: str, force: bool, rebuilt: bool = False) -> dict[str, Any]:
    """The release to roll back to: the one named, or the last good one that is not live.

    `rebuilt`: only its commit is wanted, of which a release is made anew.
    """
    live = store.live()
    good = [candidate for candidate in store.good() if candidate != live]
    if not wanted and not good:
        raise ReleaseError(
            "rollback",
            "there is no earlier good release to go back to",
            hint=f"sudo {store.home}/bin/release releases shows those that are kept",
        )
    chosen = wanted or good[0]
    manifest = store.manifest(chosen)  # refuses an unknown one by name
    if not store.is_ready(chosen):
        raise ReleaseError("rollback", f"release {chosen} was never prepared completely")
    if not rebuilt and (python := store.lost_python(chosen)):
        raise ReleaseError(
            "rollback",
            f"{chosen} was made for {python}, which is not there for it any more",
            hint="roll back to its commit, made anew with today's Python and environment: "
            f"playbooks/rollback.yml -e env=current -e release_to={chosen}. Nothing changed",
        )
    if not force and chosen != live:
        refuse_across_schema(store, chosen)
    return {"changed": False, "id": chosen, "commit": manifest["commit"], "from": live}


def refuse_across_schema(store: Store, chosen: str) -> None:
    """Refuse to put a release on a schema that it may not know.

    It is allowed when every deploy since that changed the schema was marked backward-compatible.
    """
    now = Database(store).revision()
    then, changes = None, []
    for line in store.ledger():
        before, after = line.get("schema") or (None, None)
        if line["to"] == chosen and line["outcome"] == "live":
            then, changes = after, []
        elif before != after:
            changes.append(line)
    if now == then:
        return
    breaking = [line["to"] for line in changes if not line.get("backward_compatible")]
    if changes and not breaking and changes[-1]["schema"][1] == now:
        return
    raise ReleaseError(
        "rollback",
        f"the database is at revision {now}, {chosen} was made for {then}",
        "migrated since by: " + (", ".join(dict.fromkeys(breaking)) or "somebody else"),
        "if that release can live with this schema: `-e release_force=true`; it is allowed without "
        "when the newer ones were deployed with `app_backward_compatible: true`. Nothing changed.",
    )
