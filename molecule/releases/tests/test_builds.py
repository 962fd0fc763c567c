"""A build that means harm: what it reaches, what it leaves, and what of it becomes a release."""

import json
import re
from types import SimpleNamespace

import pytest
from scenario import said

HOME = "/srv/probe"
ASSETS = f"{HOME}/assets"
BYTECODE = f"{HOME}/bytecode"
ACCOUNT = "probe-build"

# Run as app_static_command: tries everything in one go, and writes down what it found.
EVIL = '''
import array, glob, json, os, pathlib, socket, stat, subprocess, sys, time

assets, release = pathlib.Path(os.environ["PERGOLA_ASSETS"]), os.environ["PERGOLA_RELEASE"]
code = pathlib.Path.cwd()
venv = code.parent / "venv"
found = {}

def attempt(name, function):
    try:
        found[name] = function()
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"

def files(*places):
    """Files below some places that can be read, but the release's own."""
    seen = []
    for place in places:
        for top, folders, names in os.walk(place):
            if top.startswith(str(code.parent)):
                folders[:] = []
                continue
            for name in names:
                path = os.path.join(top, name)
                if os.path.isfile(path) and os.access(path, os.R_OK):
                    seen.append(path)
    return seen

def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return "connected"

attempt("files of others", lambda: files("/srv", "/var", "/run", "/home", "/root", "/etc/ssh"))
attempt("releases", lambda: os.listdir(code.parent.parent))
attempt("processes", lambda: sorted(
    pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()))
for path in ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/caddy/admin.sock",
             "/run/postgresql/.s.PGSQL.5432", "/run/systemd/journal/stdout"):
    attempt(path, lambda path=path: connect(path))
for place in ("/tmp", "/var/tmp", "/dev/shm"):
    attempt(place, lambda place=place: [name for name in os.listdir(place)])
    pathlib.Path(place, "left-by-a-build").touch()
attempt("database", lambda: subprocess.run(
    ["psql", "-w", "-d", "probe", "-c", "select 1"], check=True, capture_output=True) and "asked")

# Packages that the next release would take: wherever they can be written.
poisoned = 0
for top in ("/var/cache", os.environ["UV_CACHE_DIR"], "/srv"):
    for path in glob.glob(f"{top}/**/uvicorn/__init__.py", recursive=True):
        try:
            with open(path, "a") as file:
                file.write("\\nPOISONED = True\\n")
            poisoned += 1
        except OSError as error:
            found["poison"] = str(error)
found["poisoned"] = poisoned

# What would be published, linked, or blocked.
(assets / "app.css").write_text("fine")
(assets / "latest.css").symlink_to("app.css")
(assets / "passwd").symlink_to("/etc/passwd")
(assets / "server").symlink_to("/srv/probe")
(assets / "gate.py").symlink_to("/srv/probe/lib/gate.py")
(assets / "dangling").symlink_to("nowhere")
os.mkfifo(assets / "fifo")
os.mkfifo(code / "fifo")
with socket.socket(socket.AF_UNIX) as server:
    os.chdir(assets)
    server.bind("socket")
    os.chdir(code)
os.link(code / "probe.py", assets / "linked.py")
(assets / "deep").mkdir()
(assets / "deep" / "file.txt").write_text("deep")
(code / "outside").symlink_to("/var/lib/probe/changes")
(code / "inside").symlink_to("probe.py")
(venv / "outside.py").symlink_to("/tmp/changes.py")
(code / "open").write_text("to all")
(code / "open").chmod(0o666)
(code / "program").write_text("#!/bin/sh\\n")
(code / "program").chmod(0o700)
attempt("setuid", lambda: (code / "open").chmod(0o4777))
attempt("attribute", lambda: os.setxattr(code, "user.evil", b"1"))

# A descriptor of a file of the release, for an accomplice who waits outside.
def hand_over():
    victim = os.open(code / "victim", os.O_RDWR | os.O_CREAT, 0o666)
    os.write(victim, b"as built")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\\0accomplice")
        socket.send_fds(client, [b"x"], [victim])
    return "handed over"

(code / "victim").write_text("as built")
attempt("descriptor", hand_over)

# One that stays behind, and changes the code once nobody looks.
subprocess.Popen(
    ["/bin/sh", "-c", "while sleep 0.2; do echo changed >> open; touch ../assets/late; done"],
    start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL)
(assets / "report.json").write_text(json.dumps(found))
'''
# Keeps what it is given open, and writes there as soon as it is told to.
ACCOMPLICE = """
import os, socket, time
server = socket.socket(socket.AF_UNIX)
server.bind("\\0accomplice")
server.listen()
open("/var/lib/probe/waiting", "w").close()
_, given, _, _ = socket.recv_fds(server.accept()[0], 1, 1)
while not os.path.exists("/var/lib/probe/now"):
    time.sleep(0.05)
os.pwrite(given[0], b"CHANGED!", 0)
open("/var/lib/probe/changed", "w").close()
"""
# Names of installed files whose content is not what their package's RECORD says.
ALTERED = """
import base64, csv, hashlib, pathlib, sys
for record in pathlib.Path(sys.argv[1]).glob("venv/lib/*/site-packages/*.dist-info/RECORD"):
    top = record.parent.parent
    for name, digest, _ in csv.reader(record.read_text().splitlines()):
        if digest:
            kind, _, wanted = digest.partition("=")
            is_now = hashlib.new(kind, (top / name).read_bytes()).digest()
            if base64.urlsafe_b64encode(is_now).rstrip(b"=").decode() != wanted:
                print(name)
"""


@pytest.fixture(scope="module")
def built(probe, server, deploy, web1):
    """A release whose build did all of that; the probe's usual one is live after the tests."""
    probe.reset()
    web1.check_output("rm -f /var/lib/probe/waiting /var/lib/probe/now /var/lib/probe/changed")
    web1.check_output(
        "systemd-run --quiet --collect --unit accomplice --property User=probe "
        "/usr/bin/python3 -I -c %s && until test -e /var/lib/probe/waiting; do sleep 0.05; done",
        ACCOMPLICE,
    )
    try:
        done = deploy(
            probe.commit("evil.py", EVIL, "Mean harm"), app_static_command="python evil.py"
        )
        release = server.live()
        report = json.loads(web1.file(f"{ASSETS}/report.json").content_string)
        yield SimpleNamespace(
            said=said(done), id=release, path=f"{HOME}/releases/{release}", found=report
        )
    finally:
        web1.run("systemctl stop accomplice; rm -f /var/lib/probe/{waiting,now,changed}")
        probe.reset()
        deploy(probe.commit("note", "after", "After a build that meant harm"))


def test_a_build_sees_nothing_of_others(built, server):
    assert built.found["files of others"] == []
    assert built.found["releases"] == [built.id]
    assert set(built.found["processes"]) <= {"timeout", "sh", "python"}


def test_a_build_reaches_no_service_of_the_server(built, web1):
    sockets = [name for name in built.found if name.startswith("/run/")]
    assert len(sockets) == 5
    for path in sockets:
        assert built.found[path].startswith(("FileNotFoundError", "PermissionError")), path
        assert web1.run(f"test -S {path}").rc == 0, "nothing is proved by one that is not there"
    assert "CalledProcessError" in built.found["database"]


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm"])
def test_builds_leave_each_other_nothing(built, web1, place):
    assert built.found[place] == []
    assert web1.run(f"test -e {place}/left-by-a-build").rc == 1


def test_nothing_that_a_build_started_outlives_it(built, web1):
    assert web1.run(f"ps -u {ACCOUNT} -o args=").stdout == ""
    assert web1.run(f"ls {ASSETS}/late {built.path}/assets/late").rc != 0
    assert web1.file(f"{built.path}/code/open").content_string == "to all"


def test_the_release_is_roots_and_holds_directories_files_and_links_within(built, web1):
    everything = f"find {built.path} {ASSETS}"
    assert web1.check_output(f"{everything} -not -user root") == ""
    assert web1.check_output(f"{everything} -not -type d -not -type f -not -type l") == ""
    assert web1.check_output(f"{everything} -not -type l -perm /7022") == ""
    shared = f"find {built.path}/code {built.path}/venv -type f -links +1 -printf '%i\n'"
    stored = web1.check_output(f"find {BYTECODE} -type f -printf '%i\n'").split()
    assert set(web1.check_output(shared).split()) <= set(stored), "with nothing but root's store"
    assert web1.file(BYTECODE).mode == 0o700
    for link in web1.check_output(f"find {built.path} -type l").splitlines():
        leads = web1.check_output(f"realpath {link}")
        assert leads.startswith((built.path, "/usr/bin/python3")), (link, leads)
    assert web1.check_output(f"cat {built.path}/code/inside") != ""
    assert web1.file(f"{built.path}/code/program").mode == 0o755
    attributes = "import os, sys; print(os.listxattr(sys.argv[1]))"
    said = web1.check_output(f"/usr/bin/python3 -I -c '{attributes}' {built.path}/code")
    assert "user.evil" not in said


def test_what_was_left_out_is_said(built):
    assert "not part of the release" in built.said
    for name in ("assets/fifo", "assets/passwd", "code/outside", "venv/outside.py"):
        assert name in built.said, name


def test_nobody_but_root_can_change_the_live_release(built, web1):
    for account in (ACCOUNT, "probe", "caddy", "nobody"):
        writable = f"find {built.path} {ASSETS} -not -type l -writable 2>/dev/null || true"
        assert web1.check_output(f"runuser -u {account} -- {writable}") == "", account


def test_a_descriptor_that_somebody_kept_does_not_lead_to_it(built, web1):
    if built.found["descriptor"] == "handed over":
        web1.check_output(
            "touch /var/lib/probe/now && timeout 20 sh -c "
            "'until test -e /var/lib/probe/changed; do sleep 0.05; done'"
        )
    assert web1.file(f"{built.path}/code/victim").content_string.startswith("as built")


def test_a_release_is_for_its_application_only(built, web1):
    read = f"cat {built.path}/code/probe.py"
    assert web1.run(f"runuser -u probe -- {read}").rc == 0
    for account in (ACCOUNT, "caddy", "nobody"):
        assert web1.run(f"runuser -u {account} -- {read}").rc != 0, account


def test_only_its_plain_files_are_published(built, web1, site):
    names = set(web1.check_output(f"cd {ASSETS} && find . -type f").split())
    wanted = {"app.css", "latest.css", "linked.py", "deep/file.txt", "report.json"}
    assert {f"./{name}" for name in wanted} <= names
    assert not any(re.search("passwd|gate|server|fifo|socket|dangling", name) for name in names)
    assert site.get("/static/latest.css").raise_for_status().text == "fine"
    assert site.get("/static/deep/file.txt").raise_for_status().text == "deep"
    for path in ("passwd", "server/settings.json", "server/ledger.jsonl", "gate.py", "fifo"):
        assert site.get(f"/static/{path}").status_code == 404, path


def test_the_next_release_gets_the_packages_that_its_lock_names(built, web1, server, deploy, probe):
    """Of the same lock, after a build that changed each copy that it could write."""
    altered = "/usr/bin/python3 -I -c %s {}"
    probe.commit("evil.py", "", "Mean well")
    deploy()
    release = f"{HOME}/releases/{server.live()}"
    assert web1.check_output(altered.format(release), ALTERED) == ""
    poisoned = f"grep -rls POISONED /var/cache {HOME}/releases --include=__init__.py"
    found = web1.run(poisoned).stdout.split()
    assert [path for path in found if not path.startswith(built.path)] == []
    # Or it would say nothing: its own release, and the copy of the cache that was thrown away.
    assert built.found["poisoned"] > 0


@pytest.fixture
def earlier(server, web1):
    """The host as an earlier Pergola left it: its build account owns releases and static files."""
    server.comes_to_rest()
    release = f"{HOME}/releases/{server.live()}"
    web1.check_output(
        f"cd {release} && chmod 0755 . && mkdir -p assets && echo style >assets/style.css && "
        f"ln -f assets/style.css {ASSETS}/style.css && chown -R {ACCOUNT}: code venv assets && "
        f"chown {ACCOUNT}: {ASSETS} && ln -s /etc {ASSETS}/etc && echo p >{ASSETS}/planted && "
        f"ln {ASSETS}/planted {release}/code/planted && chown {ACCOUNT}: {ASSETS}/planted && "
        f"mkdir -p /var/cache/{ACCOUNT}/uv && touch /var/cache/{ACCOUNT}/uv/poison && "
        f"chown -R {ACCOUNT}: /var/cache/{ACCOUNT}"
    )
    leave = (
        f"runuser -u {ACCOUNT} -- sh -c 'cd {release}/code; setsid sleep 1000 >/dev/null 2>&1 &'"
    )
    web1.check_output(leave)
    yield release
    web1.check_output(f"rm -f {release}/assets/style.css {ASSETS}/style.css {release}/code/planted")


def test_what_an_earlier_pergola_made_becomes_roots_while_it_serves(
    earlier, server, web1, deploy, load, site
):
    before = server.live()
    changed = web1.check_output(f"stat --format %Y {earlier}/code/probe.py")
    with load(rate=30) as running:
        deploy(before.partition("-")[0])
        seen = running.end()
    assert seen.failed == 0, seen.first_failures
    assert server.live() == before
    assert web1.check_output(f"find {earlier} {ASSETS} -not -user root") == ""
    assert web1.check_output(f"stat --format '%a %U:%G' {earlier}") == "750 root:probe"
    assert web1.check_output(f"find {ASSETS} -name etc -o -name planted") == ""
    assert site.get("/static/style.css").raise_for_status().text == "style\n"
    assert web1.check_output(f"stat --format %Y {earlier}/code/probe.py") == changed
    assert web1.check_output(f"ls /var/cache/{ACCOUNT}") == "packages"
    assert web1.run(f"ps -u {ACCOUNT} -o args=").stdout == ""
