"""The cached root file system of a suite, which the machines use as their lower layer.

An image has its own folder `<suite>-<key>-<epoch seconds>` and never changes afterwards, because
running machines may stand on it. The key covers everything that went into it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from testhosts import apt_sources, passthrough, suites
from testhosts.settings import Settings
from testhosts.shell import HostsError, lock, run, say
from testhosts.suites import Suite

MAX_AGE = 7 * 86400  # seconds; then its package lists are too old to install from
# An image that was found just before MAX_AGE may only now be written into a run's record.
GRACE = 86400  # seconds
# What a hoster's bare image always has. Nothing that a role ought to install itself.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
USER = "deploy"
RECIPE = 1  # raise it when `customise` changes, so that old images are not used


@dataclass(frozen=True)
class Ingredients:
    """Everything that an image is made from."""

    sources: str
    signed_by: str | None
    apt_options: list[str]
    environment: dict[str, str]
    authorities: dict[str, str]
    pip_conf: str
    uv_toml: str

    def key(self) -> str:
        """Return a short name that changes with any ingredient."""
        everything = json.dumps([RECIPE, PACKAGES, asdict(self)], sort_keys=True)
        return hashlib.sha256(everything.encode()).hexdigest()[:8]


def collect(suite: Suite, settings: Settings) -> Ingredients:
    """Read the ingredients from this machine; raise HostsError if an archive is not usable."""
    archive = apt_sources.archive_for(
        suite, settings, suites.read_os_release(), apt_sources.read_machine()
    )
    environment = dict(os.environ)
    homes = [Path.home(), Path(f"~{environment.get('SUDO_USER', 'root')}").expanduser()]
    pip_files = [Path("/etc/pip.conf"), *(home / ".config/pip/pip.conf" for home in homes)]
    uv_files = [Path("/etc/uv/uv.toml"), *(home / ".config/uv/uv.toml" for home in homes)]
    proxies = passthrough.proxies(environment)
    authorities = passthrough.authorities()
    pip = passthrough.pip_settings(environment, pip_files)
    default, further = passthrough.uv_indexes(environment, uv_files, pip)
    return Ingredients(
        sources=apt_sources.render(suite, archive),
        signed_by=archive.signed_by,
        apt_options=passthrough.apt_options(run("apt-config", "dump"), proxies),
        environment=proxies,
        authorities=authorities,
        pip_conf=passthrough.render_pip(pip, private_ca=bool(authorities)),
        uv_toml=passthrough.render_uv(default, further, private_ca=bool(authorities)),
    )


def find_or_build(suite: Suite, settings: Settings) -> Path:
    """Return the folder of a fresh image; building one takes about 40 s."""
    ingredients = collect(suite, settings)
    folder = settings.state / "images"
    with lock(build_lock(settings, suite.codename)):
        wanted = f"{suite.codename}-{ingredients.key()}-"
        newest = max(folder.glob(f"{wanted}*"), key=built_at, default=None)
        if newest and 0 <= time.time() - built_at(newest) < MAX_AGE:
            return newest
        remove_half_built(folder, suite.codename)
        say(f"building the {suite} image, about 40 s, cached for {MAX_AGE // 86400} days …")
        started = time.monotonic()
        unfinished = folder / f".{wanted}building"
        build(suite, ingredients, unfinished, settings.state / f"image-{suite.codename}.log")
        customise(unfinished, suite, ingredients)
        image = folder / f"{wanted}{int(time.time())}"
        unfinished.rename(image)
        say(f"built {image} in {time.monotonic() - started:.0f} s")
        return image


def build_lock(settings: Settings, codename: str) -> Path:
    """Return the lock that the builder of this suite holds."""
    return settings.state / "locks" / f"image-{codename}.lock"


def built_at(image: Path) -> int:
    """Return when an image was finished, in epoch seconds."""
    return int(image.name.rsplit("-", 1)[1])


def build(suite: Suite, ingredients: Ingredients, target: Path, log: Path) -> None:
    """Install the packages into `target`; raise HostsError with the log's end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sources = target.with_name(f"{target.name}.sources")
    sources.write_text(ingredients.sources)
    command = [
        # If this process is killed, its build must not go on without a lock: the parent's death
        # kills unshare, and with that every process of the namespace. Mounts vanish likewise.
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"),
        "mmdebstrap",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(PACKAGES)}",
        "--skip=cleanup/apt/lists",  # a fresh cloud image has usable lists as well
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io",  # power loss of the real machine need not be survived
        *(f"--aptopt={option}" for option in ingredients.apt_options),
        *(suite.codename, str(target), str(sources)),
    ]
    try:
        with log.open("w") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise HostsError(f"building the {suite} image failed, whole log in {log}:\n{tail}")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        sources.unlink()


def customise(root: Path, suite: Suite, ingredients: Ingredients) -> None:
    """Turn a bare installation into a hoster's server: user, SSH, network, no identity yet."""
    # The sources have the distribution's name, whatever the temporary file was called.
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    lists = root / "etc/apt/sources.list.d"
    for file in lists.iterdir():
        file.unlink()
    (lists / suite.sources_file).write_text(ingredients.sources)
    for keyring in keyring_files(ingredients.signed_by):
        target = root / keyring.relative_to("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(keyring, target)

    for name, text in ingredients.authorities.items():
        (root / "usr/local/share/ca-certificates" / name).write_text(text)
    if ingredients.authorities:
        run("chroot", root, "update-ca-certificates")
    with (root / "etc/environment").open("a") as file:
        file.writelines(f'{key}="{value}"\n' for key, value in ingredients.environment.items())
    for name, text in (("pip.conf", ingredients.pip_conf), ("uv/uv.toml", ingredients.uv_toml)):
        if text:
            (root / "etc" / name).parent.mkdir(exist_ok=True)
            (root / "etc" / name).write_text(text)

    run("chroot", root, "useradd", "--create-home", "--shell=/bin/bash", "--groups=sudo", USER)
    sudoers = root / "etc/sudoers.d/90-deploy"
    sudoers.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    ssh = root / "home" / USER / ".ssh"
    ssh.mkdir(mode=0o700)
    home = ssh.parent.stat()
    os.chown(ssh, home.st_uid, home.st_gid)

    # SSH is left as its package has it: Debian starts a service, Ubuntu a socket.
    run("chroot", root, "systemctl", "enable", "systemd-networkd.service")
    # It would fail again and again: the console is a log file here.
    run("chroot", root, "systemctl", "mask", "console-getty.service")
    # Every machine gets its own identity.
    for file in (root / "etc/ssh").glob("ssh_host_*"):
        file.unlink()
    for name in ("machine-id", "hostname", "hosts", "resolv.conf"):
        (root / "etc" / name).unlink(missing_ok=True)


def keyring_files(signed_by: str | None) -> list[Path]:
    """Return the files that a Signed-By field names; it may hold a key itself instead."""
    if signed_by is None or "-----BEGIN" in signed_by:
        return []
    return [Path(word) for word in re.split(r"[\s,]+", signed_by) if word.startswith("/")]


def remove_half_built(folder: Path, codename: str) -> None:
    """Delete what a killed build left; the caller holds the build's lock."""
    for path in folder.glob(f".{codename}-*"):
        say(f"removing the half-built image {path.name}")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def collect_garbage(settings: Settings, used: Iterable[str]) -> None:
    """Delete half-built images, and outdated ones on which no run stands."""
    folder = settings.state / "images"
    for suite in suites.SUITES:
        try:
            with lock(build_lock(settings, suite.codename), wait=False):
                remove_half_built(folder, suite.codename)
        except BlockingIOError:
            continue  # somebody is building it
    for image in folder.glob("[!.]*"):
        if str(image) not in used and time.time() - built_at(image) > MAX_AGE + GRACE:
            say(f"removing the outdated image {image.name}")
            shutil.rmtree(image)
