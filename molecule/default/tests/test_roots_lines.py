"""What systemd runs as root: nothing of a release, and nothing that another account can change."""

import json

import pytest

testinfra_hosts = ["ansible://web1"]

# Looks at every service that systemd has loaded, and each of its lines that runs as root.
LOOK = r"""
import json, os, pathlib, re, stat, subprocess

KINDS = ["ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop",
         "ExecStopPost"]
OF_RELEASES = re.compile(r"^/srv/[^/]+/(releases|slots)(/|$)")

def show(unit, *names):
    wanted = [f"--property={name}" for name in names]
    return subprocess.run(["systemctl", "show", *wanted, unit], capture_output=True, text=True,
                          check=True).stdout

def why_not(path):
    "Why root should not touch a path, or nothing."
    if OF_RELEASES.match(path):
        return "it is of a release"
    try:
        path = os.path.realpath(path)
        if OF_RELEASES.match(path):
            return "it leads to a release"
        for step in [pathlib.Path(path), *pathlib.Path(path).parents]:
            found = step.stat()
            sticky = step.is_dir() and found.st_mode & stat.S_ISVTX
            if found.st_uid != 0:
                return f"{step} is {found.st_uid}'s"
            if found.st_mode & 0o022 and not sticky:
                return f"{step} can be written by others"
    except FileNotFoundError:
        pass
    return ""

listed = subprocess.run(
    ["systemctl", "list-units", "--all", "--type=service", "--plain", "--no-legend"],
    capture_output=True, text=True, check=True).stdout
units = [line.split()[0] for line in listed.splitlines()]
wrong, lines = [], 0
for unit in units:
    user = show(unit, "User", "DynamicUser")
    whole = "\nUser=\n" in f"\n{user}" or "User=root" in user
    if "DynamicUser=yes" in user:
        whole = False
    text = show(unit, *(f"{kind}Ex" for kind in KINDS))
    found = []
    for line in text.splitlines():
        program = re.search(r"\{ path=(\S+) ; argv\[\]=(.*?) ; flags=(.*?) ;", line)
        if program and (whole or re.search("privileged|no-setuid|ambient-magic", program[3])):
            found.append(program)
    if not found:
        continue
    lines += len(found)
    paths = set()
    for program in found:
        # What comes after root has given its rights up is another account's.
        own = re.sub(r"(/runuser) -u (?!root )\S+ -- .*", r"\1", program[2])
        paths |= {program[1], *re.findall(r"(?<![\w$}])/[\w./@%+-]+", own)}
    # Written by other accounts and only read: what is asked there is no program.
    around = show(unit, "WorkingDirectory", "RootDirectory", "EnvironmentFiles", "Environment")
    for line in around.splitlines():
        name, _, value = line.partition("=")
        for path in re.findall(r"(?:^|[\s=:\"!])(/[^\s:\"]*)", value):
            paths.add(path)
    for path in sorted(paths):
        if path.startswith(("/proc/", "/dev/")):
            continue
        if reason := why_not(path):
            wrong.append(f"{unit}: {path}: {reason}")
print(json.dumps({"wrong": wrong, "lines": lines, "units": units}))
"""


@pytest.fixture(scope="module")
def looked(host):
    return json.loads(host.check_output("/usr/bin/python3 -I -c %s", LOOK))


def test_no_line_that_runs_as_root_sees_a_release_or_what_others_can_change(looked):
    slots = [unit for unit in looked["units"] if unit.startswith("linkboard@")]
    assert slots, "the slots' lines were not looked at"
    assert looked["lines"] > 10
    assert looked["wrong"] == []


def test_the_slots_lines_of_root_get_no_variable_of_the_release(host):
    """By what a process there really gets: the release's own PATH first, before the change."""
    green = host.file("/srv/linkboard/live/green").exists
    unit = f"linkboard@{'green' if green else 'blue'}.service"
    shown = host.check_output(
        "systemctl show --property=EnvironmentFiles --property=WorkingDirectory "
        f"--property=Environment {unit}"
    )
    assert "linkboard" not in shown
    pid = host.check_output(f"systemctl show --property MainPID --value {unit}")
    environment = host.check_output(f"tr '\\0' '\\n' </proc/{pid}/environ").splitlines()
    slot = f"/srv/linkboard/slots/{'green' if green else 'blue'}"
    assert f"PATH={slot}/venv/bin:/usr/bin:/bin" in environment
    assert "PERGOLA_ASGI=linkboard.main:app" in environment
