"""Prepare: unpack the archive, build the virtual environment, collect the static files, seal it."""

import os
import shutil
from dataclasses import dataclass, field, replace

from pergola import access
from pergola.documents import Json
from pergola.errors import PergolaError
from pergola.records import MANIFEST, Manifest
from pergola.release import node, pythons, servers, tree
from pergola.release.accounts import end_all_of
from pergola.release.bytecode import Bytecode
from pergola.release.commands import credential_text, environment_text
from pergola.release.packages import Access, Packages
from pergola.release.releases import Releases
from pergola.release.shared import share
from pergola.release.workshop import Workshop
from pergola.system import account_of, persist, write

MEGABYTE = 2**20


@dataclass(frozen=True)
class Ordered(Manifest):
    """What role release wants a release made of: with the values that no manifest has."""

    environment: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)  # variables that it shall not have
    credentials: dict[str, str] = field(default_factory=dict)
    # Of what fetches and builds packages only: they are not kept.
    build_secrets: dict[str, str] = field(default_factory=dict)
    build_netrc: str = ""
    # Where its Python comes from.
    python_mirror: str = ""
    python_builds: Json = field(default_factory=dict)

    @property
    def public(self) -> Manifest:
        """What anybody may know of it."""
        values = {name: getattr(self, name) for name in Manifest.__dataclass_fields__}
        names = sorted({*self.environment, *self.secrets, *self.credential_variables})
        return replace(Manifest(**values), environment_names=names)


class Build:
    """One release that is being made."""

    def __init__(self, releases: Releases, release: str, ordered: Ordered) -> None:
        self.releases, self.settings, self.ordered = releases, releases.settings, ordered
        self.target = releases.path(release)
        self.archive = releases.home / "incoming" / f"{release}.tar.gz"
        self.left_out: list[str] = []
        self.copied: list[str] = []

    def make(self) -> None:
        """Make it; what an attempt before has left is thrown away."""
        self.check_disk()
        end_all_of(self.settings.build_user)
        tree.remove(self.target)
        shop = Workshop(self.releases, self.target, self.ordered.interpreter)
        self.begin(shop)
        self.describe()
        self.bring_python()
        self.unpack(shop)
        access = Access(self.ordered.build_secrets, self.ordered.build_netrc)
        packages, bytecode = (
            Packages(shop, self.ordered, access),
            Bytecode(shop, self.releases.home),
        )
        with access.given(shop):
            packages.fetch()
            bytecode.give()  # what the release's own commands import is compiled by then
            packages.build()
        self.note_server(shop)
        self.collect_static(shop)
        self.seal(shop, bytecode)
        self.copied = share(self.releases, self.ordered.id)
        os.sync()  # a power loss must not leave a mark on files that are not there
        bytecode.keep()
        write(self.target / "ready", "")
        persist(self.target)

    def check_disk(self) -> None:
        """Refuse before anything is unpacked when the release could fill the disk."""
        with self.archive.open("rb") as packed:
            packed.seek(-4, os.SEEK_END)
            unpacked = int.from_bytes(packed.read(4), "little")
        self.refuse_without_room_for(2 * unpacked, "nothing was unpacked")

    def refuse_without_room_for(self, size: int, state: str) -> None:
        needed = size + self.settings.disk_free_mb * MEGABYTE
        free = shutil.disk_usage(self.releases.home).free
        if free < needed:
            raise PergolaError(
                f"{self.releases.home} has {free // MEGABYTE} MB free, "
                f"this release needs {needed // MEGABYTE} MB",
                hint="free some space (journalctl --vacuum-size=200M, apt-get clean, old files) "
                f"or lower release_disk_free_mb; {state}",
            )

    def begin(self, shop: Workshop) -> None:
        """Make the directories: what the build writes is in four of the build account's own.

        Until the release is sealed nobody else gets into it.
        """
        builder = account_of(self.settings.build_user)
        self.target.mkdir(mode=0o700)
        os.chown(self.target, 0, builder.pw_gid)
        self.target.chmod(0o750)
        for path in shop.directories:
            path.mkdir(mode=0o755)
            os.chown(path, builder.pw_uid, builder.pw_gid)

    @property
    def told(self) -> dict[str, str]:
        """What an application may read of its release, when it is built as when it runs.

        In PERGOLA_ASSETS is also the list of hashed names, such as Django's manifest.
        """
        ordered = self.ordered
        return {
            "PERGOLA_RELEASE": ordered.id,
            "PERGOLA_COMMIT": ordered.commit,
            "PERGOLA_ASSETS": str(self.target / "assets"),
            **({"PERGOLA_DOMAIN": ordered.domain} if ordered.web else {}),
        }

    def describe(self) -> None:
        """Write the release's environment, credentials and manifest."""
        ordered = self.ordered
        told = servers.telemetry(ordered, self.releases.app.name)
        environment = {
            **{name: told[name] for name in told.keys() - set(ordered.unset)},
            **ordered.environment,
            **ordered.secrets,
            **self.told,
            "PERGOLA_DIRECTORY": ordered.directory,
            **servers.environment(ordered, self.releases.home),
        }
        home = self.releases.home
        text = environment_text(access.filled_in(dict(sorted(environment.items())), home))
        text += credential_text(ordered.credential_variables)
        write(self.target / "environment", text, 0o640, group=self.settings.user)
        (self.target / "credentials").mkdir(mode=0o700)
        for name, content in access.filled_in(ordered.credentials, home).items():
            write(self.target / "credentials" / name, content, 0o600)
        MANIFEST.write(self.target / "release.json", ordered.public)

    def bring_python(self) -> None:
        """Have the Python that it runs with; its manifest keeps others from removing that."""
        ordered = self.ordered
        pythons.bring(
            ordered.interpreter, self.settings, ordered.python_mirror, ordered.python_builds
        )

    def note_server(self, shop: Workshop) -> None:
        """Write down what serves it, if that is not the application's own."""
        if found := servers.own_server(shop.venv):
            MANIFEST.write(
                self.target / "release.json", replace(self.ordered.public, own_server=found)
            )

    def unpack(self, shop: Workshop) -> None:
        with self.archive.open("rb") as packed:
            shop.run(
                ["tar", "--extract", "--gzip", "--no-same-owner", "--directory", shop.code],
                "unpack the archive",
                stdin=packed,
            )

    def collect_static(self, shop: Workshop) -> None:
        """Bring the release's static files together; they are published when it goes live."""
        ordered = self.ordered
        if ordered.static_dir:
            copy = 'test -d "$1" || { echo "there is no such directory"; exit 1; }; exec cp '
            copy += '--recursive --no-target-directory "$1" "$2"'
            shop.run(
                [
                    "sh",
                    "-euc",
                    copy,
                    "sh",
                    shop.code / ordered.directory / ordered.static_dir,
                    shop.assets,
                ],
                f"copy app_static_dir '{ordered.static_dir}' of this release",
            )
        if ordered.static_command:
            command = ["sh", "-euc", ordered.static_command]
            shop.run(
                node.command(shop, ordered.static_command) if ordered.node else command,
                "run app_static_command",
                directory=shop.code / ordered.directory,
                shown=command,
                environment={
                    **ordered.environment,
                    "PATH": f"{shop.venv / 'bin'}:/usr/bin:/bin",
                    **(node.environment(shop) if ordered.node else {}),
                    **self.told,
                    "PERGOLA_ASSETS": str(shop.assets),
                },
            )

    def seal(self, shop: Workshop, bytecode: Bytecode) -> None:
        """Make all of it root's, and readable by the application only."""
        builder, runtime = account_of(self.settings.build_user), account_of(self.settings.user)
        end_all_of(builder.pw_name)
        tree.remove(shop.work)
        sizes = (tree.size(path) for path in (shop.code, shop.venv, shop.assets))
        self.refuse_without_room_for(max(sizes), "the release was built, but not kept")
        bytecode.clear()
        seal = tree.Seal(self.target, {builder.pw_uid})
        self.left_out = seal.make("code", "venv", "assets", plain="assets")
        (shop.venv / ".lock").unlink(missing_ok=True)  # uv's own
        bytecode.give()
        os.chown(self.target, 0, runtime.pw_gid)
        self.target.chmod(0o750)
