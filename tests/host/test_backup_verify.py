"""What `pgbackrest verify` printed, recorded from 2.45 and 2.55.1, is understood."""

import pytest
from pergola.backup.verify import Verified

BEGIN = "P00   INFO: verify command begin 2.55.1: --output=text --stanza=web1 --verbose\n"
END = "P00   INFO: verify command end: completed successfully\n"
RANGE = """\
P00 DETAIL: archiveId: 17-1, wal start: 000000010000000000000006, wal stop: 00000001000000000000000B
"""
COUNTS = "missing: 0, checksum invalid: {}, size invalid: 0, other: 0"


def report(status: str, invalid: int = 0) -> str:
    """The report as it comes twice: through the log, indented, and by itself."""
    lines = [
        "stanza: web1",
        f"status: {status}",
        "  archiveId: 17-1, total WAL checked: 6, total valid WAL: 6",
        "    " + COUNTS.format(0),
        f"  backup: 20261124-191436F, status: {'invalid' if invalid else 'valid'}, "
        f"total files checked: 1262, total valid files: {1262 - invalid}",
        "    " + COUNTS.format(invalid),
    ]
    logged = "\n".join([f"P00   INFO: {lines[0]}", *(" " * 12 + line for line in lines[1:])])
    return f"{logged}\n" + "\n".join(lines) + "\n"


def test_a_repository_in_order():
    found = Verified.of(BEGIN + RANGE + report("ok") + END)
    assert found == Verified(ok=True, checked=1268)


@pytest.mark.parametrize(
    ("line", "damage"),
    [
        (
            "P01   INFO: invalid checksum '20261124-191436F/bundle/2'",
            "20261124-191436F/bundle/2: invalid checksum",
        ),
        (
            "P02   INFO: invalid checksum '20261124-191634F/pg_data/base/1/13401_fsm.zst'",
            "20261124-191634F/pg_data/base/1/13401_fsm.zst: invalid checksum",
        ),
        (
            "P01   INFO: invalid checksum '17-1/0000000100000000/0000000100000000000000"
            "06-9fdf3c8206f7a01ebf603b280882e4806e3e0950.zst'",
            "17-1/0000000100000000/000000010000000000000006-9fdf3c8206f7a01ebf603b280882e4806e3e0950"
            ".zst: invalid checksum",
        ),
        (
            "P02   INFO: file missing '20261124-191436F/bundle/2'",
            "20261124-191436F/bundle/2: file missing",
        ),
        (
            "P02   INFO: invalid result 17-1/0000000100000000/000000010000000000000009-78.zst: "
            "[29] raised from local-2 protocol: zst error: [-20] Data corruption detected\n"
            "                [FormatError] on 2 retries from 23-15024ms: zst error: [-20]",
            "17-1/0000000100000000/000000010000000000000009-78.zst: [29] "
            "raised from local-2 protocol: zst error: [-20] Data corruption detected",
        ),
    ],
)
def test_a_damaged_file_is_named(line, damage):
    found = Verified.of(BEGIN + f"{line}\n" * 3 + RANGE + report("error", 1) + END)
    assert not found.ok
    assert found.damage == [damage]


def test_an_index_that_cannot_be_read_is_damage():
    text = "stanza: web1\nstatus: error\n  No usable backup.info file\n"
    logged = "P00   INFO: stanza: web1\n            status: error\n" + " " * 14 + text[-28:]
    found = Verified.of(BEGIN + logged + text + END)
    assert not found.ok
    assert found.damage == ["No usable backup.info file"]


def test_damage_without_a_status_is_damage():
    """What older versions print without --output=text."""
    line = "P01   INFO: invalid checksum '20261124-191436F/bundle/2'\n"
    assert not Verified.of(line + report("ok")).ok


def test_silence_is_no_proof():
    assert not Verified.of("").ok
    assert not Verified.of(BEGIN + RANGE + END).ok


def test_missing_wal_is_seen_though_pgbackrest_says_ok():
    ranges = (
        "P00 DETAIL: archiveId: 15-1, wal start: 000000010000000000000001, "
        "wal stop: 000000010000000000000005\n"
        "P00 DETAIL: archiveId: 15-1, wal start: 000000010000000000000007, "
        "wal stop: 000000010000000000000008\n"
    )
    found = Verified.of(BEGIN + ranges + report("ok") + END)
    assert found.ok
    assert found.gaps == [("000000010000000000000005", "000000010000000000000007")]


def test_a_new_timeline_or_another_cluster_is_no_gap():
    other = RANGE.replace("0000000100000000", "0000000200000000")
    cluster = RANGE.replace("17-1", "18-2")
    assert Verified.of(RANGE + other + cluster + report("ok")).gaps == []
