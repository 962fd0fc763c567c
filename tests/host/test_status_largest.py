"""What takes the room of a file system that is nearly full."""

from pathlib import Path

import pytest
from pergola.status import largest
from pergola.status.memory import Large
from pergola.status.seen import Disk

MB = 2**20


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A file system with an application and a journal below directories that are spread."""
    monkeypatch.setattr(largest, "SPREAD", {str(tmp_path / "var"), str(tmp_path / "var/lib")})
    for name, count in (("usr", 2), ("var/lib/probe", 3), ("var/lib/other", 1), ("var/log", 4)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * count * MB)
    (tmp_path / "var/lib/link").symlink_to("/")
    return tmp_path


def test_the_largest_are_named_by_what_is_in_spread_directories(place):
    found = largest.measured(place, 60)
    assert [path for path, _ in found.sizes] == [
        str(place / name) for name in ("var/log", "var/lib/probe", "usr")
    ]
    assert found.too_many is None
    assert largest.words(found).startswith(f"{place}/var/log has 4.2 MB, {place}/var/lib/probe has")


def test_what_grows_on_a_server_is_measured_first(place):
    names = [Path(path).name for path in largest.parts(place, place.lstat().st_dev)]
    assert names == ["other", "probe", "log", "usr"]


def test_what_takes_too_long_to_measure_is_named(place, monkeypatch, tmp_path):
    """Du says each directory when it is at its end."""
    slow = tmp_path / "du"
    slow.write_text(f"#!/bin/sh\nprintf '1048576\\t{place}/var/lib/other\\0'\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = largest.measured(place, 1)
    assert found == Large(
        [(f"{place}/var/lib/other", MB)],
        too_many=f"{place}/var/lib/probe",
    )
    assert largest.words(found) == (
        f"{place}/var/lib/other has 1.0 MB, "
        f"{place}/var/lib/probe has more files than can be measured here"
    )


def test_it_is_measured_for_a_full_disk_only_and_once_an_hour(monkeypatch):
    times = []
    monkeypatch.setattr(largest, "measured", lambda place: times.append(place) or Large([]))

    def look(percent, known, now):
        return largest.largest([Disk("/", percent, 0, 0)], known, now, 90)

    assert look(89, {}, 0) == {}
    known = look(91, {}, 10)
    assert look(88, known, 3000) == known, "it is not well again"
    assert len(times) == 1
    assert look(91, known, 3700) != known
    assert look(91, known, 5) != known, "after a boot"
    assert len(times) == 3
    assert look(80, known, 20) == {}
    assert largest.largest(None, known, 20, 90) == {}
