"""What the application's and Caddy's processes cannot do, tried from inside.

`release run` gives a command the sandbox of the slots: a probe tries everything in there, and once
more outside as root, which shows that a thing is blocked by the sandbox and not by the test host.
"""

import json
import re

import pytest

testinfra_hosts = ["ansible://web1"]

PROBE = """
import ctypes, errno, json, mmap, os, platform, shutil, socket, subprocess

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": {"bpf": 321, "keyctl": 250, "perf": 298, "userfaultfd": 323, "io_uring": 425},
    "aarch64": {"bpf": 280, "keyctl": 219, "perf": 241, "userfaultfd": 282, "io_uring": 425},
}[platform.machine()]

def call(function, *arguments):
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function.__name__)

def syscall(name, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(NUMBERS[name], *arguments) == -1 and ctypes.get_errno() == errno.EPERM:
        raise PermissionError(errno.EPERM, name)  # any other error: it got through to the kernel

def write(path):
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)

def run_from(folder):
    path = shutil.copy("/usr/bin/true", folder + "/probe-true")
    try:
        os.chmod(path, 0o700)
        subprocess.run([path], check=True)
    finally:
        os.unlink(path)

def setuid_file():
    path = HOME + "/probe-suid"
    open(path, "w").close()
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)

def in_child(function):
    child = os.fork()
    if child == 0:
        try:
            function()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "in the child")

HOME = "/var/lib/linkboard"
THINGS = {
    **{"write " + d: lambda d=d: write(d + "/probe") for d in (
        "/", "/etc", "/usr", "/opt", "/var/log", "/var/lib", "/srv/linkboard",
        "/srv/linkboard/live", "/srv/linkboard/assets", "/run/linkboard")},
    "write the code": lambda: write(CODE + "/probe"),
    "write the environment": lambda: write(VENV + "/probe"),
    **{"read " + d: lambda d=d: os.listdir(d) for d in (
        "/home", "/root", "/etc/ssh", "/etc/sudoers.d", "/var/lib/postgresql", "/var/lib/caddy")},
    "read other processes": lambda: open("/proc/1/status").close(),
    "read the kernel's settings": lambda: open("/proc/sys/kernel/random/boot_id").close(),
    "change the kernel's settings": lambda: open("/proc/sys/vm/overcommit_memory", "w").close(),
    **{"run from " + d: lambda d=d: run_from(d) for d in ("/tmp", "/var/tmp", "/dev/shm", HOME)},
    "memory to write and run": lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
    "a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close(),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "a user namespace": lambda: in_child(lambda: call(libc.unshare, 0x10000000)),
    "a mount namespace": lambda: in_child(lambda: call(libc.unshare, 0x20000)),
    "mount": lambda: in_child(lambda: (call(libc.unshare, 0x20000), call(
        libc.mount, b"none", b"/", None, 0x44000, None), call(
        libc.mount, b"none", b"/tmp", b"tmpfs", 0, None))),
    "trace": lambda: in_child(lambda: call(libc.ptrace, 0, 0, None, None)),
    "bpf": lambda: syscall("bpf", 0, None, 0),
    "keyctl": lambda: syscall("keyctl", 0, -3, 0),
    "perf": lambda: syscall("perf", None, 0, -1, -1, 0),
    "io_uring": lambda: syscall("io_uring", 0, None),
    "userfaultfd": lambda: syscall("userfaultfd", 1),
    "become root": lambda: in_child(lambda: os.setuid(0)),
    "become another user": lambda: in_child(lambda: os.setresuid(65534, 65534, 65534)),
    "a setuid file": setuid_file,
    "chown": lambda: call(libc.chown, HOME.encode(), 65534, 65534) if os.getuid() else None,
    "sudo": lambda: subprocess.run(["sudo", "-n", "true"], check=True, stderr=-3),
    "su": lambda: subprocess.run(["su", "-c", "true"], check=True, stderr=-3),
    "run faster than others": lambda: in_child(lambda: os.nice(-5)),
    "real-time scheduling": lambda: in_child(
        lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))),
    "change the host's name": lambda: socket.sethostname(socket.gethostname()),
    "open a TCP port": lambda: socket.create_server(("127.0.0.1", 8779)).close(),
    "open a TCP port of IPv6": lambda: socket.create_server(("::1", 8779), family=10).close(),
    "open a UDP port": lambda: socket.socket(type=socket.SOCK_DGRAM).bind(("127.0.0.1", 8779)),
    "open a UDP port that is set for TCP": lambda: socket.socket(
        type=socket.SOCK_DGRAM).bind(("127.0.0.1", 8780)),
    # And what it must be able to do.
    "open a TCP port that is set": lambda: socket.create_server(("127.0.0.1", 8780)).close(),
    # As clients do that choose an address of their own, or try whether there is IPv6.
    **{"bind to any port, " + kind: lambda a=a, f=f, t=t: socket.socket(f, t).bind((a, 0))
       for kind, a, f, t in (
        ("TCP", "127.0.0.1", socket.AF_INET, socket.SOCK_STREAM),
        ("TCP of IPv6", "::1", socket.AF_INET6, socket.SOCK_STREAM),
        ("UDP", "0.0.0.0", socket.AF_INET, socket.SOCK_DGRAM),
        ("UDP of IPv6", "::", socket.AF_INET6, socket.SOCK_DGRAM))},
    "use its own directory": lambda: write(HOME + "/probe"),
    "use /tmp": lambda: write("/tmp/probe"),
    "use the network": lambda: socket.create_connection(("acme.test", 443), 5).close(),
    "resolve names": lambda: socket.getaddrinfo("acme.test", 443),
    "start programs of the system": lambda: subprocess.run(["/usr/bin/true"], check=True),
    "ask PostgreSQL": lambda: subprocess.run(
        ["psql", "-d", "linkboard", "-c", "select 1"], check=True, stdout=-3, stderr=-3),
}
CODE = os.path.realpath("/srv/linkboard/slots/blue/code")
if not os.path.isdir(CODE):
    CODE = os.path.realpath("/srv/linkboard/slots/green/code")
VENV = CODE[:-len("code")] + "venv"

def outcome(function):
    try:
        function()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except subprocess.CalledProcessError as error:
        return "exit status %d" % error.returncode
    return "allowed"

found = {name: outcome(function) for name, function in THINGS.items()}
folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
files = {f: open(folder + "/" + f).read() for f in os.listdir(folder)} if folder else {}
print(json.dumps({"found": found, "uid": os.getuid(), "tmp": os.listdir("/tmp"),
                  "processes": [p for p in os.listdir("/proc") if p.isdigit()],
                  "credentials": files}))
"""
# Goes into a process's mount namespace, where no program could be started, and tries as root and
# as an account. argv: the process, the account.
VIEW = """
import ctypes, errno, json, os, pwd, sys

account = pwd.getpwnam(sys.argv[2])
with open("/proc/%s/ns/mnt" % sys.argv[1]) as namespace:
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
        raise OSError(ctypes.get_errno(), "setns")

def outcome(function, path):
    try:
        function(path)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "allowed"

def write(path):
    with open(path + "/.probe", "x"):
        os.unlink(path + "/.probe")

slots = ["/srv/linkboard/slots/" + s for s in os.listdir("/srv/linkboard/slots")]
places = ["/etc", "/usr", "/usr/lib", "/srv/linkboard", "/srv/linkboard/slots"]
places += [slot + part for slot in slots for part in ("/code", "/venv")]
found = {"write": {path: outcome(write, path) for path in places}}
os.setgroups([])
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
places = ["/home", "/etc/ssh", "/etc/sudoers.d", "/var/lib/postgresql", "/var/lib/caddy"]
found["read"] = {path: outcome(os.listdir, path) for path in places}
print(json.dumps(found))
"""
READ_ONLY = ("/", "/etc", "/usr", "/opt", "/var/log", "/var/lib")
OF_RELEASES = ("/srv/linkboard", "/srv/linkboard/live", "/srv/linkboard/assets", "/run/linkboard")
UNREADABLE = ("/home", "/etc/ssh", "/etc/sudoers.d")
OF_OTHERS = ("/var/lib/postgresql", "/var/lib/caddy")
NO_PROGRAMS = ("/tmp", "/var/tmp", "/dev/shm", "/var/lib/linkboard")
BLOCKED = [
    *(f"write {path}" for path in READ_ONLY + OF_RELEASES),
    "write the code",
    "write the environment",
    "read /root",
    *(f"read {path}" for path in UNREADABLE + OF_OTHERS),
    "read other processes",
    "read the kernel's settings",
    "change the kernel's settings",
    *(f"run from {path}" for path in NO_PROGRAMS),
    "memory to write and run",
    "a netlink socket",
    "a packet socket",
    "a raw socket",
    "a user namespace",
    "a mount namespace",
    "mount",
    "trace",
    "bpf",
    "keyctl",
    "perf",
    "io_uring",
    "userfaultfd",
    "become root",
    "become another user",
    "a setuid file",
    "chown",
    "sudo",
    "su",
    "run faster than others",
    "real-time scheduling",
    "change the host's name",
]
PORTS = [
    "open a TCP port",
    "open a TCP port of IPv6",
    "open a UDP port",
    "open a UDP port that is set for TCP",
]
NEEDED = [
    "open a TCP port that is set",
    *(f"bind to any port, {kind}" for kind in ("TCP", "TCP of IPv6", "UDP", "UDP of IPv6")),
    "use its own directory",
    "use /tmp",
    "use the network",
    "resolve names",
    "start programs of the system",
    "ask PostgreSQL",
]
CONNECT = "import socket; socket.create_connection(('{}', 8777), 1)"


@pytest.fixture(scope="module")
def inside(host):
    """What the probe found as the application."""
    said = host.run("echo %s | /srv/linkboard/bin/release run /usr/bin/python3 -I -", PROBE)
    assert said.rc == 0, said.stderr
    return json.loads(said.stdout)


@pytest.fixture(scope="module")
def outside(host):
    """What the probe found as root, without a sandbox."""
    return json.loads(host.check_output("echo %s | /usr/bin/python3 -I -", PROBE))


@pytest.fixture(scope="module")
def slot(host):
    """The live slot's unit."""
    green = host.file("/srv/linkboard/live/green").exists
    return f"linkboard@{'green' if green else 'blue'}.service"


@pytest.fixture(scope="module")
def processes(host, slot):
    """/proc/PID/status of the live slot's and Caddy's processes, by unit."""
    found = {}
    for unit in (slot, "caddy.service"):
        text = host.check_output(
            "for pid in $(cat /sys/fs/cgroup$(systemctl show --property ControlGroup --value %s)"
            "/cgroup.procs); do cat /proc/$pid/status; done",
            unit,
        )
        found["caddy" if unit == "caddy.service" else "application"] = [
            dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            for status in re.split(r"(?m)^(?=Name:)", text)[1:]
        ]
    return found


@pytest.mark.parametrize("thing", BLOCKED)
def test_the_application_cannot(inside, outside, thing):
    if outside["found"][thing] != "allowed":
        pytest.skip(f"root of the test host cannot either: {outside['found'][thing]}")
    assert inside["found"][thing] != "allowed"


@pytest.mark.parametrize("thing", PORTS)
def test_the_application_opens_no_port_that_is_not_set(host, inside, outside, thing):
    assert outside["found"][thing] == "allowed"
    if "+BPF_FRAMEWORK" not in host.check_output("systemctl --version"):
        pytest.skip("this systemd was built without what SocketBindDeny= needs")
    assert inside["found"][thing] == "EPERM"


@pytest.mark.parametrize("thing", NEEDED)
def test_the_application_can(inside, thing):
    assert inside["found"][thing] == "allowed"


def test_the_probe_tries_what_the_tests_say_and_nothing_else(inside):
    assert inside["found"].keys() == {*BLOCKED, *PORTS, *NEEDED}


def test_the_application_sees_no_process_but_its_own(inside):
    assert len(inside["processes"]) == 1


def test_the_application_has_a_tmp_of_its_own(host, inside):
    assert inside["tmp"] == []
    assert host.check_output("ls -A /tmp") != ""


def test_credentials_arrive_as_files(inside):
    assert inside["credentials"] == {"app_probe": "a secret of the tests"}


def test_credentials_of_the_live_slot_are_for_the_application_only(host, slot):
    read = f"cat /run/credentials/{slot}/app_probe"
    assert host.check_output(f"runuser -u linkboard -- {read}") == "a secret of the tests"
    for other in ("nobody", "caddy", "linkboard-build"):
        assert "Permission denied" in host.run(f"runuser -u {other} -- {read}").stderr, other


def test_the_live_slot_runs_in_the_sandbox_of_the_probe(host, slot):
    """Or the probe would say nothing about the processes that serve."""
    names = (
        "BindReadOnlyPaths CapabilityBoundingSet ExecPaths IPAddressDeny InaccessiblePaths "
        "MemoryDenyWriteExecute NoExecPaths PrivateTmp PrivateUsers ProcSubset ProtectHome "
        "ProtectProc ProtectSystem RestrictAddressFamilies RestrictNamespaces SocketBindAllow "
        "SocketBindDeny SystemCallFilter TasksMax UMask User"
    )
    show = f"systemctl show {' '.join(f'--property={name}' for name in names.split())}"
    transient = host.check_output(
        "/srv/linkboard/bin/release run sleep 30 >/dev/null 2>&1 & for n in $(seq 50); do "
        "for unit in $(systemctl list-units --plain --no-legend 'run-*.service' | cut -d ' ' -f 1);"
        "do if systemctl show --property ExecStart $unit | grep -q 'sleep 30'; "
        f"then {show} $unit; systemctl stop $unit; exit; fi; done; sleep 0.1; done; exit 1"
    )
    live = host.check_output(f"{show} {slot}")
    # The order of a list's words says nothing.
    assert in_any_order(transient) == in_any_order(live)


def in_any_order(properties):
    """Each property as the set of its words, by its name."""
    lines = (line.partition("=") for line in properties.splitlines())
    return {name: sorted(words.split()) for name, _, words in lines}


@pytest.mark.parametrize(("which", "most"), [("application", 1.3), ("caddy", 1.5)])
def test_systemd_counts_little_exposure(host, slot, which, most):
    unit = slot if which == "application" else "caddy.service"
    said = host.check_output(f"systemd-analyze security --no-pager {unit}")
    (score,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert float(score) <= most, said


@pytest.mark.parametrize("which", ["application", "caddy"])
def test_no_process_can_gain_rights_or_skip_the_filter(processes, which):
    assert processes[which]
    for status in processes[which]:
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status["Name"]


def test_processes_have_no_capability_but_caddys_to_bind_ports(processes):
    bind = 1 << 10
    for which, allowed in (("application", 0), ("caddy", bind)):
        for status in processes[which]:
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[kind], 16) | allowed == allowed, (which, kind)


def test_processes_run_as_their_own_accounts(host, processes):
    for which, account in (("application", "linkboard"), ("caddy", "caddy")):
        uid = str(host.user(account).uid)
        assert {u for status in processes[which] for u in status["Uid"].split()} == {uid}


@pytest.fixture(scope="module")
def views(host, slot):
    """What a unit's mount namespace shows: read-only for root, readable for its account."""
    found = {}
    for which, unit, account in (
        ("application", slot, "linkboard"),
        ("caddy", "caddy.service", "caddy"),
    ):
        pid = host.check_output("systemctl show --property MainPID --value %s", unit)
        found[which] = json.loads(
            host.check_output(f"/usr/bin/python3 -I -c %s {pid} {account}", VIEW)
        )
    return found


@pytest.mark.parametrize(
    "path", ["/etc", "/usr", "/usr/lib", "/srv/linkboard", "/srv/linkboard/slots"]
)
@pytest.mark.parametrize("which", ["application", "caddy"])
def test_file_systems_are_read_only_even_for_root_in_there(views, which, path):
    assert views[which]["write"][path] == "EROFS"


@pytest.mark.parametrize("path", ["/srv/linkboard/slots/{}/code", "/srv/linkboard/slots/{}/venv"])
def test_the_release_is_read_only_even_for_root_in_there(views, slot, path):
    assert views["application"]["write"][path.format(slot[10:-8])] == "EROFS"


@pytest.mark.parametrize("path", [*UNREADABLE, "/var/lib/postgresql"])
def test_caddy_cannot_read(views, path):
    assert views["caddy"]["read"][path] == "EACCES"


@pytest.mark.parametrize("path", [*UNREADABLE, *OF_OTHERS])
def test_the_live_slot_cannot_read(views, path):
    assert views["application"]["read"][path] == "EACCES"


# Only here, on the test host's own loopback: nobody else is asked.
METADATA = ["169.254.77.77", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"]


@pytest.fixture(params=METADATA)
def metadata(host, request):
    """Something that listens on an address as a cloud's metadata service does."""
    address = request.param
    bits = 128 if ":" in address else 32
    family = "AF_INET6" if bits == 128 else "AF_INET"
    listen = (
        "import socket, time; "
        f"listener = socket.create_server(('{address}', 8777), family=socket.{family}); "
        "open('/run/metadata', 'w').close(); time.sleep(600)"
    )
    nodad = "nodad" if bits == 128 else ""
    host.check_output(
        f"ip address add {address}/{bits} dev lo {nodad} && "
        "systemd-run --quiet --collect --unit metadata "
        "/usr/bin/python3 -I -c %s && until test -e /run/metadata; do sleep 0.05; done",
        listen,
    )
    yield address
    host.check_output(
        f"systemctl stop metadata; rm /run/metadata; ip address delete {address}/{bits} dev lo"
    )


def test_the_application_cannot_ask_a_clouds_metadata_service(host, metadata):
    connect = CONNECT.format(metadata)
    assert host.run("/usr/bin/python3 -I -c %s", connect).rc == 0
    denied = "systemd-run --quiet --pipe --wait --collect --property IPAddressDeny=any"
    if host.run(f"{denied} /usr/bin/python3 -I -c %s", connect).rc == 0:
        pytest.skip("the test host does not enforce IPAddressDeny=: it has no BPF for cgroups")
    refused = host.run("/srv/linkboard/bin/release run /usr/bin/python3 -I -c %s", connect)
    assert refused.rc != 0
    assert "TimeoutError" in refused.stderr or "PermissionError" in refused.stderr


@pytest.mark.parametrize(("controller", "name"), [("memory", "memory.max"), ("pids", "pids.max")])
def test_the_live_slot_has_its_limits(host, slot, controller, name):
    if controller not in host.file("/sys/fs/cgroup/cgroup.controllers").content_string.split():
        pytest.skip(f"the test host has no cgroup controller {controller}")
    group = host.check_output(f"systemctl show --property ControlGroup --value {slot}")
    wanted = {"memory": "MemoryMax", "pids": "TasksMax"}[controller]
    said = host.check_output(f"systemctl show --property {wanted} --value {slot}")
    in_force = host.file(f"/sys/fs/cgroup{group}/{name}").content_string.strip()
    assert in_force == {"infinity": "max"}.get(said, said)
