"""What the tests of the host's package share."""

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "host"))

from pergola import apps
from pergola.release.releases import Releases


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """The releases of the application notes, of which there are none yet."""
    monkeypatch.setattr(apps, "HOMES", tmp_path / "srv")
    monkeypatch.setattr(apps, "RUN", tmp_path / "run")
    monkeypatch.setattr(apps.postgres, "CONFIGURATIONS", tmp_path / "no-cluster")
    home = tmp_path / "srv/notes"
    for name in ("bin", "releases", "incoming", "slots", "live", "assets"):
        (home / name).mkdir(parents=True)
    (home / "bin/release").touch()
    (tmp_path / "run/notes").mkdir(parents=True)
    settings = {"keep": 2, "lock_seconds": 100, "database": "", "schema_query": ""}
    (home / "settings.json").write_text(json.dumps(settings))
    return Releases(apps.App(home), who="ada@example.org")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk, `path`, that takes nothing while `full` is set, and `run`, which is not on it."""
    found = SimpleNamespace(path=tmp_path / "disk", run=tmp_path / "run", full=False)
    found.path.mkdir()
    real = os.fsync

    def fsync(descriptor):
        file = Path(f"/proc/self/fd/{descriptor}").readlink()
        if found.full and file.is_relative_to(found.path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return found
