"""The command line: exits 0, or 1 with a report on stderr."""

import socket
import sys

from pergola.backup import everywhere, settings
from pergola.backup.options import parser
from pergola.errors import PergolaError, of_system


def main() -> int:
    """Do what the command line says."""
    options = parser().parse_args()
    try:
        if options.verb in everywhere.VERBS:
            everywhere.VERBS[options.verb](options)
        else:
            # It takes as long to import as all else, and not for what is called each minute.
            from pergola.backup import own

            if options.verb == "point" and options.if_made and not settings.are_made():
                print("this server makes no backups, so there is no point to return to")
                return 0
            own.VERBS[options.verb](settings.of_this_host(), options)
    except (PergolaError, OSError) as error:
        failed = of_system(error) if isinstance(error, OSError) else error
        print(f"{socket.gethostname()}: {failed}", file=sys.stderr)
        return 1
    return 0
