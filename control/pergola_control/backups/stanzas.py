"""Which backups are a server's: it goes on with those of its cluster, a new one begins.

Where it would begin an empty database beside backups that may be its own, there is a question.
"""

from __future__ import annotations

from collections.abc import Mapping

from pergola_control.backups.known import NAME, Known, Seen, Stanza, Told

LOST = """, and {host} has {has}.
New backups would begin with what is there now. Nothing was changed.
- {host} stands in the place of a lost server (docs/disaster.md). This brings its databases back:
  {site} -e rebuild=true
- It begins with what it has: give its backups another name, for example `backup_stanza: {stanza}-2`
  in {file}. Those that there are stay."""
UNFIT = """, and {host} has {has}.
They are of PostgreSQL {theirs}, and it has or gets {here}, to which they cannot be restored.
Nothing was changed. Install the system's release that the lost server had; or set
postgresql_repository to pgdg and postgresql_version to {theirs}.
(To begin empty, give its backups another name: `backup_stanza: {stanza}-2` in {file}.)"""
UPGRADED = """
- PostgreSQL's major version was upgraded by hand: sudo pergola-backup stanza-upgrade"""
SILENT = """\
{host} has no database cluster, and {silent} could not be asked whether there are backups of it.
Nothing was changed. Run this for all hosts, without --limit; or take {silent} out of
{directory}/hosts.yml if it is gone for good."""
ORPHANS = """.
{host} has no database cluster, and would begin with an empty one. Nothing was changed. Say in
{file} which it is, and run this again:
- It stands in the place of a lost server: `backup_stanza: {other}`. The next run says more.
- It is a new one: `backup_stanza: {host}`."""
SHARED = """\
{hosts} would write to the same backups, {name}: one is a copy of the other, or backup_stanza is the
same for both. Nothing was changed. Give each a `backup_stanza` of its own in its host_vars."""


def stanza_of(known: Known, host: str) -> str:
    """The name of a server's backups: as set; else by its cluster; else by what is configured."""
    if host in known.named:
        return known.named[host]
    seen, system = known.hosts.get(host, Seen()), known.system(host)
    configured = seen.get("stanza", "")
    if not NAME.fullmatch(configured):
        configured = ""
    allowed = [one for one in known.stanzas if not known.is_of_another(one, host)]
    own = [one.name for one in allowed if system and system in one.systems]
    for name in (configured, host):
        if name in own:
            return name
    if own:
        return own[0]
    if system and configured and not is_taken(known, configured, host):
        return configured
    of_host = [one for one in allowed if one.host == host]
    return max(of_host, key=lambda one: one.newest).name if of_host else host


def is_taken(known: Known, name: str, host: str) -> bool:
    """Whether a name is that of another server's backups."""
    return any(one.name == name and known.is_of_another(one, host) for one in known.stanzas)


def lost_backups(known: Known, host: str, stanza: str) -> list[Stanza]:
    """The backups under a server's name that are of another cluster than it has."""
    system = known.system(host)
    found = [one for one in known.stanzas if one.name == stanza]
    if any(system and system in one.systems for one in found):
        return []
    readable = [one for one in found if one.systems]
    return readable or ([] if system else found)


def orphans(known: Known, host: str, stanzas: Mapping[str, str]) -> list[Stanza]:
    """Backups of servers that this inventory does not have, and that its key may read."""
    keys = set(known.control.values())
    names = {*known.inventory, *stanzas.values()}
    found = []
    for one in known.stanzas:
        if (
            one.name in names
            or one.host in known.inventory
            or one.holder not in (host, *known.keepers)
        ):
            continue
        theirs = {
            each["key"]
            for each in known.hosts[one.holder]["keys"]
            if each["stanza"] == one.name and each["current"]
        }
        if not (keys and theirs) or keys & theirs:  # another key: another environment's
            found.append(one)
    return found


def other_version(lost: list[Stanza], here: str) -> str:
    """Why backups cannot be restored to the PostgreSQL that a server has or would get."""
    versions = {one.version for one in lost if one.version}
    if not versions or not here or here in versions:
        return ""
    return UNFIT.replace("{theirs}", max(versions)).replace("{here}", here)


def question(known: Known, host: str, stanzas: Mapping[str, str], told: Told) -> str:
    """Why a server must not begin, and the ways on; "" if it may."""
    system, stanza, directory = known.system(host), stanzas[host], told["directory"]
    words = {"host": host, "stanza": stanza, "directory": directory, "site": told["site"]}
    words["file"] = f"{directory}/host_vars/{host}.yml"
    if lost := lost_backups(known, host, stanza):
        words["has"] = "another database cluster" if system else "no database cluster"
        found = "; ".join(one.words() for one in lost)
        unfit = other_version(lost, told["versions"].get(host, ""))
        return (found + (unfit or LOST) + (UPGRADED if system else "")).format(**words)
    if system or host in known.named:
        return ""
    if silent := ", ".join(name for name in known.keepers if name not in known.hosts):
        return SILENT.format(silent=silent, **words)
    if others := orphans(known, host, stanzas):
        found = "; ".join(f"{one.words()}, which is not in this inventory" for one in others)
        return (found + ORPHANS).format(other=others[0].name, **words)
    return ""


def shared(stanzas: Mapping[str, str], known: Known) -> str:
    """Two servers that would write the same backups, in words; "" if there are none."""
    for name in stanzas.values():
        hosts = sorted(host for host, same in stanzas.items() if same == name)
        if len(hosts) > 1 and known.keepers:
            return SHARED.format(hosts=" and ".join(hosts), name=name)
    return ""
