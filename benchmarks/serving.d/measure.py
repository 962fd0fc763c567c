"""Measures on the test host, as root; started by `serving`, which reads the JSON on stdout.

Every variant is asked by h2load from the same host. What a request costs is read from the control
groups of the units that had to do with it, which the kernel keeps to the microsecond.
"""

import argparse
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
WORK = Path("/run/bench-serving")
DOMAIN = "linkboard.localhost"
SOCKET = "/run/linkboard/blue.sock"  # the slot of a host's first release
SLOT = "linkboard@blue.service"
SITE = Path("/etc/caddy/linkboard.caddy")
UNITS = Path("/run/systemd/system")  # what is written there overrides, and is gone with the host
CONTROL_GROUPS = Path("/sys/fs/cgroup")
SETTLE_SECONDS = 2.0  # a slot's later workers come after the one that opened the gate

WARM_UP = 1  # seconds
CONNECTIONS, STREAMS = 8, 4  # of HTTP/2; HTTP/1.1 gets as many connections as these have streams
NAME, PASSWORD = "ada", "only for this benchmark"
BROWSER = "gzip, deflate, br, zstd"


class MeasureError(Exception):
    """What kept the measurement from being made."""


def say(text: str) -> None:
    """Report progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(*command: str, given: str = "") -> str:
    """Run a command to its end; MeasureError with what it wrote."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasureError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


# -- what is measured -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a request reaches the application: h2load's options, and what it must have spoken."""

    scheme: str
    options: tuple[str, ...]
    protocol: str


def over(port: int, scheme: str, version: str) -> Way:
    """The way through a proxy on this host."""
    place = f"--connect-to=127.0.0.1:{port}"
    if version == "h2":
        return Way(scheme, ("-c", str(CONNECTIONS), "-m", str(STREAMS), place), "h2")
    return Way(scheme, ("--h1", "-c", str(CONNECTIONS * STREAMS), place), "http/1.1")


WAYS = {
    "bare": Way(
        "http", ("--h1", "-c", str(CONNECTIONS * STREAMS), f"--base-uri=unix:{SOCKET}"), "http/1.1"
    ),
    "caddy http": over(80, "http", "h1"),
    "caddy https h1": over(443, "https", "h1"),
    "caddy https h2": over(443, "https", "h2"),
    "nginx https h2": over(8443, "https", "h2"),
}


@dataclass(frozen=True)
class Variant:
    """One row: a page, asked in some way with some Accept-Encoding, while something is changed."""

    page: str
    way: str
    accepts: str = ""
    change: str = ""


@dataclass(frozen=True)
class Change:
    """What differs from what was deployed."""

    site: Callable[[str], str] = str  # the text of the site's Caddyfile
    caddy: str = ""  # lines for the [Service] of Caddy's unit
    slot: dict[str, str] = field(default_factory=dict)  # environment of the slot


def swap(old: str, new: str) -> Callable[[str], str]:
    """A change of text that fails where there is nothing to change: roles move on."""

    def change(text: str) -> str:
        changed, times = re.subn(old, new, text, flags=re.DOTALL | re.MULTILINE)
        if not times:
            raise MeasureError(f"nothing in the deployed configuration matches {old!r}")
        return changed

    return change


def changes() -> dict[str, Change]:
    """All changes by name."""
    cores = len(os.sched_getaffinity(0))
    starlette = {
        "PERGOLA_ASGI": "starlette_files:app",
        "PERGOLA_UVICORN_OPTIONS": f"--app-dir {WORK}",
    }
    return {
        "": Change(),
        "http as well": Change(
            site=swap(rf"^{re.escape(DOMAIN)} \{{", f"{DOMAIN}, http://{DOMAIN} {{")
        ),
        "keepalive off": Change(site=swap(r"keepalive \d+s$", "keepalive off")),
        "no access log": Change(site=swap(r"^\tlog \{.*?^\t\}\n", "")),
        "GOMAXPROCS=1": Change(caddy="Environment=GOMAXPROCS=1"),
        f"GOMAXPROCS={cores}": Change(caddy=f"Environment=GOMAXPROCS={cores}"),
        "1 worker": Change(slot={"WEB_CONCURRENCY": "1"}),
        "2 workers": Change(slot={"WEB_CONCURRENCY": "2"}),
        "StaticFiles": Change(slot=starlette),
    }


def variants(max_procs: str, workers: str) -> list[Variant]:
    """All rows, sorted by what is changed, because changing costs time."""
    h2 = "caddy https h2"
    pages = ("healthz", "board")
    rows = [Variant(page, way) for way in WAYS if way != "caddy http" for page in pages]
    rows += [Variant("static", way, BROWSER) for way in ("bare", h2, "nginx https h2")]
    rows += [Variant("board", h2, coding) for coding in ("gzip", "zstd")]
    rows += [Variant(page, "caddy http", change="http as well") for page in pages]
    for change in ("keepalive off", "no access log", max_procs):
        rows += [Variant(page, h2, change=change) for page in pages]
        if change != "keepalive off":  # the slot's; files know nothing of it
            rows.append(Variant("static", h2, BROWSER, change))
    rows += [Variant("board", way, change=workers) for way in ("bare", h2)]
    return [*rows, Variant("static", "bare", BROWSER, "StaticFiles")]


# -- the host -------------------------------------------------------------------------------------


def group(unit: str) -> Path:
    """The control group of a unit."""
    path = run("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()
    if not path:
        raise MeasureError(f"{unit} does not run")
    return CONTROL_GROUPS / path.lstrip("/")


def used(folder: Path) -> float:
    """Microseconds of CPU that a control group has used."""
    return float((folder / "cpu.stat").read_text().split("usage_usec")[1].split()[0])


def used_by_children() -> float:
    """Microseconds of CPU that ended commands of ours have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


class Host:
    """The provisioned host, and what is changed on it at the moment."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.deployed = SITE.read_text()
        self.change = ""
        self.install()
        static = max(Path("/srv/linkboard/assets").glob("*.css"), key=lambda p: p.stat().st_size)
        self.cookie = self.sign_in()
        self.paths = {"healthz": "/healthz", "board": "/", "static": f"/static/{static.name}"}
        self.changes = changes()

    def install(self) -> None:
        """Install the client and nginx, and start nginx beside Caddy."""
        # The package would start it on Caddy's port.
        Path("/etc/systemd/system/nginx.service").symlink_to("/dev/null")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        names = ("nghttp2-client", "nginx-light", "openssl")
        run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *names)
        WORK.mkdir()
        for name in ("nginx.conf", "starlette_files.py"):
            (WORK / name).write_text((HERE / name).read_text())
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")  # as Caddy's
        files = ("-keyout", f"{WORK}/key.pem", "-out", f"{WORK}/certificate.pem")
        run("openssl", "req", "-x509", *key, "-subj", f"/CN={DOMAIN}", *files)
        nginx = ("/usr/sbin/nginx", "-c", f"{WORK}/nginx.conf", "-g", "daemon off;")
        run("systemd-run", "--quiet", "--unit=bench-nginx", *nginx)

    def sign_in(self) -> str:
        """Make a user with links; return the cookie of its session."""
        console = ("/srv/linkboard/bin/release", "run", "linkboard")
        run(*console, "create-user", NAME, "--password", "-", given=PASSWORD)
        run(*console, "seed", "--user", NAME)
        connection = http.client.HTTPConnection(DOMAIN)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(SOCKET)
        form = urlencode({"name": NAME, "password": PASSWORD})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/login", form, headers)
        cookie = connection.getresponse().getheader("Set-Cookie")
        connection.close()
        if cookie is None:
            raise MeasureError("signing in gave no cookie")
        return cookie.partition(";")[0]

    def become(self, name: str) -> None:
        """Change what is deployed; nothing is left of an earlier change."""
        old, new = self.changes[self.change], self.changes[name]
        self.change = name
        SITE.write_text(new.site(self.deployed))
        (WORK / "slot").write_text("".join(f'{k}="{v}"\n' for k, v in new.slot.items()))
        self.override("caddy.service", new.caddy)
        self.override("linkboard@.service", f"EnvironmentFile=-{WORK}/slot")
        run("systemctl", "daemon-reload")
        if old.caddy != new.caddy:
            run("systemctl", "restart", "caddy")
        elif new.site(self.deployed) != old.site(self.deployed):
            run("systemctl", "reload", "caddy")
        if old.slot != new.slot:
            run("systemctl", "restart", SLOT)
            time.sleep(SETTLE_SECONDS)

    def override(self, unit: str, lines: str) -> None:
        """Write a drop-in for a unit."""
        folder = UNITS / f"{unit}.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "90-bench.conf").write_text(f"[Service]\n{lines}\n")

    def ask(self, variant: Variant, seconds: int) -> str:
        """Let h2load ask for some seconds; what it wrote, or MeasureError at a wrong answer."""
        way = WAYS[variant.way]
        headers = ["-H", f"Accept-Encoding: {variant.accepts}"] if variant.accepts else []
        if variant.page == "board":
            headers += ["-H", f"Cookie: {self.cookie}"]
        address = f"{way.scheme}://{DOMAIN}{self.paths[variant.page]}"
        output = run("h2load", "-t", "1", "-D", str(seconds), *way.options, *headers, address)
        right = (
            r"^requests: .* [1-9]\d* succeeded, 0 failed, 0 errored, 0 timeout$",
            r"^status codes: [1-9]\d* 2xx, 0 3xx, 0 4xx, 0 5xx$",
            rf"^Application protocol: {way.protocol}$",
        )
        if not all(re.search(line, output, re.MULTILINE) for line in right):
            raise MeasureError(f"{variant} was not answered as it should:\n{output}")
        return output

    def measure(self, variant: Variant) -> dict[str, float]:
        """Requests per second, bytes of a body, and microseconds of CPU for a request."""
        self.ask(variant, WARM_UP)
        units = {
            # The application's lines are part of its cost, wherever they are written.
            "app": (SLOT, "systemd-journald.service"),
            "database": ("system-postgresql.slice",),
            "proxy": ("bench-nginx.service" if "nginx" in variant.way else "caddy.service",),
        }
        groups = {who: [group(unit) for unit in names] for who, names in units.items()}
        before = {who: sum(map(used, folders)) for who, folders in groups.items()}
        client = used_by_children()
        output = self.ask(variant, self.seconds)
        client = used_by_children() - client
        spent = {who: sum(map(used, groups[who])) - before[who] for who in groups}
        found = re.search(r"^finished in .*?, ([\d.]+) req/s", output, re.MULTILINE)
        done = re.search(r"^requests: .* (\d+) done", output, re.MULTILINE)
        body = re.search(r"^traffic: .* \((\d+)\) data$", output, re.MULTILINE)
        if not (found and done and body):
            raise MeasureError(f"h2load wrote what is not understood:\n{output}")
        requests = int(done[1])
        costs = {who: micros / requests for who, micros in (spent | {"client": client}).items()}
        return {"rate": float(found[1]), "bytes": int(body[1]) / requests} | costs


def rounds(host: Host, rows: Sequence[Variant], number: int) -> Iterator[list[dict[str, float]]]:
    """All variants, as often as wanted; the order alternates, so that a drift hits both ends."""
    try:
        for turn in range(1, number + 1):
            found: dict[Variant, dict[str, float]] = {}
            for row in rows if turn % 2 else reversed(rows):
                if row.change != host.change:
                    host.become(row.change)
                found[row] = host.measure(row)
                what = ", ".join(filter(None, (row.page, row.way, row.accepts, row.change)))
                say(f"round {turn}: {found[row]['rate']:8.0f} req/s  {what}")
            yield [found[row] for row in rows]
    finally:
        host.become("")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    options = parser.parse_args()
    try:
        host = Host(options.seconds)
        environment = run("systemctl", "show", "--property=Environment", "--value", "caddy")
        # The other way round than what the roles deploy.
        cores = len(os.sched_getaffinity(0))
        max_procs = f"GOMAXPROCS={cores if 'GOMAXPROCS' in environment else 1}"
        slot = Path("/srv/linkboard/slots/blue/environment").read_text()
        workers = "2 workers" if 'WEB_CONCURRENCY="1"' in slot else "1 worker"
        rows = variants(max_procs, workers)
        found = list(rounds(host, rows, options.rounds))
        versions = {
            "caddy": run("caddy", "version").split()[0].removeprefix("v"),
            "h2load": run("h2load", "--version").split("/")[1].strip(),
        }
    except MeasureError as error:
        say(str(error))
        return 1
    listed = [vars(row) | {"rounds": [each[i] for each in found]} for i, row in enumerate(rows)]
    print(json.dumps({"rows": listed, "versions": versions}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
