"""Documents: typed, with a number, and read back by an older or a newer Pergola."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import pytest
from pergola.documents import Form, Json, NewerError, answer, parsed
from pergola.errors import PergolaError


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Whole:
    name: str
    state: Literal["on", "off"] = "off"
    seconds: float = 0
    limit: int | None = None
    parts: list[Part] = dataclasses.field(default_factory=list)
    units: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    more: Json = dataclasses.field(default_factory=dict)


WHOLE = Form(Whole)
FULL = Whole("a", "on", 1.5, 3, [Part("b", 2)], {"app": ("x", "y")}, {"any": [1, None]})


def test_a_document_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "made/whole.json"
    WHOLE.write(path, FULL, 0o600)
    assert WHOLE.read(path) == FULL
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["format"] == 1


def test_a_document_that_is_not_there_is_none(tmp_path):
    assert WHOLE.read(tmp_path / "whole.json") is None


def test_what_a_form_did_not_have_gets_its_default_and_what_is_unknown_is_passed_over():
    assert WHOLE.parse('{"name": "a", "unknown": 1, "parts": [{"name": "b"}]}', "x") == Whole(
        "a", parts=[Part("b")]
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "a", "state": "o', "cannot be read"),
        ('["a"]', "it is not a JSON object"),
        ("{}", "it lacks name"),
        ('{"name": 1}', "name cannot be read: str is wanted, and it is 1"),
        ('{"name": "a", "limit": "3"}', "limit cannot be read"),
        ('{"name": "a", "limit": true}', "limit cannot be read"),
        ('{"name": "a", "state": "maybe"}', "state cannot be read"),
        ('{"name": "a", "parts": [{"name": "b"}, {}]}', r"parts\[1\] cannot be read: it lacks"),
        ('{"name": "a", "units": {"app": [1]}}', r"units.app\[0\] cannot be read"),
        ('{"name": "a", "format": "1"}', "its format is '1'"),
    ],
)
def test_what_is_no_such_document_is_refused_with_its_place(text, why, tmp_path):
    (tmp_path / "whole.json").write_text(text)
    with pytest.raises(PergolaError, match=why) as refused:
        WHOLE.read(tmp_path / "whole.json")
    assert refused.value.reason.startswith(str(tmp_path / "whole.json"))


@dataclasses.dataclass(frozen=True)
class Flat:
    file: Path
    more: Json = dataclasses.field(default_factory=dict)


def test_what_a_dataclass_does_not_know_may_stand_beside_the_rest_and_paths_are_text(tmp_path):
    form, value = Form(Flat, rest="more"), Flat(Path("/a"), {"b": 1})
    assert json.loads(form.text(value)) == {"format": 1, "file": "/a", "b": 1}
    assert form.parse(form.text(value), "x") == value
    assert form.parse('{"file": "/a"}', "x") == Flat(Path("/a"))


def test_a_newer_form_is_refused_by_name(tmp_path):
    (tmp_path / "whole.json").write_text('{"name": "a", "format": 2}')
    with pytest.raises(NewerError, match=r"whole.json was made by a newer Pergola \(format 2") as e:
        WHOLE.read(tmp_path / "whole.json")
    assert "git pull" in e.value.hint


def test_an_older_form_is_brought_to_the_present_one_step_by_step():
    form = Form(
        Part,
        number=2,
        older={
            0: lambda found: {**found, "name": found["called"]},
            1: lambda found: {**found, "count": 7},
        },
        unnumbered=0,
    )
    assert form.parse('{"called": "a"}', "x") == Part("a", 7)
    assert form.parse('{"name": "a", "format": 1}', "x") == Part("a", 7)
    assert form.parse('{"name": "a", "count": 8, "format": 2}', "x") == Part("a", 8)


PART = Form(Part)


@dataclasses.dataclass(frozen=True)
class Switch:
    on: bool = False
    says: str = "nothing"
    limit: int | None = 3
    more: object = 0


def test_what_yaml_says_nothing_of_is_as_if_it_were_not_there():
    text = '{"on": null, "says": null, "limit": null, "more": null}'
    assert Form(Switch).parse(text, "x") == Switch(limit=None, more=None)
    with pytest.raises(PergolaError, match="name cannot be read: str is wanted"):
        PART.parse('{"name": null}', "x")


@pytest.mark.parametrize(("text", "on"), [("yes", True), ("True", True), ("false", False)])
def test_a_text_that_ansible_takes_for_a_truth_is_one(text, on):
    assert Form(Switch).parse(json.dumps({"on": text}), "x").on is on
    with pytest.raises(PergolaError, match="bool is wanted"):
        Form(Switch).parse('{"on": "perhaps"}', "x")


def test_lines_are_read_in_their_order(tmp_path):
    path = tmp_path / "made/parts.jsonl"
    assert PART.lines(path) == []
    for number in range(3):
        PART.add(path, Part("a", number))
    assert [part.count for part in PART.lines(path)] == [0, 1, 2]


@pytest.mark.parametrize("cut", ['{"name": "b", "cou', "", '{"name": "b", "count": 3}'])
def test_a_line_cut_off_by_a_power_loss_never_came_into_force_and_hides_no_other(tmp_path, cut):
    path = tmp_path / "parts.jsonl"
    PART.add(path, Part("a"))
    with path.open("a") as file:
        file.write(cut)
    assert PART.lines(path) == [Part("a")]
    PART.add(path, Part("c"))
    assert PART.lines(path) == [Part("a"), Part("c")]


def test_another_line_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "parts.jsonl"
    path.write_text('{"name": "a"}\n{"name": \n{"name": "c"}\n')
    with pytest.raises(PergolaError, match=r"line 2 of .*parts.jsonl cannot be read") as refused:
        PART.lines(path)
    assert refused.value.evidence.strip() == '{"name":'
    assert [part.name for part in PART.lines(path, forgiving=True)] == ["a", "c"]


def test_a_newer_line_is_refused_even_by_the_forgiving(tmp_path):
    path = tmp_path / "parts.jsonl"
    path.write_text('{"name": "a", "format": 9}\n')
    with pytest.raises(NewerError, match="line 1 of"):
        PART.lines(path, forgiving=True)


@dataclasses.dataclass(frozen=True)
class Short:
    to: str
    from_: str | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    schema: tuple[str | None, str | None] | None = None


SHORT = Form(Short, sparse=("seconds", "schema"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Short("r1"), '{"format": 1, "to": "r1", "from": null}'),
        (Short("r1", "r0"), '{"format": 1, "to": "r1", "from": "r0"}'),
        (
            Short("r1", "r0", {"gate": 1.5}, (None, "2")),
            '{"format": 1, "to": "r1", "from": "r0", "seconds": {"gate": 1.5}, '
            '"schema": [null, "2"]}',
        ),
    ],
)
def test_what_says_nothing_may_be_left_out_and_a_word_of_pythons_is_a_name(value, text):
    assert SHORT.text(value) == text + "\n"
    assert SHORT.parse(text, "x") == value
    assert SHORT.known(SHORT.json(value), "x") == value


def test_an_answer_is_one_line():
    assert answer(Part("a\nb")) == '{"name": "a\\nb", "count": 1}'
    assert answer({"changed": False}) == '{"changed": false}'


def test_a_tuple_of_several_types_has_as_many_values():
    assert parsed('[["/", 7], ["/srv", 8]]', list[tuple[str, int]], "sizes") == [
        ("/", 7),
        ("/srv", 8),
    ]
    assert parsed('["a", "b", "c"]', tuple[str, ...], "names") == ("a", "b", "c")
    for wrong in ('["/"]', '["/", 7, 8]', '["/", "7"]'):
        with pytest.raises(PergolaError, match="cannot be read"):
            parsed(wrong, tuple[str, int], "a size")
