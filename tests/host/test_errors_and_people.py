"""What people read: errors, lengths of time, sizes, moments."""

import errno
import os

import pytest
from pergola import errors, people
from pergola.errors import PergolaError

NOW = 1796000000.0  # 2026-11-30 00:53:20 UTC


def test_an_error_answers_the_questions_in_their_order():
    error = PergolaError("it broke", "a line\n", live="r1 in slot blue", hint="run it again")
    assert str(error) == "it broke\na line\nlive now: r1 in slot blue\nnext: run it again"
    assert str(PergolaError("it broke")) == "it broke"


def test_whoever_called_tells_it_in_their_words_and_the_evidence_stays():
    error = PergolaError("it broke", "a line", hint="look").but("nothing was begun", "all of it")
    assert str(error) == "nothing was begun: it broke\na line\nlive now: all of it\nnext: look"


def test_a_full_disk_is_told_with_what_makes_room():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/x")
    assert str(errors.of_system(full)).startswith("/var/lib/x: No space left on device\nnext: make")
    assert str(errors.of_system(OSError(errno.EACCES, "no", "/x"))) == "/x: no"


@pytest.mark.parametrize(
    ("text", "count"), [("90", 90), ("90s", 90), (" 10m", 600), ("2h", 7200), ("1d", 86400)]
)
def test_a_length_of_time_is_read_as_it_is_written(text, count):
    assert people.seconds(text) == count


@pytest.mark.parametrize("text", ["", "0", "-5", "5 minutes", "1.5h", "m"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(PergolaError, match="is not a length of time") as refused:
        people.seconds(text)
    assert "90s" in refused.value.hint


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 seconds"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7200, "2 hours"),
        (2e5, "2 days"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_sensible_unit(count, text):
    assert people.duration(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (1_500_000, "1.5 MB"),
        (2_000_000_000, "2.0 GB"),
        (3e15, "3000.0 TB"),
    ],
)
def test_bytes_are_said_as_people_say_them(count, text):
    assert people.size(count) == text


def test_a_moment_goes_there_and_back():
    assert people.stamp(NOW) == "2026-11-30 00:53:20+00"
    assert people.moment_of(people.iso(NOW), NOW) == NOW
    assert people.moment_of(people.stamp(NOW), NOW) == NOW


@pytest.mark.parametrize(("text", "before"), [("-15m", 900), ("-2h", 7200), ("-1d", 86400)])
def test_a_moment_may_count_from_now(text, before):
    assert people.moment_of(text, NOW) == NOW - before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "is not a time"),
        ("2026-11-29", "is a whole day"),
        ("2026-11-29T10:00:00", "time zone"),
        ("2026-12-24T18:00:00Z", "lies in the future"),
    ],
)
def test_what_is_not_one_moment_is_refused(text, why):
    with pytest.raises(PergolaError, match=why):
        people.moment_of(text, NOW)


def test_only_the_last_lines_are_evidence():
    assert people.last_lines("a\nb\nc\n", 2) == "b\nc"


def test_whoever_has_gone_does_not_stop_what_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(people.syslog, "syslog", said.append)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    people.say("one\ntwo")
    assert said == ["one", "two"]
