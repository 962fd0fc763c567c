#!/usr/bin/env python3
"""The releases of one application on this host: prepare, migrate, activate, roll back, show.

Installed as /srv/<app>/bin/release and run as root, by Ansible or by hand. It needs the standard
library only, prints one JSON object on stdout, and exits 0, or 1 with a report on stderr. A verb
takes the app's lock, may be killed at any point, and may be run again.

`prepare` reads {"settings": {…}, "manifest": {…}} on stdin: how releases are made on this host,
which it keeps in settings.json, and what this one is (source.py's answer and role release's
__release_config).

    /srv/<app>/
      releases/<id>/     release.json (the manifest), environment, credentials/, code/, venv/, ready
      incoming/          <id>.tar.gz, as the control node sent it
      slots/{blue,green} symlinks to releases
      live/green         exists: green is live; absent: blue is. Caddy looks at it for each request
      assets/            static files of all kept releases, named by their content
      ledger.jsonl       one line for each thing that was done
"""

import argparse
import contextlib
import datetime
import fcntl
import functools
import http.client
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

COLOURS = ("blue", "green")
JOURNAL_LINES = 30
LOCK = "requirements.txt"
# Caddy chose the old slot for requests that it has not yet sent there: they get this long.
SECONDS_BEFORE_DRAIN = 1.0
READY_ANSWERS_IN_A_ROW = 2
# What a build takes over from /etc/environment: proxies, private CAs, package index settings.
BUILD_ENVIRONMENT_PREFIXES = ("UV_", "SSL_CERT", "HTTP_", "HTTPS_", "NO_")


class ReleaseError(Exception):
    """What went wrong in which phase; `detail` holds evidence such as the journal's last lines."""

    def __init__(self, phase: str, reason: str, detail: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.phase, self.reason, self.detail, self.hint = phase, reason, detail, hint


class Releases:
    """One application's releases below `home`."""

    def __init__(self, home: Path, who: str) -> None:
        self.home, self.who = home, who
        self.app = home.name
        self.run_dir = Path("/run") / self.app
        self.seconds: dict[str, float] = {}

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        return json.loads((self.home / "settings.json").read_text())

    # -- what is where ---------------------------------------------------------------------------

    def path(self, release: str) -> Path:
        return self.home / "releases" / release

    def manifest(self, release: str) -> dict[str, Any]:
        try:
            return json.loads((self.path(release) / "release.json").read_text())
        except FileNotFoundError:
            kept = ", ".join(sorted(p.name for p in (self.home / "releases").iterdir())) or "none"
            raise ReleaseError(
                "prepare", f"there is no release {release} on this host", f"kept releases: {kept}"
            ) from None

    def live_colour(self) -> str:
        return "green" if (self.home / "live/green").exists() else "blue"

    def in_slot(self, colour: str) -> str | None:
        """The id of the release that a slot points to."""
        slot = self.home / "slots" / colour
        return slot.resolve().name if slot.is_symlink() and slot.exists() else None

    def live(self) -> str | None:
        return self.in_slot(self.live_colour())

    def unit(self, colour: str, kind: str = "service") -> str:
        return f"{self.app}@{colour}.{kind}"

    def describe_live(self) -> str:
        release = self.live()
        if release is None:
            return f"nothing: no release of {self.app} was ever live on this host"
        state = show(self.unit(self.live_colour()), "ActiveState")
        commit = self.manifest(release).get("describe", "")
        return f"{release} ({commit}) in slot {self.live_colour()}, {state}"

    # -- ledger ----------------------------------------------------------------------------------

    def ledger(self) -> list[dict[str, Any]]:
        """Every line of the ledger, oldest first; a line cut off by a power loss is left out."""
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.home / "ledger.jsonl").read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    entries.append(json.loads(line))
        return entries

    def record(self, action: str, release: str, outcome: str, **more: object) -> None:
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "action": action,
            "release": release,
            "outcome": outcome,
            "who": self.who,
            "seconds": {phase: round(spent, 2) for phase, spent in self.seconds.items()},
            **more,
        }
        path = self.home / "ledger.jsonl"
        cut_off = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
        with path.open("a") as ledger:
            ledger.write(("\n" if cut_off else "") + json.dumps(entry) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())

    def good(self) -> list[str]:
        """Releases that went live and were not rolled back from since, most recent first."""
        good: list[str] = []
        for entry in self.ledger():
            if entry["outcome"] != "live":
                continue
            release, left = entry["release"], entry.get("from")
            went_back = release in good and left in good and good.index(release) > good.index(left)
            if entry["action"] == "rollback" and went_back:
                good.remove(left)
            good = [release, *(other for other in good if other != release)]
        return [release for release in good if (self.path(release) / "ready").exists()]

    # -- prepare ---------------------------------------------------------------------------------

    def prepare(self, release: str, order: dict[str, Any]) -> dict[str, Any]:
        """Unpack the archive, build the virtual environment, collect the static files."""
        changed = self.keep_settings(order["settings"])
        target = self.path(release)
        if (target / "ready").exists():
            return {"changed": changed, "live": self.live() == release}
        archive = self.home / "incoming" / f"{release}.tar.gz"
        self.check_disk(archive)
        if target.exists():  # an attempt that failed or was cut off
            shutil.rmtree(target)
        manifest = order["manifest"]
        try:
            with self.phase("prepare"):
                self.unpack(target, archive, manifest)
                self.install(target, manifest)
                self.collect_static(target, manifest)
                (target / "venv/.lock").unlink(missing_ok=True)  # uv leaves it writable by all
                write(target / "ready", "")
                os.sync()
        except ReleaseError as error:
            self.record("prepare", release, "failed", reason=error.reason)
            raise
        return {"changed": True, "live": False, "seconds": self.seconds}

    def keep_settings(self, settings: dict[str, Any]) -> bool:
        """Store how releases are made on this host; return whether that is new."""
        path, text = self.home / "settings.json", json.dumps(settings, indent=1, sort_keys=True)
        if path.exists() and path.read_text() == text:
            return False
        write(path, text, 0o600)
        return True

    def check_disk(self, archive: Path) -> None:
        """Refuse before anything is unpacked when the release could fill the disk."""
        with archive.open("rb") as packed:
            packed.seek(-4, os.SEEK_END)
            unpacked = int.from_bytes(packed.read(4), "little")
        needed = 2 * unpacked + self.settings["disk_free_mb"] * 2**20
        free = shutil.disk_usage(self.home).free
        if free < needed:
            raise ReleaseError(
                "prepare",
                f"{self.home} has {free // 2**20} MB free, this release needs {needed // 2**20} MB",
                hint="free some space (journalctl --vacuum-size=200M, apt-get clean, old files) "
                "or lower release_disk_free_mb; nothing was unpacked",
            )

    def unpack(self, target: Path, archive: Path, manifest: dict[str, Any]) -> None:
        builder = pwd.getpwnam(self.settings["build_user"])
        runtime = pwd.getpwnam(self.settings["user"])
        target.mkdir(mode=0o755)
        for name in ("code", "venv"):
            (target / name).mkdir(mode=0o755)
            os.chown(target / name, builder.pw_uid, builder.pw_gid)
        environment = {
            **manifest["environment"],
            **manifest["secrets"],
            "PERGOLA_RELEASE": manifest["id"],
            "PERGOLA_COMMIT": manifest["commit"],
            "PERGOLA_ASGI": manifest["asgi"],
            "PERGOLA_DOMAIN": manifest["domain"],
            "PERGOLA_HEALTH_PATH": manifest["health_path"],
            "PERGOLA_UVICORN_OPTIONS": " ".join(manifest["uvicorn_options"]),
            "WEB_CONCURRENCY": str(manifest["workers"]),
        }
        lines = "".join(f"{name}={quoted(value)}\n" for name, value in sorted(environment.items()))
        write(target / "environment", lines, 0o640, runtime.pw_gid)
        (target / "credentials").mkdir(mode=0o700)
        for name, content in manifest["credentials"].items():
            write(target / "credentials" / name, content, 0o600)
        hidden = ("environment", "secrets", "credentials")
        public = {key: value for key, value in manifest.items() if key not in hidden}
        write(target / "release.json", json.dumps(public, indent=1), 0o644)
        with archive.open("rb") as packed:
            self.build(
                ["tar", "--extract", "--gzip", "--no-same-owner", "--directory", target / "code"],
                "unpack the archive",
                stdin=packed,
            )

    def install(self, target: Path, manifest: dict[str, Any]) -> None:
        """Install exactly what the lock says; see uv's manual for the exit codes."""
        uv, venv, code = self.settings["uv"], target / "venv", target / "code"
        python = self.settings["python"]
        self.build([uv, "venv", "--quiet", "--allow-existing", "--python", python, venv], "venv")
        if manifest["installer"] == "uv-lock":
            # Not editable and in a directory of its own: uv would take stale code otherwise.
            self.build(
                [uv, "sync", "--locked", "--no-dev", "--no-editable", "--compile-bytecode"],
                "install what uv.lock says",
                cwd=code,
                UV_PROJECT_ENVIRONMENT=str(venv),
                hint="if the lock is out of date: run `uv lock`, commit, deploy again",
            )
            return
        self.build(
            [uv, "pip", "sync", "--python", venv, "--require-hashes", "--compile-bytecode", LOCK],
            f"install what {LOCK} says",
            cwd=code,
        )
        if (code / "pyproject.toml").exists():
            options = ["--no-deps", "--compile-bytecode", *manifest["project_install_options"]]
            self.build(
                [uv, "pip", "install", "--python", venv, *options, "."],
                "install the project itself",
                cwd=code,
            )

    def collect_static(self, target: Path, manifest: dict[str, Any]) -> None:
        assets = self.home / "assets"
        if manifest["static_dir"]:
            source = target / "code" / manifest["static_dir"]
            if not source.is_dir():
                raise ReleaseError(
                    "prepare",
                    f"app_static_dir '{manifest['static_dir']}' is no directory of this release",
                )
            self.build(["cp", "--recursive", "--no-target-directory", source, assets], "copy")
        if manifest["static_command"]:
            self.build(
                ["sh", "-euc", manifest["static_command"]],
                "run app_static_command",
                cwd=target / "code",
                PATH=f"{target / 'venv/bin'}:/usr/bin:/bin",
                PERGOLA_RELEASE=manifest["id"],
                PERGOLA_ASSETS=str(assets),
                **{name: str(value) for name, value in manifest["environment"].items()},
            )

    def build(
        self,
        command: list[Any],
        what: str,
        cwd: Path = Path("/"),
        stdin: Any = subprocess.DEVNULL,  # noqa: ANN401 - what subprocess takes
        hint: str = "",
        **environment: str,
    ) -> None:
        """Run a command as the build account, which owns code and venv and nothing else.

        Neither root nor the app's own account runs foreign build code, and the app cannot
        write what it runs.
        """
        cache = f"/var/cache/{self.settings['build_user']}"
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": cache,
            "LANG": "C.UTF-8",
            "UV_CACHE_DIR": f"{cache}/uv",
            "UV_PYTHON": self.settings["python"],
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            **host_environment(),
            **environment,
        }
        user = self.settings["build_user"]
        as_builder = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        done = subprocess.run(
            [*limited(self.settings["prepare_timeout_seconds"]), *as_builder, *map(str, command)],
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ReleaseError(
                "prepare",
                f"could not {what}: `{shlex.join(map(str, command))}` {ended(done.returncode)}",
                last_lines(done.stdout),
                hint,
            )

    # -- migrate ---------------------------------------------------------------------------------

    def migrate(self, release: str) -> dict[str, Any]:
        """Run the release's migration as the application, with the release's own environment."""
        command = self.manifest(release)["migrate_command"]
        if not command or self.live() == release:
            return {"changed": False}
        limit = limited(self.settings["migrate_timeout_seconds"])
        with self.phase("migrate"):
            done = subprocess.run(
                self.as_application(release, [*limit, "sh", "-euc", command], "--pipe"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        write(self.path(release) / "migrate.log", done.stdout, 0o640)
        if done.returncode:
            reason = f"the migration `{command}` of {release} {ended(done.returncode)}"
            self.record("migrate", release, "failed", reason=reason)
            raise ReleaseError(
                "migrate",
                reason,
                last_lines(done.stdout),
                "see above what the database was left with; mend it, commit and deploy again",
            )
        self.record("migrate", release, "migrated")
        return {"changed": True, "seconds": self.seconds}

    def run(self, command: list[str]) -> int:
        """Run a command in the live release, as the application; return its exit code."""
        release = self.live()
        if release is None:
            raise ReleaseError("run", f"no release of {self.app} is live on this host")
        how = "--pty" if sys.stdin.isatty() else "--pipe"
        return subprocess.run(self.as_application(release, command, how), check=False).returncode

    def as_application(self, release: str, command: list[str], how: str) -> list[str]:
        """A transient unit with the slots' account, environment, credentials and sandbox.

        It takes over what the slots' unit file says, so that there is one place that says it.
        """
        unit = Path(f"/etc/systemd/system/{self.app}@.service").read_text()
        service = unit.partition("[Service]")[2].partition("\n[")[0]
        properties = []
        for line in service.splitlines():
            name, equals, value = line.partition("=")
            if equals and not name.startswith(("#", "Type", "ExecStart", "Timeout", "Restart")):
                value = value.replace(f"{self.home}/slots/%i", str(self.path(release)))
                properties.append(f"--property={name}={value}")
        # The shell finds the command in the release's PATH, which systemd-run does not know.
        shell = ["/bin/sh", "-c", 'exec "$@"', "sh"]
        options = ["--quiet", "--wait", "--collect", how]
        # systemd would expand what belongs to the command.
        words = [word.replace("$", "$$") for word in [*shell, *command]]
        return ["systemd-run", *options, *properties, "--", *words]

    # -- gate, switch, drain ---------------------------------------------------------------------

    def activate(self, release: str, action: str = "deploy") -> dict[str, Any]:
        """Start the idle slot on the release, and make it live once it has proved itself ready."""
        if not (self.path(release) / "ready").exists():
            raise ReleaseError("gate", f"release {release} was never prepared completely")
        old_colour, old = self.live_colour(), self.live()
        reread_units(self.unit(old_colour), self.unit(old_colour, "socket"))
        if old == release and self.is_current(old_colour):
            self.stop(other(old_colour))  # left over when a run died between switch and drain
            return {"changed": False, "live": release}
        if old and old not in self.good():  # a run died between its switch and its ledger line
            self.record("found", old, "live")
        # Nothing was ever live: blue it is, for that is what an absent flag says.
        new_colour = other(old_colour) if old else old_colour
        try:
            with self.phase("gate"):
                self.start(new_colour, release)
        except ReleaseError as error:
            self.record(action, release, "refused", reason=error.reason)
            raise
        with self.phase("switch"):
            # A boot after a power loss must find the live slot enabled, whenever it happens.
            systemctl("enable", self.unit(new_colour, "socket"), self.unit(new_colour))
            os.sync()
            flag = self.home / "live/green"
            if new_colour == "green":
                flag.touch()
            else:
                flag.unlink(missing_ok=True)
            os.sync()
        self.record(action, release, "live", **{"from": old})
        if old:
            time.sleep(SECONDS_BEFORE_DRAIN)
            systemctl("disable", self.unit(old_colour, "socket"), self.unit(old_colour))
            self.stop(old_colour, wait=False)
        removed = self.prune()
        return {
            "changed": True,
            "live": release,
            "from": old,
            "slot": new_colour,
            "removed": removed,
            "seconds": {phase: round(spent, 2) for phase, spent in self.seconds.items()},
        }

    def is_current(self, colour: str) -> bool:
        """The slot runs, and no unit file is newer than its process."""
        unit = self.unit(colour)
        if show(unit, "ActiveState") != "active":
            return False
        if show(self.unit(colour, "socket"), "ActiveState") != "active":
            return False
        started = int(show(unit, "ExecMainStartTimestampMonotonic") or 0) / 1e6
        # Compare ages, not dates: the wall clock may have been set in between.
        age_of_process = time.clock_gettime(time.CLOCK_MONOTONIC) - started
        files = [Path(f"/etc/systemd/system/{self.app}@.{kind}") for kind in ("service", "socket")]
        return all(time.time() - path.stat().st_mtime > age_of_process for path in files)

    def start(self, colour: str, release: str) -> None:
        """Start a slot on a release; systemd runs the gate and kills what does not pass it."""
        self.stop(colour)
        link = self.home / "slots" / colour
        fresh = link.with_name(f".{colour}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path(release))
        fresh.replace(link)
        answer = self.run_dir / f"{colour}.answer"
        answer.unlink(missing_ok=True)
        systemctl("start", self.unit(colour, "socket"))
        began = time.monotonic()
        if systemctl("start", self.unit(colour)).returncode == 0:
            return
        seen = answer.read_text() if answer.exists() else "none: it never answered"
        lines = journal(self.unit(colour))
        systemctl("kill", "--signal=KILL", self.unit(colour))
        self.stop(colour)
        raise ReleaseError(
            "gate",
            f"{release} did not become ready in {time.monotonic() - began:.0f} s",
            f"last health response: {seen}\njournal of {self.unit(colour)}:\n{lines}",
            "the refused release got no request; mend it, commit and deploy again",
        )

    def stop(self, colour: str, wait: bool = True) -> None:
        """Stop a slot gracefully. Socket and service together, or a connection starts it again."""
        units = [self.unit(colour, "socket"), self.unit(colour)]
        systemctl("stop", *([] if wait else ["--no-block"]), *units)
        if wait:
            systemctl("reset-failed", *units)

    def rollback(self, release: str) -> dict[str, Any]:
        """Go back to a named release, or to the last good one that is not live."""
        live = self.live()
        good = [candidate for candidate in self.good() if candidate != live]
        if not release and not good:
            raise ReleaseError("rollback", "there is no earlier good release to go back to")
        chosen = release or good[0]
        self.manifest(chosen)  # refuses an unknown one by name
        return self.activate(chosen, "rollback")

    def prune(self) -> list[str]:
        """Remove what is neither live, nor in a slot, nor among the last good releases."""
        kept = set(self.good()[: self.settings["keep"]])
        kept |= {release for colour in COLOURS if (release := self.in_slot(colour))}
        removed = []
        for path in (self.home / "releases").iterdir():
            if path.name not in kept:
                shutil.rmtree(path)
                removed.append(path.name)
        for path in (self.home / "incoming").iterdir():
            if path.name.removesuffix(".tar.gz") not in kept:
                path.unlink()
        return removed

    def status(self) -> dict[str, Any]:
        return {
            "app": self.app,
            "host": socket.gethostname(),
            "live": self.live(),
            "slot": self.live_colour(),
            "state": show(self.unit(self.live_colour()), "ActiveState"),
            "good": self.good(),
            "ledger": self.ledger()[-10:],
        }

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - began

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One verb at a time; the kernel lets go of the lock when its holder dies."""
        with (self.home / ".lock").open("a+") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.seek(0)
                raise ReleaseError(
                    "lock", f"another run is at work on {self.app}: {held.read().strip()}"
                ) from None
            held.truncate(0)
            held.write(f"{shlex.join(sys.argv[1:])} (pid {os.getpid()})")
            held.flush()
            yield


# -- the gate, run by systemd as ExecStartPost of a slot -----------------------------------------


def gate(run_dir: Path, colour: str) -> int:
    """Return 0 after consecutive answers 200 from the slot, 1 once its process is gone.

    Several workers hang below a parent that starts dead ones again, for ever: the slot is given up
    when as many have died as there should be.

    systemd's TimeoutStartSec= is the limit, so no clock is read here. The last answer is left in
    <colour>.answer for the report of a refusal.
    """
    path = os.environ.get("PERGOLA_HEALTH_PATH", "/")
    domain = os.environ.get("PERGOLA_DOMAIN", "localhost")
    process = Path("/proc") / os.environ["MAINPID"]
    workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
    seen: set[str] = set()
    answers = 0
    while True:
        status, text = ask(run_dir / f"{colour}.sock", path, domain)
        (run_dir / f"{colour}.answer").write_text(f"{status or ''} {text[:2000]}")
        answers = answers + 1 if status == http.HTTPStatus.OK else 0
        if answers == READY_ANSWERS_IN_A_ROW:
            return 0
        if answers == 0:
            time.sleep(0.1)
        try:
            children = set((process / "task" / process.name / "children").read_text().split())
        except FileNotFoundError:
            return 1
        seen |= children
        if len(seen - children) >= workers:
            return 1


def ask(address: Path, path: str, domain: str) -> tuple[int | None, str]:
    """GET a path over a unix socket: (status, body), or (None, what went wrong)."""
    connection = http.client.HTTPConnection("localhost", timeout=2)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(2)
    try:
        connection.sock.connect(str(address))
        connection.request("GET", path, headers={"Host": domain, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return None, f"no answer to GET {path}: {error}"
    finally:
        connection.close()


# -- small helpers ------------------------------------------------------------------------------


def other(colour: str) -> str:
    return COLOURS[1 - COLOURS.index(colour)]


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemctl", "--quiet", *arguments], capture_output=True, text=True, check=False
    )


def reread_units(*units: str) -> None:
    """Have systemd reread its unit files when one of these changed since it last did."""
    if any(show(unit, "NeedDaemonReload") == "yes" for unit in units):
        systemctl("daemon-reload")


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemctl("show", "--property", name, "--value", unit).stdout.strip()


def journal(unit: str) -> str:
    """The first and the last lines that the unit's latest invocation wrote."""
    invocation = show(unit, "InvocationID")
    wanted = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else [f"--unit={unit}"]
    subprocess.run(["journalctl", "--sync"], check=False, capture_output=True)
    done = subprocess.run(
        ["journalctl", "--no-pager", "--output=cat", "--lines=1000", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if len(lines) > JOURNAL_LINES:  # the probes' own lines must not hide those of the start
        half = JOURNAL_LINES // 2
        lines = [*lines[:half], f"(… {len(lines) - 2 * half} lines …)", *lines[-half:]]
    return "\n".join(lines) or "(no line in the journal)"


def host_environment(path: Path = Path("/etc/environment")) -> dict[str, str]:
    """What the host's own settings say to programs that fetch something."""
    found = {}
    if path.exists():
        for line in path.read_text().splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and name.upper().startswith(BUILD_ENVIRONMENT_PREFIXES):
                found[name] = value.strip("\"'")
    return found


def limited(seconds: int) -> list[str]:
    """What ends a command, and all that it started, after some seconds."""
    return ["timeout", "--kill-after=5", str(seconds)]


def ended(code: int) -> str:
    """How a limited command ended."""
    return "did not end within its time limit" if code in (124, 137) else f"ended with {code}"


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-JOURNAL_LINES:])


def quoted(value: object) -> str:
    """A value as systemd's EnvironmentFile= reads it back: double quotes, no expansion."""
    text = str(value)
    for character in '\\"`$':
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def write(path: Path, text: str, mode: int = 0o644, group: int = 0) -> None:
    """Write a file that never exists with wider rights than it ends with."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchown(descriptor, 0, group)
        os.fchmod(descriptor, mode)
        file.write(text)


def report(releases: Releases, error: ReleaseError, release: str | None) -> str:
    """What a person needs at three in the morning, in the order of the questions."""
    lines = [
        f"{releases.app} on {socket.gethostname()}: {error.reason}",
        f"phase: {error.phase}" + (f" of release {release}" if release else ""),
    ]
    if error.detail:
        lines.append(error.detail)
    lines.append(f"live now: {releases.describe_live()}")
    if error.hint:
        lines.append(f"next: {error.hint}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("status", help="what is live, what is good, the last ten ledger lines")
    for verb, text in (
        ("prepare", "unpack a release and build its environment"),
        ("migrate", "run a prepared release's migration"),
        ("activate", "gate a prepared release, switch to it, drain the old one"),
    ):
        verbs.add_parser(verb, help=text).add_argument("release")
    back = verbs.add_parser("rollback", help="go back to the last good release, or to a named one")
    back.add_argument("release", nargs="?", default="", help="empty: the last good one")
    console = verbs.add_parser("run", help="run a command in the live release, as the application")
    console.add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("gate", help="(systemd) wait for a slot").add_argument("colour")
    parser.add_argument("--who", default=os.environ.get("SUDO_USER", ""), help="for the ledger")
    return parser.parse_args()


def run(releases: Releases, options: argparse.Namespace) -> dict[str, Any]:
    if options.verb == "status":
        return releases.status()
    with releases.lock():
        if options.verb == "prepare":
            return releases.prepare(options.release, json.load(sys.stdin))
        if options.verb == "migrate":
            return releases.migrate(options.release)
        if options.verb == "activate":
            return releases.activate(options.release)
        return releases.rollback(options.release)


def main() -> int:
    options = arguments()
    home = Path(__file__).resolve().parent.parent
    if options.verb == "gate":
        return gate(Path("/run") / home.name, options.colour)
    if os.geteuid() != 0:
        fail("run me as root: sudo " + shlex.join(sys.argv))
    # A cut SSH session must not stop a switch half-way: the verb runs to its end without it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    releases = Releases(home, options.who)
    try:
        if options.verb == "run":
            return releases.run(options.command)
        print(json.dumps(run(releases, options)))
    except ReleaseError as error:
        fail(report(releases, error, getattr(options, "release", None)))
    return 0


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
