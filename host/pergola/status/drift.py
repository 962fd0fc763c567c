"""What is in force beside what is set: nothing is put right here; what can be, site.yml does."""

from collections.abc import Iterator

from pergola.status.look import CRITICAL, NO_ANSWER, OK, UNKNOWN, WARNING, Finding, Look
from pergola.status.seen import UnitFiles
from pergola.status.server import Down, RoleSetting, Stray

SHOWN = 3


def drift(look: Look) -> Iterator[Finding]:
    """Everything that is not as it is set, each by its name."""
    found = [*of_units(look), *of_places(look), *of_releases(look), *of_settings(look)]
    yield from found
    names = {finding.name for finding in found}
    for name, before in look.before.items():
        if name.startswith("drift ") and name not in names and before != OK:
            yield Finding(name, OK, "is as it is set again")
    if not found:
        yield Finding("drift", OK, "what is in force is what is set")


def of_units(look: Look) -> Iterator[Finding]:
    told = look.seen.unit_files or UnitFiles()
    for path, units in told.strange.items():
        yield Finding(
            f"drift {path}",
            WARNING,
            f"it changes {', '.join(units[:SHOWN])} and is not Pergola's: nobody knows of it where "
            "the settings are. Take its lines into the settings (…_sandbox_overrides) or remove "
            "it, then `systemctl daemon-reload` and a restart of the unit",
        )
    if told.unread:
        yield Finding(
            "drift daemon-reload",
            WARNING,
            f"files of {', '.join(told.unread[:SHOWN])} were changed and systemd has not read "
            "them; run site.yml, which writes them as they are set and loads them",
        )


def of_places(look: Look) -> Iterator[Finding]:
    for one in look.seen.places or []:
        yield Finding(
            f"drift {one.path}",
            WARNING,
            f"it is {one.now} and should be {one.should}: what needs it fails, if not now "
            "then at the next start; run site.yml, which puts it right",
        )


def of_releases(look: Look) -> Iterator[Finding]:
    for app, tree in (look.seen.trees or {}).items():
        if tree.changed:
            release = tree.key.split()[0]
            names = ", ".join(tree.changed[:SHOWN])
            yield Finding(
                f"drift release {app}",
                WARNING,
                f"the live release {release} was edited on this server ({names}): what serves is "
                "no commit, and is gone with the next deploy. Commit the change and deploy it; a "
                "deploy of the same commit would leave this as it is",
            )


def of_settings(look: Look) -> Iterator[Finding]:
    """Settings of PostgreSQL: they are compared in SQL, see server.QUERY."""
    server = look.seen.server
    if server is None:
        for name in look.before:
            if isinstance(look.seen.postgresql, Down) and name.startswith("drift postgresql "):
                yield Finding(name, UNKNOWN, NO_ANSWER)
        return
    for one in server.stray:
        yield Finding(f"drift postgresql {one.name}", *of_setting(one, server.unsafe))
    for name in server.command_line:
        says = (
            "it comes from the command line or the environment of the server, where nothing is set"
        )
        yield Finding(f"drift postgresql {name}", WARNING, says)
    if not any(app.migrates for app in look.seen.apps or []):
        yield from map(of_role, server.role_settings)


def of_setting(one: Stray, unsafe: list[str]) -> tuple[str, str]:
    """A setting of PostgreSQL that a stranger's line decides."""
    auto = one.file.endswith("/postgresql.auto.conf")
    where = "ALTER SYSTEM" if auto else one.file
    says = f"{where} sets {one.name} = {one.value}"
    if one.ours is not None:
        says += f" over {one.ours}, which is set"
        says += "; run site.yml, which takes that back" if auto else "; remove it there"
    else:
        says += ", which is set nowhere else; take it into postgresql_settings"
        reset = f"`alter system reset {one.name}`, and a reload"
        says += f", or take it back with {reset}" if auto else ", or remove it there"
    if one.name in unsafe:
        return CRITICAL, f"{says}. A power loss can destroy the databases as long as it is so"
    return WARNING, says


def of_role(one: RoleSetting) -> Finding:
    """A setting that a role or a database has."""
    who = one.role or f"database {one.database}"
    target = f"role {one.role}" if one.role else f"database {one.database}"
    if one.role and one.database:
        target += f" in database {one.database}"
    name, _, value = one.setting.partition("=")
    return Finding(
        f"drift postgresql {who} {name}",
        WARNING,
        f"{target} has {name} = {value}, which is set nowhere but in the database; "
        f"`alter {target} reset {name}` takes it back, monitoring_accepted keeps it",
    )


CHECKS = (drift,)
