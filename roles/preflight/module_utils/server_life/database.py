"""A PostgreSQL that others use: what Pergola's settings would change there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, is_ours, output

# Databases that are not PostgreSQL's own, roles that may log in, and what somebody has set by hand.
USED = """
select json_build_object(
  'databases', (select coalesce(json_agg(datname order by datname), '[]') from pg_database
                where not datistemplate and datname not in ('postgres', 'template1')),
  'set', (select json_object_agg(s.name, current_setting(s.name))
          from pg_settings s where s.source in ('configuration file', 'command line')
          and s.setting is distinct from s.boot_val
          and (s.sourcefile is null or s.sourcefile not like '%/conf.d/pergola%')))
"""


def asked(port: int, query: str) -> str:
    return output(
        *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"),
        *("psql", "-XqAt", "--host=/var/run/postgresql", f"--port={port}", "--dbname=postgres"),
        *("-c", query),
    ).strip()


def found(version: int, settings: dict[str, str]) -> Iterator[Finding]:
    """The cluster `main` of a version, where it has databases that are not Pergola's.

    settings: what Pergola would set, as the file has it.
    """
    config = Path(f"/etc/postgresql/{version}/main")
    if not config.is_dir() or is_ours(config / "conf.d/pergola.conf"):
        return
    port = 5432
    answer = asked(port, USED)
    if not answer:
        return
    there = json.loads(answer)
    databases = there["databases"]
    # What initdb has chosen (places, languages) Pergola does not set, but for the time zone.
    changes = {}
    for name, value in (there["set"] or {}).items():
        if name == "timezone" and not databases:
            continue
        if name in settings and not same(value, settings[name]):
            changes[name] = (value, bare(settings[name]))
    if not databases and not changes:
        return
    told = "; ".join(f"{name}: {old!r} -> {new!r}" for name, (old, new) in sorted(changes.items()))
    keep = []
    if "max_connections" in changes:
        keep.append(f"postgresql_max_connections: {changes['max_connections'][0]}")
    rest = {name: old for name, (old, _) in changes.items() if name != "max_connections"}
    if rest:
        keep.append(f"postgresql_settings: {json.dumps(rest)}")
    way = "say yes to its being restarted once, with Pergola's settings"
    if keep:
        way += f"; to keep what it has, set {' and '.join(keep)}"
    names = ", ".join(databases) or "none yet"
    yield Finding(
        "postgresql",
        f"the cluster {version}/main has databases of others ({names}); it would be restarted"
        + (f", with {told}" if told else ""),
        way,
    )


def same(one: str, other: str) -> bool:
    """Whether two spellings of a setting mean the same, as far as that is easy to tell."""
    return bare(one).replace(" ", "").lower() == bare(other).replace(" ", "").lower()


def bare(value: str) -> str:
    """A value without the quotes and the comment that it has in a file."""
    return value.partition("  #")[0].strip().strip("'")
