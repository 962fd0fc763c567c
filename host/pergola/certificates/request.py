"""Ask for the certificates that this host lacks."""

from dataclasses import dataclass, field

from pergola.certificates import files
from pergola.certificates.look import openssl
from pergola.certificates.order import Order, Wanted
from pergola.errors import PergolaError


@dataclass(frozen=True)
class Asked:
    """What this host lacks.

    `changed`: whether that is anything; `why`: the reason for each certificate that is to be
    signed; `requests`: for these, in PEM form; `files`: others that are not as they should be.
    """

    changed: bool
    why: dict[str, str]
    files: list[str]
    requests: dict[str, str] = field(default_factory=dict)


def request(order: Order, only_look: bool, replace: bool) -> Asked:
    """What is to be signed; keys are made where there is none, unless it only looks."""
    if not replace:
        files.check_authorities(order)
    why = {one.name: text for one in order.certificates if (text := files.lacking(one, order))}
    lacking = [one for one in order.certificates if one.name in why]
    if not only_look:
        check_groups(order)
    stale = [] if only_look and lacking else wrong_files(order)
    requests = {} if only_look else {one.name: request_for(one) for one in lacking}
    return Asked(bool(why or stale), why, stale, requests)


def wrong_files(order: Order) -> list[str]:
    """Files with other rights, or bundles with other authorities, than wanted."""
    all_of_them = [*files.bundles(order), *files.own(order)]
    return [str(file.path) for file in all_of_them if not file.is_right()]


def check_groups(order: Order) -> None:
    """Refuse a key for a group that is not there, before anything is made."""
    for one in order.certificates:
        try:
            files.group_of(one.group)
        except PergolaError as error:
            raise error.but(
                f"the key of {one.name} has no reader",
                hint="what makes that account comes first, such as a package or role app",
            ) from None


def request_for(wanted: Wanted) -> str:
    """A request in PEM form. Only the key in it counts: the control node knows the rest."""
    if not wanted.key.exists():
        make_key(wanted)
    return openssl("req", "-new", "-key", wanted.key, "-subj", f"/CN={wanted.common_name}")


def make_key(wanted: Wanted) -> None:
    text = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    files.File(wanted.key, files.KEY_MODE, wanted.group, text).put_right()
