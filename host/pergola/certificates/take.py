"""Take the certificates that were signed for this host, all of them or none."""

import re
from dataclasses import dataclass

from pergola.certificates import files
from pergola.certificates import order as place
from pergola.certificates.look import why_not
from pergola.certificates.order import Order
from pergola.errors import PergolaError

CLOCKS = "compare the clocks of this host and the control node, and run again"


@dataclass(frozen=True)
class Taken:
    """What was written."""

    changed: bool
    written: list[str]


def take(order: Order, replace: bool) -> Taken:
    """Have all files as wanted; PergolaError, and nothing changed, for what does not fit."""
    if not replace:
        files.check_authorities(order)
    check_signed(order)
    wrong = [file for file in files.bundles(order) if not file.is_right()]
    wrong += [file for file in files.own(order) if not file.is_right()]
    for file in wrong:
        file.put_right()
    changed = bool(wrong)
    if not files.folder_is_right():
        place.HOME.chmod(files.FOLDER_MODE)
        changed = True
    return Taken(changed, [str(file.path) for file in wrong])


def check_signed(order: Order) -> None:
    """Refuse a certificate that nobody wants, one that does not fit, and one that is missing."""
    wanted = {one.name: one for one in order.certificates}
    if strange := sorted(order.signed.keys() - wanted):
        raise PergolaError(f"a certificate was sent that is not wanted: {', '.join(strange)}")
    for name, one in wanted.items():
        if not one.key.exists():
            raise PergolaError(f"{one.key} is gone", hint="run again: another one is made")
        sent = order.signed.get(name)
        why = files.lacking(one, order) if sent is None else why_not(sent, one, order)
        if why:
            raise PergolaError(
                f"the certificate {name} is not taken: {why}",
                live="the files in /etc/pergola/certificates are as they were",
                hint=CLOCKS if re.search("expired|yet valid", why) else "run again",
            )
