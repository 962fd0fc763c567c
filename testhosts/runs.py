"""Runs: a named set of machines with a network of their own, and its record on disk."""

import hashlib
import json
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from testhosts import access, cgroups, image, machine, network
from testhosts.machine import Machine
from testhosts.network import Network
from testhosts.settings import Settings
from testhosts.shell import HostsError, lock, remove_in_background, say
from testhosts.suites import Suite


@dataclass(frozen=True)
class Spec:
    """A machine that the caller wants."""

    name: str
    suite: Suite
    aliases: tuple[str, ...] = ()


@dataclass
class Run:
    """The record of a run."""

    name: str
    created: float  # epoch seconds
    access: str
    public_key: str
    subnet: str = ""
    machines: list[Machine] = field(default_factory=list)
    ready: bool = True  # False while `up` works on it

    @property
    def id(self) -> str:
        """The 8 characters that name the run's bridge, groups and folder."""
        return run_id(self.name)

    @property
    def bridge(self) -> str:
        """The run's bridge."""
        return f"pg-{self.id}"

    def machine(self, name: str) -> Machine:
        """Return a machine by name or alias; raise HostsError if there is none."""
        for candidate in self.machines:
            if name in candidate.names:
                return candidate
        known = ", ".join(m.name for m in self.machines)
        raise HostsError(f"run {self.name} has no machine {name}, but: {known}")


def run_id(name: str) -> str:
    """Return the 8 characters that stand for a run; interface names hold 15 at most."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


class Runs:
    """All runs of one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.state / "runs"

    def lock(self, run: str, *, wait: bool = True) -> AbstractContextManager[None]:
        """Hold a run's lock; no two commands change a run at once."""
        return lock(self.settings.state / "locks" / f"run-{run}.lock", wait=wait)

    def load(self, run: str) -> Run | None:
        """Return the record of a run by its id, or None; one of another version counts as none."""
        try:
            record = json.loads((self.folder / run / "run.json").read_text())
            machines = [Machine(**item) for item in record.pop("machines")]
            return Run(**record, machines=machines)
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return None

    def save(self, run: Run) -> None:
        """Write the record, whole or not at all."""
        file = self.folder / run.id / "run.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(json.dumps(asdict(run), indent=2))
        file.with_suffix(".new").rename(file)

    def all(self) -> list[Run]:
        """Return every run, oldest first."""
        found = [self.load(path.name) for path in self.folder.glob("*")]
        return sorted((run for run in found if run), key=lambda run: run.created)

    def get(self, name: str) -> Run:
        """Return a run by its name; raise HostsError if there is none."""
        found = self.load(run_id(name))
        if found is None:
            raise HostsError(f"there is no run {name}; `list` shows those that exist")
        return found

    def up(self, name: str, specs: list[Spec], into: Path | None, *, keep: bool) -> Run:
        """Create the machines of a run again and wait for their SSH; with `keep` only if needed."""
        with self.lock(run_id(name)):
            existing = self.load(run_id(name))
            if keep and existing and self.is_healthy(existing, specs, into):
                self.write_access(existing)
                return existing
            images = {spec.suite: image.find_or_build(spec.suite, self.settings) for spec in specs}
            nameservers = self.settings.nameservers()
            self.remove(run_id(name))
            owner = network.bridges().get(f"pg-{run_id(name)}")
            if owner is not None:
                raise HostsError(f"run {name} exists already in {owner}")
            folder = into or self.folder / run_id(name) / "access"
            run = Run(name, time.time(), str(folder), access.public_key(folder), ready=False)
            self.save(run)  # before anything else exists, so that the next command can clean up
            try:
                self.create(run, specs, images, nameservers)
            except BaseException:
                self.remove(run.id)
                raise
            return run

    def create(
        self, run: Run, specs: list[Spec], images: dict[Suite, Path], nameservers: list[str]
    ) -> None:
        """Build the network and boot the machines of a new run."""
        net = network.create(
            run.bridge, self.settings.network, int(run.id[:2], 16), str(self.settings.state)
        )
        run.subnet = str(net.subnet)
        run.machines = [
            Machine(
                name=spec.name,
                aliases=list(spec.aliases),
                suite=spec.suite.codename,
                address=net.address(index),
                unit=f"pg-{run.id}-{index}",
                image=str(images[spec.suite]),
                folder=str(self.folder / run.id / f"machine-{index}"),
            )
            for index, spec in enumerate(specs)
        ]
        started = time.monotonic()
        for one in run.machines:
            machine.prepare(one, run.machines, net, nameservers, run.public_key)
        self.save(run)
        self.write_access(run)
        for one in run.machines:
            machine.start(one, run.bridge)
        machine.wait_for_ssh(run.machines, started, Path(run.access, "ssh_config"))
        run.ready = True
        self.save(run)
        for one in run.machines:
            say(f"{one.name} ({one.suite}) at {one.address} after {one.boot_seconds} s")

    def is_healthy(self, run: Run, specs: list[Spec], into: Path | None) -> bool:
        """Return whether a run is what `specs` ask for and answers to the caller's key."""
        folder = into or Path(run.access)
        return (
            run.ready
            and [(m.name, m.suite, tuple(m.aliases)) for m in run.machines]
            == [(spec.name, spec.suite.codename, spec.aliases) for spec in specs]
            and folder == Path(run.access)
            and (folder / access.KEY).exists()
            and access.public_key(folder) == run.public_key
            and all(cgroups.is_alive(m.unit) and machine.has_ssh(m) for m in run.machines)
        )

    def write_access(self, run: Run) -> None:
        """Write the files with which the caller reaches the machines."""
        folder = Path(run.access)
        access.make_folder(folder)
        access.write(folder / "known_hosts", access.known_hosts(run.machines))
        access.write(folder / "ssh_config", access.ssh_config(run.machines, folder))
        access.write(folder / "hosts.json", json.dumps(describe(run), indent=2) + "\n")

    def start(self, name: str, host: str) -> Machine:
        """Switch a machine on again and wait for its SSH."""
        with self.lock(run_id(name)):
            run = self.get(name)
            one = run.machine(host)
            cgroups.kill(one.unit)
            started = time.monotonic()
            machine.start(one, run.bridge)
            config = Path(run.access, "ssh_config")
            machine.wait_for_ssh([one], started, config if config.exists() else None)
            self.save(run)
            return one

    def replace(self, name: str, host: str, own_name: str) -> Machine:
        """Put a new machine in the place of one, which is destroyed with its disk.

        It has the other's address, and calls itself `own_name` as a hoster's new machine would.
        """
        with self.lock(run_id(name)):
            run = self.get(name)
            one = run.machine(host)
            cgroups.kill(one.unit)
            network.remove_port(one.port)
            trash = self.settings.state / "trash" / f"{one.unit}-{time.monotonic_ns()}"
            trash.parent.mkdir(exist_ok=True)
            Path(one.folder).rename(trash)
            remove_in_background(trash)
            net = Network(run.bridge, IPv4Network(run.subnet))
            nameservers = self.settings.nameservers()
            machine.prepare(one, run.machines, net, nameservers, run.public_key, own_name)
            started = time.monotonic()
            machine.start(one, run.bridge)
            self.save(run)
            self.write_access(run)
            machine.wait_for_ssh([one], started, Path(run.access, "ssh_config"))
            return one

    def down(self, name: str) -> None:
        """Remove everything of a run; nothing to do is fine."""
        with self.lock(run_id(name)):
            self.remove(run_id(name))

    def remove(self, run: str) -> None:
        """Remove what exists of a run, also if its record is missing; the caller holds its lock."""
        bridge = f"pg-{run}"
        if network.bridges().get(bridge, "") not in ("", str(self.settings.state)):
            return  # the same name in another state folder
        for unit in cgroups.units(f"{bridge}-"):
            cgroups.kill(unit)
            network.remove_port(f"vb-{unit.removeprefix('pg-')}")
        network.remove(bridge)
        if (self.folder / run).exists():
            # A machine's files take seconds to delete: first out of the way, then in peace.
            trash = self.settings.state / "trash" / f"{run}-{time.monotonic_ns()}"
            trash.parent.mkdir(exist_ok=True)
            (self.folder / run).rename(trash)
            remove_in_background(trash)

    def collect_garbage(self, max_age: float) -> None:
        """Remove runs that are dead or older than `max_age` seconds, and what kills left behind."""
        runs = {path.name for path in self.folder.glob("*")}
        state = str(self.settings.state)
        orphans = {bridge[3:] for bridge, owner in network.bridges().items() if owner == state}
        for run in sorted(runs | orphans):
            try:
                with self.lock(run, wait=False):
                    record = self.load(run)
                    # Its lock is free: whoever was still creating it has been killed.
                    alive = (
                        record
                        and record.ready
                        and any(cgroups.is_alive(m.unit) for m in record.machines)
                    )
                    if not alive or time.time() - record.created > max_age:
                        say(f"removing run {record.name if record else run}")
                        self.remove(run)
            except BlockingIOError:
                say(f"run {run} is being worked on: left alone")
        for path in (self.settings.state / "trash").glob("*"):
            shutil.rmtree(path, ignore_errors=True)
        image.collect_garbage(self.settings, {m.image for run in self.all() for m in run.machines})


def describe(run: Run) -> dict:
    """Return what callers may rely on, as hosts.json and the output of `up` have it."""
    subnet = IPv4Network(run.subnet)
    return {
        "run": run.name,
        "bridge": run.bridge,
        "network": run.subnet,
        "gateway": str(subnet[1]),
        "ssh_config": str(Path(run.access, "ssh_config")),
        "hosts": [
            {
                "name": m.name,
                "aliases": m.aliases,
                "suite": m.suite,
                "address": m.address,
                "user": image.USER,
                "port": 22,
                "identity_file": str(Path(run.access, access.KEY)),
                "host_key": m.host_key,
            }
            for m in run.machines
        ],
    }
