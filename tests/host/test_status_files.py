"""The files of applications that are in no backup, as the status tells of them."""

import pytest
from pergola import notes
from pergola.status import files
from pergola.status.config import Site
from pergola.status.files import Files

MB = 10**6


def test_files_of_all_places_are_counted_and_no_link_is_followed(tmp_path):
    kept, elsewhere, more = (tmp_path / name for name in ("kept", "elsewhere", "more"))
    for folder in (kept / "a" / "b", elsewhere, more):
        folder.mkdir(parents=True)
    (kept / "one").write_bytes(b"x" * 10)
    (kept / "a/b/a\nname").write_bytes(b"x" * 5)
    (elsewhere / "of others").write_bytes(b"x" * 1000)
    (kept / "link").symlink_to(elsewhere / "of others")
    (kept / "folder").symlink_to(elsewhere)
    (more / "two").write_bytes(b"x")
    places = [str(kept), str(more), str(tmp_path / "not there")]
    found = files.seen([Site("probe", files=places)], 60)
    assert found == {"probe": Files(places, 3, 16, True)}


def test_what_cannot_be_counted_in_time_is_said_to_be_more(tmp_path):
    (tmp_path / "one").write_text("x")
    found = files.counted([str(tmp_path)], 0)
    assert not found.whole
    assert files.words(found).startswith("more files in ")


def test_settings_of_an_earlier_pergola_name_no_place():
    found = files.seen([Site("an-app-that-is-not-here", "example.org")])
    assert found["an-app-that-is-not-here"].places == ["/var/lib/an-app-that-is-not-here"]
    assert files.words(found["an-app-that-is-not-here"]) == ""


@pytest.mark.parametrize(
    ("count", "size", "whole", "said"),
    [
        (0, 0, True, ""),
        (1, 2000, True, "1 file in /var/lib/probe (2.0 kB) is in no backup"),
        (3, 3 * MB, True, "3 files in /var/lib/probe (3.0 MB) are in no backup"),
        (
            90_000,
            MB,
            False,
            "more files in /var/lib/probe than can be counted here (over 90000, 1.0 MB) "
            "are in no backup",
        ),
    ],
)
def test_it_is_said_in_a_few_words(count, size, whole, said):
    assert files.words(Files(["/var/lib/probe"], count, size, whole)) == said


@pytest.mark.parametrize("backed_up", [False, True])
def test_what_the_backups_have_is_not_told_of(tmp_path, monkeypatch, backed_up):
    """The timer's link is there where role backup has enabled it, and only there."""
    timer = tmp_path / "pergola-backup-files.timer"
    monkeypatch.setattr(notes, "FILES_TIMER", timer)
    if backed_up:
        timer.symlink_to("/etc/systemd/system/pergola-backup-files.timer")
    shared = ["/srv/probe/shared"]
    site = Site("probe", files=[*shared, "/var/lib/probe", "/srv/other/shared"])
    wanted = ["/var/lib/probe", "/srv/other/shared"]
    assert files.places(site) == (wanted if backed_up else [*shared, *wanted])
    assert files.counted([], 1) == Files([], 0, 0, True)
