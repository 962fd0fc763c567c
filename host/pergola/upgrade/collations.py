"""Sorting: another C library may sort text in another way, and an index made before is then wrong.

PostgreSQL notes the library's version for each database and collation that depends on it. Those of
C and C.UTF-8, which Pergola's own databases have, depend on nothing and have no version.
"""

from pergola.postgres import Cluster, quoted
from pergola.upgrade.progress import say

DATABASES = """select datname from pg_database where datallowconn
  and datcollversion is distinct from pg_database_collation_actual_version(oid) order by 1"""
COLLATIONS = """select format('%I.%I', n.nspname, c.collname)
  from pg_collation c join pg_namespace n on n.oid = c.collnamespace
  where c.collversion is not null
    and c.collversion is distinct from pg_collation_actual_version(c.oid)"""
# Indexes with a column whose collation, its own or the database's, has another version now.
INDEXES = """select format('%I.%I', n.nspname, i.relname)
  from pg_index x join pg_class i on i.oid = x.indexrelid
  join pg_namespace n on n.oid = i.relnamespace
  where n.nspname not in ('pg_toast') and i.relpersistence <> 't' and exists (
    select from unnest(x.indcollation) as used(id) join pg_collation c on c.oid = used.id
    where c.collversion is distinct from pg_collation_actual_version(c.oid)
      or c.collprovider = 'd' and exists (select from pg_database d
        where d.datname = current_database()
          and d.datcollversion is distinct from pg_database_collation_actual_version(d.oid)))
  order by 1"""


def outdated(cluster: Cluster) -> dict[str, list[str]]:
    """The databases that something was sorted in by another library, each with those indexes."""
    by_database = set(cluster.rows(DATABASES))
    found = {}
    for database in cluster.databases():
        if database in by_database or cluster.rows(COLLATIONS, database):
            found[database] = cluster.rows(INDEXES, database)
    return found


def fix(cluster: Cluster) -> bool:
    """Make those indexes again while the applications go on; return whether there were any."""
    found = outdated(cluster)
    for database, indexes in found.items():
        say(f"{database}: {len(indexes)} indexes were sorted by another C library: made again")
        for index in indexes:
            # The catalogs' own, which only names in other languages could disturb, cannot be made
            # again beside the work that goes on.
            how = "" if index.startswith("pg_catalog.") else "concurrently "
            cluster.sql(f"reindex index {how}{index}", database)
        for collation in cluster.rows(COLLATIONS, database):
            cluster.sql(f"alter collation {collation} refresh version", database)
        cluster.sql(f"alter database {quoted(database)} refresh collation version")
    return bool(found)
