"""WAL that the archive lacks, without a server: what lies behind it is refused beforehand."""

import math

import pytest
from pergola.backup.gaps import Gap, first_gap, number_of, seen
from pergola.backup.points import segment_in
from pergola.backup.targets import Target
from pergola.errors import PergolaError

MB = 1 << 20


def archived(*places, timeline=1, files_in_log=256):
    """Segments by their places, each archived at the second of its place."""
    found = []
    for place in places:
        log, segment = divmod(place, files_in_log)
        found.append((f"{timeline:08X}{log:08X}{segment:08X}", float(place)))
    return found


def gap_in(files, start=4, way=None, megabytes=16):
    name = f"00000001{0:08X}{start:08X}"
    return first_gap(files, name, way, megabytes * MB)


def test_an_archive_without_a_gap_has_none():
    assert gap_in(archived(4, 5, 6)) is None
    assert gap_in(archived(*range(4, 600))) is None


def test_files_of_another_size_have_other_numbers():
    files = archived(*range(4, 200), files_in_log=64)
    assert gap_in(files, megabytes=64) is None
    assert number_of("000000010000000100000000", 64 * MB) == 64


def test_the_first_gap_after_a_backup_counts():
    assert gap_in(archived(1, 4, 5, 8, 9, 11)) == Gap(6, 7, 5.0, 16 * MB)
    assert gap_in(archived(1, 4, 5, 8, 9, 11), start=8) == Gap(10, 10, 9.0, 16 * MB)
    # What comes last has not been archived yet.
    assert gap_in(archived(4, 5)) is None


def test_another_timelines_files_close_no_gap():
    files = archived(4, 5, 8) + archived(6, 7, timeline=2)
    assert gap_in(files, way={1: math.inf}) == Gap(6, 7, 5.0, 16 * MB)
    assert gap_in(files, way={1: 9 * 16.0 * MB, 2: math.inf}) is None


def test_what_was_written_before_a_restore_makes_none():
    files = archived(4, 5, 6, 8, 9) + archived(5, 6, timeline=2)
    assert gap_in(files, way={1: 5.5 * 16 * MB, 2: math.inf}) is None
    assert gap_in(files) is None  # nobody knows which of the two is meant


@pytest.mark.parametrize(
    "target",
    [Target("time", "", "that moment", 6.5), Target("lsn", "0/6000028", "that point")],
    ids=["time", "lsn"],
)
def test_what_lies_behind_a_gap_is_refused(target):
    with pytest.raises(PergolaError, match="cannot be reached: 2 WAL files"):
        seen(Gap(6, 7, 5.0, 16 * MB), target)


@pytest.mark.parametrize(
    "target",
    [Target("time", "", "that moment", 5.9), Target("lsn", "0/5FFFFFF", "that point")],
    ids=["time", "lsn"],
)
def test_what_lies_before_it_or_may_is_not(target):
    assert seen(Gap(6, 7, 5.0, 16 * MB), target) == []


def test_the_latest_state_is_said_to_end_there():
    remarks = seen(Gap(6, 7, 5.0, 16 * MB), Target("default", "", "the latest state"))
    assert remarks[0].startswith("this ends at 1970-01-01 00:00:05+00: 2 WAL files")
    assert seen(None, Target("default", "", "the latest state")) == []


def test_a_file_that_is_not_written_to_its_end_fills_no_gap():
    file = "17-1/0000000100000000/000000010000000000000004-" + "0a" * 20
    assert segment_in(file + ".zst") == "000000010000000000000004"
    assert segment_in(file) == "000000010000000000000004"
    assert segment_in(file + ".zst.pgbackrest.tmp") == ""
    assert segment_in(file + ".pgbackrest.tmp") == ""
    assert segment_in("17-1/0000000100000000") == ""
