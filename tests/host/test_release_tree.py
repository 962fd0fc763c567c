"""Trees that a build account made, as root looks at them and makes them its own."""

import ast
import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from pergola.errors import PergolaError
from pergola.release import assets, packages, sandbox, tree
from pergola.release.commands import quoted
from release_made import having

PROJECT = Path(__file__).parents[2]

ME = (os.getuid(), os.getgid())


@pytest.fixture
def top(tmp_path):
    for name in ("code", "venv", "assets"):
        (tmp_path / "release" / name).mkdir(parents=True)
    return tmp_path / "release"


def seal(top, owners=(ME[0],)):
    return tree.Seal(top, owners, ME).make("code", "venv", "assets", plain="assets")


def test_a_sealed_file_is_another_one_with_the_same_content_and_date(top, tmp_path):
    file = top / "code/a.py"
    file.write_text("x = 1\n")
    os.utime(file, ns=(10**18, 10**18 + 5))
    os.link(file, tmp_path / "outside.py")
    kept = file.open("a")

    assert seal(top) == []

    kept.write("changed\n")
    kept.close()
    assert file.read_text() == "x = 1\n"
    assert file.stat().st_nlink == 1
    assert file.stat().st_mtime_ns == 10**18 + 5
    assert [path.name for path in (top / "code").iterdir()] == ["a.py"]


def test_modes_are_those_of_a_release(top):
    for name, mode in {"plain": 0o666, "program": 0o4777, "private": 0o600}.items():
        (top / "code" / name).touch()
        (top / "code" / name).chmod(mode)
    (top / "code/folder").mkdir(mode=0o777)
    (top / "code/folder").chmod(0o2777)
    seal(top)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (top / "code").iterdir()}
    assert modes == {"plain": 0o644, "program": 0o755, "private": 0o644, "folder": 0o755}


def test_what_is_neither_file_nor_directory_is_left_out(top, monkeypatch):
    os.mkfifo(top / "code/fifo")
    monkeypatch.chdir(top / "venv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert seal(top) == ["code/fifo", "venv/socket"]
    assert list((top / "code").iterdir()) == list((top / "venv").iterdir()) == []


def test_a_file_of_another_account_is_left_out(top):
    (top / "code/secret").touch()
    assert seal(top, owners=()) == ["code/secret"]


def test_links_within_the_release_stay_and_others_go(top, tmp_path):
    (top / "code/a").touch()
    (tmp_path / "elsewhere").touch()
    (tmp_path / "elsewhere").chmod(0o666)
    links = {
        "code/near": "a",
        "code/up": "../venv/../code/a",
        "code/absolute": f"{top}/code/a",
        "code/system": "/usr/bin/env",
        "code/missing": "nothing",
        "venv/chain": "../code/near",
        "code/out": "../../elsewhere",
        "code/tmp": "/tmp/elsewhere",
        "code/self": "self",
        "code/process": "/proc/self/environ",
        "code/through": "../venv/folder/elsewhere",
        "venv/folder": "../..",
    }
    for name, target in links.items():
        (top / name).symlink_to(target)
    gone = set(seal(top))
    assert {"code/out", "code/tmp", "code/self", "code/process", "code/through"} <= gone
    stay = {"code/near", "code/up", "code/absolute", "code/system", "code/missing", "venv/chain"}
    assert not stay & gone
    assert all((top / name).is_symlink() for name in stay)


def test_a_link_among_the_static_files_becomes_a_file_or_goes(top):
    (top / "code/source.py").write_text("secret")
    (top / "assets/app.1.js").write_text("js")
    (top / "assets/folder").mkdir()
    for name, target in {
        "app.js": "app.1.js",
        "all": "folder",
        "source": "../code/source.py",
    }.items():
        (top / "assets" / name).symlink_to(target)
    (top / "assets/system").symlink_to("/etc/passwd")
    (top / "assets/folder/up.js").symlink_to("../app.js")
    left_out = seal(top)
    assert left_out == ["assets/all", "assets/source", "assets/system"]
    for name in ("app.js", "folder/up.js"):
        assert (top / "assets" / name).read_text() == "js"
        assert not (top / "assets" / name).is_symlink()


def test_a_directory_that_became_a_link_is_not_followed(top, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("precious")
    (top / "code").rmdir()
    (top / "code").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="code"):
        seal(top)
    tree.remove(top / "code")
    tree.remove(top / "nothing")
    assert (tmp_path / "precious/file").read_text() == "precious"


def test_a_tree_without_a_bottom_is_refused(top):
    at = top / "code"
    for _ in range(tree.DEEPEST + 2):
        at = at / "d"
        at.mkdir()
    for work in (seal, lambda top: tree.size(top / "code")):
        with pytest.raises(PergolaError, match="directories in each other"):
            work(top)


def test_only_a_plain_file_is_read(top, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (top / "code/uv.lock").write_text("lock")
    (top / "code/link").symlink_to(tmp_path / "secret")
    (top / "code/folder").symlink_to(tmp_path)
    os.mkfifo(top / "code/fifo")
    assert tree.read_text(top, "code", "uv.lock") == "lock"
    with tree.open_plain(top / "code/uv.lock") as file:
        assert file.read() == b"lock"
    for name in ("link", "fifo"):
        with pytest.raises(OSError, match=name):
            tree.open_plain(top / "code" / name)
    for names in (["link"], ["folder", "secret"], ["fifo"], ["none"], ["folder"]):
        assert tree.read_text(top, "code", *names) is None, names


def test_what_is_published_is_no_link_and_takes_the_place_of_another_kind(top, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (top / "assets/style").mkdir()
    (top / "assets/style/a.css").write_text("a")
    (top / "assets/page").write_text("page")
    (top / "assets/link").symlink_to("/etc/passwd")
    os.mkfifo(top / "assets/fifo")
    (shared / "style").write_text("was a file")
    (shared / "page").mkdir()
    (shared / "page/old").touch()
    os.mkfifo(shared / "left")

    assets.publish(top / "assets", shared)
    assets.prune(shared)

    found = {str(path.relative_to(shared)) for path in shared.rglob("*")}
    assert found == {"style", "style/a.css", "page"}
    assert (shared / "page").read_text() == "page"


def test_two_directories_change_places(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was-{name}").touch()
    assets.exchange(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["was-b"]
    with pytest.raises(OSError, match="none"):
        assets.exchange(tmp_path / "none", tmp_path / "b")


def test_the_end_of_a_long_output_is_kept_and_nothing_that_a_terminal_obeys():
    script = "printf 'x%.0s' $(seq 300000); printf '\\033[2Jlast \\377 line\\n'"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        text = sandbox.tail(process.stdout)
    assert len(text) <= sandbox.OUTPUT_KEPT
    assert text.endswith(("x?[2Jlast ? line\n", "x?[2Jlast \N{REPLACEMENT CHARACTER} line\n"))


def test_a_build_reaches_no_loopback_but_a_resolver_and_a_proxy(tmp_path):
    slots, resolver = tmp_path / "slots", tmp_path / "resolv.conf"
    slots.write_text("[Service]\nIPAddressDeny=169.254.0.0/16 fd00:ec2::254/128 any\n")
    resolver.write_text("nameserver 127.0.0.53\n")
    found = sandbox.addresses({"https_proxy": "http://localhost:3128"}, slots, resolver)
    assert "127.0.0.0/8" in found["IPAddressDeny"].split()
    assert "fd00:ec2::254/128" in found["IPAddressDeny"].split()
    assert "any" not in found["IPAddressDeny"].split()
    assert found["IPAddressAllow"].split() == ["127.0.0.1", "127.0.0.53", "::1"]
    resolver.write_text("nameserver 192.0.2.1\n")
    assert "IPAddressAllow" not in sandbox.addresses({}, slots, resolver)


def test_a_build_sees_what_the_host_names_for_downloads(tmp_path):
    stub = tmp_path / "resolv.conf"
    stub.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    host = {"SSL_CERT_FILE": "/var/lib/ca.pem", "UV_DEFAULT_INDEX": "https://i.example.org"}
    needed = sandbox.needed_of_host({**host, "UV_CONFIG_FILE": "/etc/uv.toml"}, stub)
    assert needed == ["/run/systemd/resolve/stub-resolv.conf", "/var/lib/ca.pem"]


def test_values_are_not_on_the_command_line_of_a_build(releases, tmp_path):
    having(releases, build_user="notes-build", prepare_timeout_seconds=9)
    made = sandbox.Sandbox(releases, [tmp_path], {})
    lines = made.properties(tmp_path, {"TOKEN": "hidden"}, [])
    assert not [line for line in lines if "hidden" in line]
    assert f"BindPaths={tmp_path}" in lines
    assert {"User=notes-build", "KillSignal=SIGKILL", "ProtectSystem=strict"} <= set(lines)


def test_an_override_changes_a_line_by_its_name(releases, tmp_path):
    having(releases, build_sandbox={"MemoryMax": "2G"})
    lines = sandbox.Sandbox(releases, [tmp_path], {}).properties(tmp_path, {}, [])
    assert [line for line in lines if line.startswith("MemoryMax")] == ["MemoryMax=2G"]


def test_packages_that_have_to_be_built_are_taken_out_of_the_requirements():
    text = (
        "idna==3 \\\n    --hash=sha256:aa\nDoc_Opt==1 \\\n    --hash=sha256:bb\n# via\nuvicorn==2\n"
    )
    assert packages.requirements_without(text, ["doc-opt"]) == (
        "idna==3 \\\n    --hash=sha256:aa\n# via\nuvicorn==2\n"
    )


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("hint: Wheels are required for `docopt` because building from source is", "docopt"),
        ("error: Distribution `a.b-c==0.6 @ registry+x` can't be installed because", "a.b-c"),
        ("error: Distribution `notes @ git+x` can't be installed because", "notes"),
    ],
)
def test_uv_names_the_package_that_has_no_wheel(said, name):
    found = packages.NEEDS_BUILD.search(said)
    assert (found[1] or found[2]) == name


@pytest.mark.parametrize("value", ["plain", "a b", "$HOME `id` \"q\" \\ 'x'", "é 你", "a\nb", ""])
def test_a_shell_reads_the_environment_file_as_systemd_does(tmp_path, value):
    file = tmp_path / "environment"
    file.write_text(f"NAME={quoted(value)}\n")
    script = f"set -a; . {shlex.quote(str(file))}; exec printenv NAME"
    said = subprocess.run(["sh", "-ec", script], capture_output=True, check=True)
    assert said.stdout.decode() == f"{value}\n"


def programs_of_root():
    """The Python files of what runs on a server."""
    found = [*PROJECT.glob("roles/*/files/**/*.py"), *PROJECT.glob("host/**/*.py")]
    assert len(found) > 30
    return found


@pytest.mark.parametrize("path", programs_of_root(), ids=lambda path: path.name)
def test_no_program_of_root_runs_in_a_directory_or_with_a_path_of_a_release(path):
    """Every process is started in `/`, or where the caller is, and PATH is the caller's."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("run", "Popen", "check_output", "call", "check_call") and (
            isinstance(node.func.value, ast.Name) and node.func.value.id == "subprocess"
        ):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            where = f"{path.name}:{node.lineno}"
            assert given.get("cwd", "'/'") == "'/'", where
            assert "PATH" not in given.get("env", ""), where
        assert node.func.attr not in ("chdir", "fchdir", "putenv"), f"{path.name}:{node.lineno}"
