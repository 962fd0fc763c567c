"""app_static_url and what belongs to it."""

from collections.abc import Iterator, Sequence
from itertools import chain

from pergola_control.guess import assets
from pergola_control.guess.assets import FrontEnd, Mount
from pergola_control.guess.modules import Module
from pergola_control.guess.places import Place
from pergola_control.guess.repository import relative
from pergola_control.guess.seen import Seen
from pergola_control.source.directories import code_below

COLLECT = "python manage.py collectstatic --no-input"


def static(place: Place, modules: Sequence[Module], secrets: Sequence[str]) -> Iterator[Seen | str]:
    """The settings, and notes on what is not taken."""
    repository = place.repository
    ends = list(assets.front_ends(repository))
    if place.found.framework.startswith("Django"):
        yield from of_django(place, modules, secrets)
    else:
        served = chain(assets.mounts(modules, place.home), assets.of_flask(modules))
        yield from of_mounts(place, list(served), ends)
    for end in ends:
        if not any(end.directory == one.directory for one in ends if is_used(place, modules, one)):
            yield (
                f"{end.where} builds a front end, which is not served: app_build_command: "
                f"{built(place, end)}, with app_static_url and app_static_dir"
            )


def is_used(place: Place, modules: Sequence[Module], end: FrontEnd) -> bool:
    """Whether the application serves what a front end's build writes."""
    served = assets.mounts(modules, place.home)
    return any(is_built_by(one, end) for one in served)


def is_built_by(mount: Mount, end: FrontEnd) -> bool:
    return assets.is_inside(mount.directory, end.output) or assets.is_inside(
        end.output, mount.directory
    )


def built(place: Place, end: FrontEnd) -> str:
    """The command that builds a front end, from the application's directory."""
    where = relative(end.directory, place.base)
    return f"cd {where} && {end.command}" if where else end.command


def of_mounts(place: Place, served: list[Mount], ends: list[FrontEnd]) -> Iterator[Seen | str]:
    """What the application serves itself is served by Caddy, if it is or will be in the release."""
    for end in ends:
        if any(is_built_by(mount, end) for mount in served):
            command = built(place, end)
            yield Seen("app_build_command", command, end.where, "a front end that it serves")
    for mount in sorted(served, key=lambda one: "static" not in one.url):
        is_there = any(place.repository.below(mount.directory))
        is_made = any(is_built_by(mount, end) for end in ends)
        directory = relative(mount.directory, place.base)
        if not mount.url or not (is_there or is_made) or directory.startswith(".."):
            continue
        if code := next(code_below(mount.directory, place.repository.names), ""):
            yield f"{mount.where}: {mount.url} is not Caddy's: {code} is code, not a static file"
            continue
        yield Seen("app_static_url", mount.url, mount.where, "static files of the application")
        yield Seen("app_static_dir", directory, mount.where, "where they are")
        return


def of_django(
    place: Place, modules: Sequence[Module], secrets: Sequence[str]
) -> Iterator[Seen | str]:
    """collectstatic, without the secrets, which the build has not."""
    found = assets.of_django(modules, place.home)
    if found is None:
        return
    if found.root is None:
        yield (
            f"{found.where}: there is no STATIC_ROOT that could be read, so static files are not "
            'served: STATIC_ROOT = os.environ.get("PERGOLA_ASSETS") is Caddy\'s directory'
        )
        return
    command = " ".join([*(f"{name}=-" for name in secrets), COLLECT])
    copied = f'{command} && cp -R {found.root}/. "$PERGOLA_ASSETS"' if found.root else command
    yield Seen("app_static_url", found.url, found.where, "Django's static files")
    yield Seen("app_static_command", place.command(copied), found.where, "they are collected")
