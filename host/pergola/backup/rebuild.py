"""A new server gets the databases of the lost one that it replaces."""

from dataclasses import dataclass

from pergola.backup.plan import make_plan
from pergola.backup.repository import Repositories, trouble
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.backup.targets import Wanted
from pergola.backup.told import told
from pergola.backup.unit import said_in_own_unit
from pergola.errors import PergolaError

NOTHING = "it has the cluster of its backups, or there are none: nothing was restored"


@dataclass(frozen=True)
class Rebuilt:
    """What was restored, for role backup."""

    changed: bool
    says: str


def rebuild(settings: Settings) -> Rebuilt:
    """Restore the newest state where the backups are of another cluster than the one here.

    PergolaError when that cannot be known: a copy that does not answer may have them.
    """
    repositories = Repositories(settings)
    away = repositories.still_away()
    here, known = Server(settings.version).system_id(), repositories.clusters()
    if away and not known:
        names = ", ".join(map(settings.name_of, away))
        raise PergolaError(
            f"{names} {trouble(next(iter(away.values())))}, and may have the backups of this "
            "server. Nothing was restored",
            "\n".join(away.values()),
            hint="make it answer, and run this again",
        )
    if not known or any(here in clusters for clusters in known.values()):
        return Rebuilt(False, NOTHING)
    says = told(settings, make_plan(settings, Wanted()))
    return Rebuilt(True, f"{says}\n{said_in_own_unit(['restore'])}")
