"""The command line."""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

from testhosts import access, cgroups, image, network, suites
from testhosts.passthrough import INDEX_VARIABLES, PROXY_VARIABLES
from testhosts.runs import Runs, Spec, describe, run_id
from testhosts.settings import Settings
from testhosts.shell import HostsError, require_programs, say

DESCRIPTION = """\
Throw-away Debian and Ubuntu servers on this machine, for tests and for the demo: booted systemd
machines (systemd-nspawn) that are reached over SSH as user `deploy`, who may use sudo.
They are made from the archive that this machine's own apt uses.
"""
EPILOG = """\
What changes on this machine, apart from the state folder: net.ipv4.ip_forward is switched on and
stays on; each run has a bridge pg-XXXXXXXX, an nftables table of that name and, where iptables
drops forwarded traffic, two accepting rules. `down` removes them.
The hosts are no security boundary: root on a host can harm this machine. Run only what you trust.

environment:
  TESTHOSTS_SUITE            system of hosts that name none: trixie, bookworm, noble,
                             resolute, and Debian testing by its codename
  TESTHOSTS_MIRROR           archive to build from, instead of this machine's own
  TESTHOSTS_MIRROR_SECURITY  the same for security updates
  TESTHOSTS_DNS              name servers of the hosts, instead of this machine's own
  TESTHOSTS_STATE            folder of images and runs (/var/lib/pergola-testhosts)
  TESTHOSTS_NETWORK          the /16 from which each run gets a /24 (10.213)
"""
MAX_HOSTS = 100
HOST_NAME = re.compile(
    r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)


def parse_spec(text: str, default: str) -> Spec:
    """Return the machine meant by NAME[=SUITE][,ALIAS…]."""
    first, *aliases = text.split(",")
    name, _, suite = first.partition("=")
    for each in (name, *aliases):
        if not HOST_NAME.fullmatch(each):
            raise HostsError(f"{text}: {each!r} is not a host name in lower case")
    return Spec(name, suites.find(suite or default), tuple(aliases))


def parse_specs(texts: list[str], default: str) -> list[Spec]:
    """Return all machines of a run; raise HostsError if two share a name."""
    if len(texts) > MAX_HOSTS:
        raise HostsError(f"{len(texts)} hosts: a run has {MAX_HOSTS} at most")
    specs = [parse_spec(text, default) for text in texts]
    names = [name for spec in specs for name in (spec.name, *spec.aliases)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HostsError(f"names used twice: {', '.join(twice)}")
    return specs


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(
        prog="testhosts",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    up = verbs.add_parser("up", help="create the machines of a run again; prints them as JSON")
    up.add_argument("run", metavar="RUN", help="any name")
    up.add_argument("hosts", metavar="NAME[=SUITE][,ALIAS…]", nargs="+")
    up.add_argument("--into", type=Path, metavar="DIR", help="folder for the SSH files")
    up.add_argument("--instance-config", type=Path, metavar="FILE", help="for Molecule")
    up.add_argument("--keep", action="store_true", help="keep machines that already run so")

    for verb, text in (
        ("start", "switch a machine on"),
        ("stop", "power a machine off in order"),
        ("kill", "cut a machine's power"),
        ("cut", "pull a machine's network cable"),
        ("join", "put the cable back"),
    ):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("run", metavar="RUN")
        one.add_argument("host", metavar="NAME")

    replace = verbs.add_parser("replace", help="put a new machine in the place of one")
    replace.add_argument("run", metavar="RUN")
    replace.add_argument("host", metavar="NAME")
    replace.add_argument("own_name", metavar="HOSTNAME", help="what the new one calls itself")

    down = verbs.add_parser("down", help="remove everything of a run")
    down.add_argument("run", metavar="RUN")
    listing = verbs.add_parser("list", help="show the runs and their machines")
    listing.add_argument("--json", action="store_true")
    gc = verbs.add_parser("gc", help="remove dead and old runs, half-built and outdated images")
    gc.add_argument("--max-age", type=float, default=86400, metavar="SECONDS", help="86400")
    build = verbs.add_parser("image", help="build or find an image; prints its folder")
    build.add_argument("suite", metavar="SUITE", nargs="?")
    return top


def become_root(argv: list[str]) -> None:
    """Start again with sudo if not root; raise HostsError where there is no sudo."""
    if os.geteuid() == 0:
        return
    if shutil.which("sudo") is None:
        raise HostsError("needs root: install sudo or run it as root")
    handed_on = [
        name
        for name in os.environ
        if name.startswith("TESTHOSTS_")
        or name in INDEX_VARIABLES
        or name.lower() in PROXY_VARIABLES
    ]
    program = [sys.executable, str(Path(__file__).resolve().parent)]
    keep = f"--preserve-env={','.join(handed_on)}"
    command = ["sudo", *([keep] if handed_on else []), *program, *argv]
    os.execvp("sudo", command)  # noqa: S606 - no shell is what the project wants


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    options = parser().parse_args(argv)
    # SIGTERM, as Ctrl-C, lets a command clean up what it has begun.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.umask(0o022)  # the hosts' files are meant to be read by their users
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # `su` leaves them out, and nft and ip are there
    try:
        become_root(argv)
        require_programs()
        execute(options, Settings.read(os.environ))
    except HostsError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def execute(options: argparse.Namespace, settings: Settings) -> None:
    """Do what the command line says."""
    runs = Runs(settings)
    match options.verb:
        case "up":
            default = settings.suite or suites.default(suites.read_os_release()).codename
            specs = parse_specs(options.hosts, default)
            into = options.into and options.into.absolute()
            run = runs.up(options.run, specs, into, keep=options.keep)
            if options.instance_config:
                config = access.instance_config(run.machines, Path(run.access))
                access.write(options.instance_config, config)
            print(json.dumps(describe(run), indent=2))
        case "down":
            runs.down(options.run)
        case "start":
            host = runs.start(options.run, options.host)
            say(f"{host.name} answers after {host.boot_seconds} s")
        case "replace":
            host = runs.replace(options.run, options.host, options.own_name)
            say(f"a new {host.name} answers after {host.boot_seconds} s")
        case "stop" | "kill" | "cut" | "join":
            with runs.lock(run_id(options.run)):
                change(runs, options)
        case "list":
            show(runs, as_json=options.json)
        case "gc":
            runs.collect_garbage(options.max_age)
        case "image":
            name = options.suite or settings.suite
            suite = suites.find(name) if name else suites.default(suites.read_os_release())
            print(image.find_or_build(suite, settings))


def change(runs: Runs, options: argparse.Namespace) -> None:
    """Do something to one machine."""
    host = runs.get(options.run).machine(options.host)
    match options.verb:
        case "stop":
            cgroups.power_off(host.unit)
        case "kill":
            cgroups.kill(host.unit)
            network.remove_port(host.port)
        case "cut" | "join":
            if not cgroups.is_alive(host.unit):
                raise HostsError(f"{host.name} is off")
            network.set_cable(host.port, plugged=options.verb == "join")


def show(runs: Runs, *, as_json: bool) -> None:
    """Print the runs with the state of their machines."""
    listed = [
        {
            "run": run.name,
            "bridge": run.bridge,
            "network": run.subnet,
            "age_seconds": int(time.time() - run.created),
            "hosts": [
                {
                    "name": host.name,
                    "suite": host.suite,
                    "address": host.address,
                    "running": cgroups.is_alive(host.unit),
                }
                for host in run.machines
            ],
        }
        for run in runs.all()
    ]
    if as_json:
        print(json.dumps(listed, indent=2))
        return
    for run in listed:
        print(f"{run['run']}  {run['network']}  {run['bridge']}  {run['age_seconds']} s old")
        for host in run["hosts"]:
            state = "running" if host["running"] else "off"
            print(f"  {host['name']}  {host['suite']}  {host['address']}  {state}")
