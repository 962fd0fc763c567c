"""The facts that roles use: as Ansible's own `setup` has them, of the systems that there are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pergola_control import modules

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "library"))

import server_facts  # noqa: E402

DEBIAN = 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n'
TESTING = 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_CODENAME=forky\n'
UBUNTU = "# x=1\nID=ubuntu\nNAME=Ubuntu\nVERSION_ID='24.04'\nVERSION_CODENAME=noble\n"
FEDORA = 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=44\n'


@pytest.mark.parametrize(
    ("release", "number", "expected"),
    [
        (DEBIAN, "13.2", ("Debian", "13.2", "13", "trixie")),
        (TESTING, "forky/sid", ("Debian", "n/a", "n/a", "forky")),
        (UBUNTU, "trixie/sid", ("Ubuntu", "24.04", "24", "noble")),
        (FEDORA, "", ("Fedora Linux", "44", "44", "n/a")),
    ],
)
@pytest.mark.parametrize("place", server_facts.OS_RELEASE)
def test_a_system_is_known_by_what_it_says_of_itself(tmp_path, release, number, expected, place):
    for folder in ("etc", "usr/lib"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / place).write_text(release)
    (tmp_path / "etc/debian_version").write_text(f"{number}\n")
    found = server_facts.distribution(tmp_path)
    names = ("", "_version", "_major_version", "_release")
    assert tuple(found[f"distribution{name}"] for name in names) == expected


def test_file_systems_are_those_that_hold_data_and_have_a_device():
    lines = ["/dev/vda / ext4 rw 0 0", "tmpfs /var tmpfs rw 0 0", "srv:/x /home nfs rw 0 0"]
    (found,) = server_facts.mounts("\n".join(lines))
    assert (found["mount"], found["device"]) == ("/", "/dev/vda")
    assert found["size_total"] > found["size_available"] > 0


def test_they_are_what_ansibles_own_module_says(tmp_path):
    (tmp_path / "shop.fact").write_text('{"connections": 15, "preload": []}')
    ours = told([sys.executable, "-c", modules.BEGIN], order(tmp_path))
    subsets = ["!all", "!min", "distribution", "hardware", "local", "platform", "python"]
    asked = f"gather_subset={','.join(subsets)} fact_path={tmp_path}"
    ansible = Path(sys.executable).with_name("ansible")
    words = [ansible, "-i", "one,", "-c", "local", "-m", "setup", "-a", asked, "all", "-o"]
    words += ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    theirs = json.loads(done.stdout.partition("=> ")[2])["ansible_facts"]
    assert ours["ansible_local"] == {"shop": {"connections": 15, "preload": []}}
    sizes = ("mount", "size_total")
    places = {
        tuple(one.get(name) for name in sizes)
        for one in theirs["ansible_mounts"]
        if one["mount"] in server_facts.PLACES
    }
    assert {tuple(one[name] for name in sizes) for one in ours.pop("ansible_mounts")} == places
    assert ours == {name: theirs[name] for name in ours}


def order(folder):
    return modules.order("server_facts", {"fact_path": str(folder)}, check=True, diff=False)


def told(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    found = modules.understood(done.stdout)
    assert found, done.stderr
    return found["ansible_facts"]
