"""What its code lacks: the application, a module, a library."""

import re
from collections.abc import Iterator

from pergola import apt
from pergola.release.remedies import modules
from pergola.release.remedies.seen import Seen

# Those of apt's packages that Python's packages without a copy of their own load most often.
LIBRARIES = {
    "libpq": "libpq5",
    "libmagic": "libmagic1",
    "libpango": "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
    "libgobject-2.0": "libglib2.0-0",
    "libgthread-2.0": "libglib2.0-0",
    "libcairo": "libcairo2",
    "libGL": "libgl1",
    "libmariadb": "libmariadb3",
    "libxml2": "libxml2",
    "libxslt": "libxslt1.1",
    "libzbar": "libzbar0",
    "libvips": "libvips42",
    "libsndfile": "libsndfile1",
    "libgomp": "libgomp1",
    "libgeos_c": "libgeos-c1v5",
    "libodbc": "unixodbc",
    "libsasl2": "libsasl2-2",
}
# How the servers say that the module of app_asgi, or the name in it, is not there.
NO_APPLICATION = re.compile(
    r"Error loading ASGI app|Import string .* must be in format"
    r"|Cannot load application from '|Failed to find attribute '|RuntimeError: Could not import '"
)
NO_LIBRARY = re.compile(
    r"(lib[\w.+-]+?)(?:\.so(?:\.(?P<version>\d+))?[\w.]*)?: cannot open shared object file"
    r"|(libpq) library not found|failed to find (libmagic)|Unable to find (zbar) shared library"
)
# How env and sh say it.
NO_PROGRAM = re.compile(
    r"^(?:/usr/bin/)?env: \W([\w./-]+)\W: No such file or directory"
    r"|^(?:/bin/)?sh: \d+: (?:exec: )?([\w./-]+): not found",
    re.MULTILINE,
)


def wrong_application(seen: Seen) -> Iterator[str]:
    manifest = seen.manifest
    asgi = manifest.asgi.removesuffix("()")
    module, _, name = asgi.partition(":")
    ours = (
        f"No module named '{module.partition('.')[0]}'",
        f"No module named '{module}'",
        f"module '{module}' has no attribute '{name}'",
    )
    if not NO_APPLICATION.search(seen.lines) and not any(one in seen.lines for one in ours):
        return
    if place := modules.place_of(seen.code, module.partition(".")[0]):
        yield misplaced(module.partition(".")[0], place)
        return
    known = modules.applications(seen.code, asgi)
    has = f"it has {', '.join(known)}" if known else "no other was found in its files"
    setting = "app_server_command" if manifest.server == "command" else "app_asgi"
    yield f"Setting: {setting}: the release has no '{asgi}'; {has}"


def misplaced(module: str, place: str) -> str:
    return (
        f"Setting: app_environment: the module {module} is in {place}/ of the release, where "
        f"Python does not look; app_environment: {{PYTHONPATH: {place}}} lets it find that"
    )


def missing_module(seen: Seen) -> Iterator[str]:
    own = seen.manifest.asgi.partition(":")[0].partition(".")[0]
    for name in re.findall(r"ModuleNotFoundError: No module named '([\w.]+)'", seen.lines):
        top = name.partition(".")[0]
        if top == own:
            continue
        if place := modules.place_of(seen.code, top):
            yield misplaced(top, place)
        elif place is None:
            yield (
                f"the lock has no package with the module {top}: add it to the project's "
                "dependencies, make the lock again, commit"
            )


def missing_program(seen: Seen) -> Iterator[str]:
    for found in NO_PROGRAM.finditer(seen.lines):
        yield (
            f"Setting: {seen.setting}: the release has no program {found[1] or found[2]}: add "
            "the package that has it to the project's dependencies, make the lock again, commit"
        )


def missing_library(seen: Seen) -> Iterator[str]:
    for found in NO_LIBRARY.finditer(seen.lines):
        name = next(filter(None, (found[1], *found.groups()[2:])))
        name = name if name.startswith("lib") else f"lib{name}"
        packages = packages_of(name, found["version"] or "")
        wanted = ", ".join(packages) or "…"
        where = "" if packages else f"; `apt-file search {name}.so` names the package that has it"
        yield (
            f"Setting: app_system_packages: the server has no {name}; "
            f"app_system_packages: [{wanted}] and a deploy install it{where}"
        )


def packages_of(library: str, version: str) -> list[str]:
    """The packages that bring a library, as this system calls them; none where nobody knows.

    Those that are not in the list have the name that Debian's policy gives them.
    """
    key = next((key for key in LIBRARIES if library.startswith(key)), "")
    if key:
        return [apt.of_system(name) or name for name in LIBRARIES[key].split()]
    base = re.sub(r"[^a-z0-9.+-]", "-", library.lower())
    found = version and apt.of_system(f"{base}{'-' if base[-1].isdigit() else ''}{version}")
    return [found] if found else []
