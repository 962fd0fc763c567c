"""Units beside the slots: commands, long-running processes and schedules of a release.

All take over what the slots' unit file says about account, environment, credentials and sandbox, so
that there is one place that says it. Their files are made from the release's manifest when it goes
live, hence a rollback brings the old ones back and takes the new ones away. A name such as
`notes.worker.blue.service` cannot be another application's: there is no dot in an app_name.
"""

import posixpath
import time
from collections.abc import Sequence
from pathlib import Path

from pergola.apps import Colour
from pergola.errors import PergolaError
from pergola.records import Process, Schedule
from pergola.release.commands import refused, unexpanded, unit_words, with_credentials, words
from pergola.release.releases import Releases, other
from pergola.system import UNITS, disable, enable, journal, show, systemctl, write

# What the slots' file says about starting and stopping is not for other units.
NOT_TAKEN_OVER = ("Type", "RemainAfterExit", "Exec", "Timeout", "Restart", "KillMode")
TAKEN_OVER_EXEC = "ExecPaths"
# A process that lives so long after its start counts as started.
SECONDS_OF_WATCH = 1.5
# The same of an application without a site, which has no other gate.
SECONDS_OF_GATE = 5.0
HEADER = "# Made by Pergola for the live release; do not edit.\n"
# The live link is followed once, at the start: a switch meanwhile must not mix two releases.
IN_LIVE_RELEASE = 'r=$(cd -P {up} && pwd) PATH=$r/venv/bin:/usr/bin:/bin; export PATH; exec "$@"'
# The shell of commands, in the application's directory. Unlike dash, it gives its place to the last
# program of a command (`cd worker && celery …`), which so is the one that gets the signal to stop.
SHELL = ["/bin/bash", "-euc"]


def service_lines(releases: Releases, release_path: str, directory: str) -> list[str]:
    """The slots' [Service] lines that hold for every program of a release at this path.

    `directory`: where the application is in the release.

    With these come its directory and environment, which the slots' own lines get otherwise: some
    of them run as root.
    """
    unit = (UNITS / f"{releases.app.name}@.service").read_text()
    service = unit.partition("[Service]")[2].partition("\n[")[0]
    lines = [
        f"WorkingDirectory={posixpath.normpath(f'{release_path}/code/{directory}')}",
        f"Environment=PATH={release_path}/venv/bin:/usr/bin:/bin",
        f"EnvironmentFile={release_path}/environment",
    ]
    for line in service.splitlines():
        name, equals, value = line.partition("=")
        taken = not name.startswith(NOT_TAKEN_OVER) or name == TAKEN_OVER_EXEC
        line = f"{name}={value.replace(f'{releases.home}/slots/%i', release_path)}"
        if equals and not name.startswith("#") and taken and line not in lines:
            lines.append(line)
    return lines


def transient(
    releases: Releases,
    release: str,
    command: list[str],
    *options: str,
    files: Sequence[Path] = (),
    **environment: str,
) -> list[str]:
    """The command line that runs a command of a release as the application and waits for it.

    `files` of further variables, which beat the release's own.
    """
    directory = releases.manifest(release).directory
    lines = service_lines(releases, str(releases.path(release)), directory)
    lines += [f"EnvironmentFile={path}" for path in files]
    lines += [f'Environment="{name}={value}"' for name, value in environment.items()]
    # The shell finds the command in the release's PATH, which systemd-run does not know.
    before = with_credentials(releases.manifest(release).credential_variables)
    shell = ["/bin/sh", "-c", f'{before}exec "$@"', "sh"]
    properties = [f"--property={line}" for line in lines]
    start = ["systemd-run", "--quiet", "--wait", "--collect", *options, *properties, "--"]
    return [*start, *unexpanded([*shell, *command])]


def arguments(work: Process | Schedule, setting: str) -> list[str]:
    """What runs the command of a process or schedule."""
    if work.shell:
        return [*SHELL, work.command]
    return words(work.command, f"{setting} {work.name}")


class Units:
    """The units of one release in one slot."""

    def __init__(self, releases: Releases, colour: Colour, release: str | None) -> None:
        self.releases, self.colour = releases, colour
        manifest = releases.manifest(release) if release else None
        self.directory = manifest.directory if manifest else ""
        self.processes = manifest.processes if manifest else []
        self.schedules = manifest.schedules if manifest else []
        self.seconds = SECONDS_OF_WATCH if manifest is None or manifest.web else SECONDS_OF_GATE
        self.before = with_credentials(manifest.credential_variables if manifest else {})

    def process_unit(self, process: Process) -> str:
        return f"{self.releases.app.name}.{process.name}.{self.colour}.service"

    def names(self, overlap: bool) -> list[str]:
        """The units of the processes that may, or must not, run beside those of another slot."""
        return [self.process_unit(p) for p in self.processes if p.overlap is overlap]

    def files(self) -> dict[str, str]:
        """The unit files of this release by name."""
        app = self.releases.app.name
        files = {self.process_unit(p): self.process_text(p) for p in self.processes}
        for schedule in self.schedules:
            files[f"{app}.{schedule.name}.service"] = self.schedule_text(schedule)
            files[f"{app}.{schedule.name}.timer"] = self.timer_text(schedule)
        return files

    def process_text(self, process: Process) -> str:
        home, app = self.releases.home, self.releases.app.name
        live = f"{'' if self.colour == 'green' else '!'}{home}/live/green"
        shell = ["/bin/sh", "-c", f'{self.before}exec "$@"', "sh"]
        command = [*shell, *arguments(process, "app_processes")]
        lines = service_lines(self.releases, f"{home}/slots/{self.colour}", self.directory)
        # Later lines beat the slots'.
        if process.memory_max:
            lines.append(f"MemoryMax={process.memory_max}")
        if process.stop_signal:
            lines.append(f"KillSignal={process.stop_signal}")
        return HEADER + "\n".join(
            [
                "[Unit]",
                f"Description={app}, process {process.name} of slot {self.colour}",
                "After=network.target " + " ".join(self.releases.settings.after_units),
                # After a power loss in the middle of a switch both slots may be enabled.
                f"ConditionPathExists={live}",
                "StartLimitIntervalSec=0",
                "",
                "[Service]",
                "Type=exec",
                f"ExecStart={unit_words(command)}",
                "KillMode=mixed",
                f"TimeoutStopSec={process.drain_seconds}",
                "Restart=always",
                "RestartSec=1",
                *lines,
                "",
                "[Install]",
                "WantedBy=multi-user.target",
                "",
            ]
        )

    def schedule_text(self, schedule: Schedule) -> str:
        home, app = self.releases.home, self.releases.app.name
        up = posixpath.relpath(".", posixpath.join("code", self.directory))
        shell = ["/bin/sh", "-c", self.before + IN_LIVE_RELEASE.format(up=up), "sh"]
        command = [*shell, *arguments(schedule, "app_schedules")]
        return HEADER + "\n".join(
            [
                "[Unit]",
                f"Description={app}, schedule {schedule.name}",
                "After=network.target " + " ".join(self.releases.settings.after_units),
                "",
                "[Service]",
                "Type=oneshot",
                f"ExecStart={unit_words(command)}",
                f"TimeoutStartSec={schedule.timeout_seconds}",
                *service_lines(self.releases, f"{home}/slots/live", self.directory),
                "",
            ]
        )

    def timer_text(self, schedule: Schedule) -> str:
        return HEADER + "\n".join(
            [
                "[Unit]",
                f"Description={self.releases.app.name}, when {schedule.name} runs",
                "",
                "[Timer]",
                f"OnCalendar={schedule.on_calendar}",
                f"Persistent={'yes' if schedule.persistent else 'no'}",
                f"RandomizedDelaySec={schedule.random_delay_seconds}",
                "AccuracySec=1s",
                "",
                "[Install]",
                "WantedBy=timers.target",
                "",
            ]
        )

    def timers(self) -> list[str]:
        """The timers that run on this host."""
        first = self.releases.settings.runs_schedules
        return [
            f"{self.releases.app.name}.{schedule.name}.timer"
            for schedule in self.schedules
            if not schedule.suspended and (first or schedule.every_host)
        ]

    def all_names(self) -> list[str]:
        return list(map(self.process_unit, self.processes))

    def is_current(self) -> bool:
        """Whether files, processes and timers are as this release wants them."""
        for name, text in self.files().items():
            path = UNITS / name
            if not path.exists() or path.read_text() != text:
                return False
        wanted = [*self.all_names(), *self.timers()]
        if not wanted:
            return True
        states = systemctl("show", "--property=ActiveState", "--value", *wanted).stdout.split()
        return states == ["active"] * len(wanted)

    def install(self) -> None:
        """Write this release's units, remove those that no release of a slot has any more."""
        files, app = self.files(), self.releases.app.name
        there = {path.name for path in UNITS.glob(f"{app}.*") if path.is_file()}
        kept = set(files)
        beside = other(self.colour)
        old = Units(self.releases, beside, self.releases.in_slot(beside))
        kept |= set(old.all_names())
        removed = sorted(there - kept)
        if removed:
            disable("--now", *removed)
        changed = False
        for name, text in files.items():
            path = UNITS / name
            if not path.exists() or path.read_text() != text:
                write(path, text)
                changed = True
        for name in removed:
            (UNITS / name).unlink(missing_ok=True)
        if removed or changed:
            systemctl("daemon-reload")

    def start_timers(self) -> None:
        """Let the schedules' timers run, and only those that should."""
        wanted = self.timers()
        every = [f"{self.releases.app.name}.{schedule.name}.timer" for schedule in self.schedules]
        if wanted:
            # A timer whose calendar changed goes by the new one only after a restart.
            enable(*wanted)
            systemctl("restart", *wanted)
        if idle := [timer for timer in every if timer not in wanted]:
            disable("--now", *idle)

    def start(self, units: list[str]) -> None:
        """Start processes and watch them for a moment; PergolaError when one does not stay."""
        if not units:
            return
        enable(*units)
        # What is started again here may have died before, under the same name.
        systemctl("reset-failed", *units)
        systemctl("start", *units)
        self.watch(units, self.seconds)

    def watch(self, units: list[str], seconds: float) -> None:
        """Look at processes for some seconds; PergolaError when one does not stay."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.25)
            for unit in units:
                state = show(unit, "ActiveState")
                if state != "active" or show(unit, "NRestarts") != "0":
                    lines = journal(unit)
                    raise PergolaError(
                        f"the process {unit} did not stay up ({state})",
                        f"journal of {unit}:\n{lines}",
                        hint=f"fix it (app_processes), commit and deploy again{refused(lines)}",
                    )

    def stop(self, units: list[str], wait: bool = True) -> None:
        """Stop processes, each within its drain time; they do not start at the next boot."""
        if units:
            disable(*units)
            systemctl("stop", *([] if wait else ["--no-block"]), *units)
