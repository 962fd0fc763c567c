"""A copy in a storage that speaks S3: a server of the test's own that looks at signatures."""

import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from rows import Rows
from scenario import PROJECT, RUN, Playbooks, said, wait_for
from testinfra.host import Host

PORT = 9443
BUCKET, REGION = "backups", "eu-test-1"
ACCESS, SECRET = "probe", "a secret of the tests only"
REPOSITORY = 3  # after the server's own and the other host's
CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
TRUSTED = "/usr/local/share/ca-certificates"
ZSTANDARD = bytes.fromhex("28b52ffd")


@dataclass
class Storage:
    """The server, at the control node's address on the test network."""

    here: str
    authority: Path
    bucket: Path  # where it keeps the objects
    log: Path

    def settings(self, secret: str = SECRET) -> dict[str, Any]:
        """The settings that a user makes for it."""
        return {
            "base_ca_certificates": [str(self.authority)],
            "backup_s3": {
                "bucket": BUCKET,
                "endpoint": self.here,
                "port": PORT,
                "region": REGION,
                "uri_style": "path",
                "key": ACCESS,
                "key_secret": secret,
            },
        }

    def answers(self) -> bool:
        """Whether it is there: it refuses a request without a signature."""
        trust = ssl.create_default_context(cafile=str(self.authority))
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        try:
            direct.open(f"https://{self.here}:{PORT}/{BUCKET}", timeout=5)
        except urllib.error.HTTPError as refusal:
            return refusal.code == 403
        return False

    def objects(self) -> list[Path]:
        """What was stored, without the server's own notes."""
        return [p for p in self.bucket.rglob("*") if p.is_file() and ".nanio-meta" not in p.parts]


def installed(folder: Path) -> Path:
    """The programs of a new virtual environment with what requirements.txt names."""
    uv = PROJECT / ".venv/bin/uv"
    requirements = PROJECT / "molecule/backup/s3/requirements.txt"
    for command in (
        ["venv", "--quiet", "--python", sys.executable, folder],
        ["pip", "sync", "--quiet", "--python", folder, "--require-hashes", requirements],
    ):
        subprocess.run([uv, *command], check=True)
    return folder / "bin"


def certified(folder: Path, address: str) -> tuple[Path, Path]:
    """A certificate for an address that is its own authority, and its key."""
    certificate, key = folder / "pergola-test-s3.crt", folder / "s3.key"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=s3.test"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    name = ["-addext", f"subjectAltName=IP:{address}"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*command, *kind, *name, *files], check=True, capture_output=True)
    return certificate, key


@contextmanager
def served(folder: Path, address: str) -> Iterator[Storage]:
    """The server at an address, with an empty bucket, while it is wanted."""
    certificate, key = certified(folder, address)
    storage = Storage(address, certificate, folder / "data" / BUCKET, folder / "log")
    storage.bucket.mkdir(parents=True)
    command = [installed(folder / "venv") / "uvicorn", "--factory", "nanio.app:build_app"]
    listening = ["--host", address, "--port", str(PORT)]
    tls = ["--ssl-certfile", certificate, "--ssl-keyfile", key]
    environment = {
        **os.environ,
        "NANIO_DATA_DIR": str(storage.bucket.parent),
        "NANIO_REGION": REGION,
        "NANIO_ACCESS_KEY": ACCESS,
        "NANIO_SECRET_KEY": SECRET,
    }
    with storage.log.open("w") as log:
        process = subprocess.Popen(
            [*command, *listening, *tls], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for("the storage answers", storage.answers)
            yield storage
        finally:
            process.terminate()
            process.wait(10)


def provision(playbook: Playbooks, **settings: object) -> CompletedProcess[str]:
    """Run it for backups, on the server only: the other host has no part in this."""
    return playbook("playbooks/provision.yml", "--tags=backup", "--limit=web1", **settings)


@pytest.fixture(scope="module")
def storage(
    tmp_path_factory: pytest.TempPathFactory, web1: Host, playbook: Playbooks
) -> Iterator[Storage]:
    """The server. Afterwards the hosts know nothing of it any more."""
    here = json.loads((RUN / "hosts.json").read_text())["gateway"]
    with served(tmp_path_factory.mktemp("s3"), here) as found:
        try:
            yield found
        finally:
            back = provision(playbook)
            forget = f"rm -f {TRUSTED}/{found.authority.name} && update-ca-certificates --fresh"
            web1.check_output(forget)
    assert back.returncode == 0, back.stdout
    assert f"repo{REPOSITORY}-" not in web1.file(CONFIGURATION).content_string


def test_a_wrong_secret_is_named(storage: Storage, playbook: Playbooks):
    """The run fails and says which storage refused what; nothing was stored."""
    done = provision(playbook, **storage.settings("wrong"))
    assert done.returncode != 0
    output = said(done)
    assert "403 (Forbidden)" in output
    assert "The storage of backup_s3 refuses the requests" in output
    assert storage.objects() == []


@pytest.fixture(scope="module")
def in_use(storage: Storage, playbook: Playbooks) -> Storage:
    """The server's backups go there as well."""
    done = provision(playbook, **storage.settings())
    assert done.returncode == 0, done.stdout
    return storage


def test_the_first_run_makes_a_full_backup_there_and_the_second_nothing(
    in_use: Storage, playbook: Playbooks, pergola_backup: Callable[..., str]
):
    def kinds() -> list[str]:
        backups = json.loads(pergola_backup("status"))["backups"]
        return [one["kind"] for one in backups if one["repository"] == REPOSITORY]

    assert kinds() == ["full"]
    again = provision(playbook, **in_use.settings())
    assert again.returncode == 0, again.stdout
    assert set(re.findall(r"changed=\d+", again.stdout)) == {"changed=0"}
    assert kinds() == ["full"]


def test_wal_arrives_there(
    in_use: Storage, rows: Rows, postgres: Callable[..., str], pergola_backup: Callable[..., str]
):
    rows.add(rows.next())
    segment = postgres("select pg_walfile_name(pg_current_wal_lsn())")
    pergola_backup("point", "in-s3")
    # Of its name and checksum.
    arrived = re.compile(rf"{segment}-[0-9a-f]{{40}}\.zst")
    wait_for("WAL arrives", lambda: any(arrived.fullmatch(p.name) for p in in_use.objects()))


def test_nothing_is_there_that_can_be_read_without_the_key(in_use: Storage):
    """What is in a bundle, or in parts, has no header: none is as it would be unencrypted."""
    objects = in_use.objects()
    assert len(objects) > 10
    for path in objects:
        content = path.read_bytes()
        assert ZSTANDARD not in content[:4], path
        headless = path.parent.name == "bundle" or path.suffix == ".pgbi" or not content
        assert headless or content[:8] == b"Salted__", path


def test_it_is_verified_and_restored_from(
    in_use: Storage, rows: Rows, web1: Host, pergola_backup: Callable[..., str]
):
    pergola_backup("verify")
    rows.add(rows.next())
    pergola_backup("point", "restored-from-s3")
    before = in_use.log.read_text().count("GET /")
    pergola_backup("scratch", f"--repo={REPOSITORY}", "--point=restored-from-s3")
    try:
        found = web1.check_output(
            "cd / && runuser -u postgres -- psql -XqAt -h %s -d probe -c %s",
            "/var/lib/postgresql/pergola-scratch/sockets",
            "select count(*) from probe_rows",
        )
    finally:
        pergola_backup("scratch", "--remove")
    assert int(found) == len(rows.there())
    assert in_use.log.read_text().count("GET /") > before
