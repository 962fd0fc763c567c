"""This host's certificates: what it asks for, and what it takes."""

import grp
import io
import json
import os
import sys

import pytest
from certificates_made import APP, GROUP, HOST, NOW, Node, days
from pergola.certificates import cli, order
from pergola.errors import PergolaError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "HOME", tmp_path / "certificates")
    return tmp_path / "certificates"


@pytest.fixture
def node():
    return Node()


def contents(home):
    """All that is there, with its rights."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_gid)
        for path in home.glob("*")
    }


# -- asking ----------------------------------------------------------------------------------------


def test_what_it_has_not_is_asked_for(node):
    asked = node.ask()
    assert asked.why == {"host": "there is none yet", "linkboard": "there is none yet"}
    assert all("CERTIFICATE REQUEST" in text for text in asked.requests.values())
    assert "PRIVATE" not in str(asked)


def test_a_look_makes_nothing(node, home):
    asked = node.ask(only_look=True)
    assert (asked.changed, list(asked.why), asked.requests) == (True, ["host", "linkboard"], {})
    assert not home.exists()


def test_nothing_is_asked_for_again(node, home):
    node.bring()
    before = contents(home)
    for only_look in (True, False):
        asked = node.ask(only_look)
        assert (asked.changed, asked.why, asked.files) == (False, {}, [])
    assert contents(home) == before


def test_who_may_read_them(node, home):
    node.bring()
    mine, readers = os.getegid(), grp.getgrnam(GROUP).gr_gid
    rights = {name: (mode & 0o7777, gid) for name, (_, mode, gid) in contents(home).items()}
    assert rights == {
        "members.crt": (0o644, mine),
        "clients.crt": (0o644, mine),
        "host.crt": (0o644, mine),
        "host.key": (0o640, readers),
        "linkboard.crt": (0o644, mine),
        "linkboard.key": (0o640, readers),
    }
    assert home.stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(("left", "renewed"), [(91, False), (89, True)])
def test_it_is_renewed_within_90_days_of_its_end_and_its_key_is_kept(node, home, left, renewed):
    node.bring(now=NOW - days(730 - left))
    before = contents(home)
    asked = node.ask()
    assert asked.changed is renewed
    assert [text.split(" on ")[0] for text in asked.why.values()] == ["it ends"] * 2 * renewed
    node.take(**node.sign(asked.requests))
    after = contents(home)
    assert after["host.key"] == before["host.key"]
    assert (after["host.crt"] != before["host.crt"]) is renewed
    assert not node.ask().changed


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"addresses": ["127.0.0.2", "db1"]}, "it names "),
        ({"addresses": []}, "it names "),
        ({"common_name": "db2"}, "it is of CN=db1, and not of CN=db2"),
        ({"trust": "clients"}, "the authority of the clients does not stand for it"),
    ],
)
def test_one_that_says_something_else_is_asked_for_again(node, changed, says):
    node.bring()
    node.wanted[0] = {**HOST, **changed}
    asked = node.ask()
    assert list(asked.why) == ["host"]
    assert asked.why["host"].startswith(says)
    node.take(**node.sign(asked.requests))
    assert not node.ask().changed


@pytest.mark.parametrize("name", ["host.key", "host.crt"])
def test_a_lost_file_is_made_again(node, home, name):
    node.bring()
    (home / name).unlink()
    assert list(node.bring().requests) == ["host"]
    assert not node.ask().changed


def give_away(path):
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(path, 1, 2)


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o604), give_away])
@pytest.mark.parametrize("name", ["host.key", "host.crt", "members.crt"])
def test_changed_rights_are_put_back(node, home, name, change):
    node.bring()
    right = contents(home)
    change(home / name)
    asked = node.ask()
    assert (asked.changed, asked.why, asked.files) == (True, {}, [str(home / name)])
    assert node.take().written == [str(home / name)]
    assert contents(home) == right
    assert (home / name).stat().st_uid == os.geteuid()


def test_a_key_without_a_reader_is_refused_before_anything_is_made(node, home):
    node.wanted[1] = {**APP, "group": "nobody-of-that-name"}
    with pytest.raises(PergolaError, match="no account and no group nobody-of-that-name"):
        node.ask()
    assert not home.exists()


def test_a_file_that_is_no_key_is_named(node, home):
    node.bring()
    (home / "host.key").write_text("something else\n")
    with pytest.raises(PergolaError, match=r"host\.key is no private key"):
        node.ask()


def test_those_of_other_applications_stay(node, home):
    node.bring()
    before = contents(home)
    other = Node(text=node.text, wanted=[{**APP, "name": "notes", "common_name": "notes"}])
    other.bring()
    after = contents(home)
    assert after.keys() - before.keys() == {"notes.crt", "notes.key"}
    assert {name: after[name] for name in before} == before


# -- taking ----------------------------------------------------------------------------------------


def sent_wrong(node, requests):
    """What can be sent that is not this host's, by what is said of it."""
    stranger = Node("staging")
    swapped = {"host": requests["linkboard"]}
    yield "not of the key in", node.sign(swapped)
    yield "authority of the members does not", stranger.sign({"host": requests["host"]})
    yield "it is of CN=db2", node.sign(requests, host={**HOST, "common_name": "db2"})
    yield "it names", node.sign(requests, host={**HOST, "addresses": ["db1", "db2"]})
    yield (
        "authority of the members does not",
        node.sign(requests, host={**HOST, "trust": "clients"}),
    )
    yield "does not stand for it: certificate has expired", node.sign(requests, NOW - days(740))
    yield "does not stand for it: certificate is not yet valid", node.sign(requests, NOW + days(1))
    yield "it is no certificate", {"host": "something\n"}


@pytest.mark.parametrize("number", range(8))
def test_what_does_not_fit_is_refused_and_nothing_is_changed(node, home, number):
    asked = node.ask()
    signed = node.sign(asked.requests)
    says, wrong = list(sent_wrong(node, asked.requests))[number]
    before = contents(home)
    with pytest.raises(PergolaError, match=says):
        node.take(**{**signed, "host": wrong["host"]})
    assert contents(home) == before


def test_a_certificate_that_is_missing_or_that_nobody_wants_is_refused(node, home):
    requests = node.ask().requests
    signed, before = node.sign(requests), contents(home)
    with pytest.raises(PergolaError, match="linkboard is not taken: there is none yet"):
        node.take(host=signed["host"])
    with pytest.raises(PergolaError, match="not wanted: notes"):
        node.take(**signed, notes=signed["host"])
    assert contents(home) == before


# -- authorities -----------------------------------------------------------------------------------


def test_another_environments_authorities_are_refused(node, home):
    node.bring()
    before = contents(home)
    other = Node("staging")
    for attempt in (other.ask, lambda: other.ask(only_look=True), other.take):
        with pytest.raises(
            PergolaError,
            match=r"authorities of 'prod' \(Pergola members \w{8}\), .* are of 'staging' \(",
        ) as told:
            attempt()
        assert "certificates_file" in told.value.hint
    assert contents(home) == before


def test_they_are_replaced_when_somebody_says_so(node):
    node.bring()
    other = Node("staging")
    assert list(other.bring(replace=True).why) == ["host", "linkboard"]
    assert not other.ask().changed


def test_a_rotation_keeps_what_is_signed_valid_until_it_is_signed_again(node, home):
    node.bring()
    leaf, old = (home / "host.crt").read_text(), node.text
    new = Node().text

    node.text = old + new
    asked = node.ask()
    assert (asked.why, len(asked.files)) == ({}, 2)
    node.take()
    assert (home / "members.crt").read_text().count("BEGIN CERTIFICATE") == 2
    assert (home / "host.crt").read_text() == leaf

    node.text = new + old
    assert list(node.bring().why) == ["host", "linkboard"]
    assert (home / "host.crt").read_text() != leaf

    node.text = new
    asked = node.ask()
    assert (asked.why, len(asked.files)) == ({}, 2)
    node.take()
    assert not node.ask().changed


def test_both_have_authorities_of_their_own(home):
    """With the members' the clients' would be trusted for what members may do."""
    Node().bring()
    assert not order.fingerprints((home / "members.crt").read_text()) & order.fingerprints(
        (home / "clients.crt").read_text()
    )


# -- the command line ------------------------------------------------------------------------------


def call(monkeypatch, capsys, document, *words):
    monkeypatch.setattr(sys, "argv", ["pergola certificates", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(document)))
    return cli.main(), *capsys.readouterr()


def test_it_answers_with_one_line(node, monkeypatch, capsys):
    document = {"certificates": node.wanted, "authorities": node.authorities.bundles()}
    code, said, _ = call(monkeypatch, capsys, document, "request")
    assert (code, said.count("\n")) == (0, 1)
    signed = node.sign(json.loads(said)["requests"])
    code, said, _ = call(monkeypatch, capsys, {**document, "signed": signed}, "take")
    assert (code, json.loads(said)["changed"]) == (0, True)
    code, said, _ = call(monkeypatch, capsys, document, "request", "--only-look")
    assert (code, json.loads(said)["changed"]) == (0, False)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../host"},
        {"name": "members"},
        {"common_name": "db1/OU=members"},
        {"trust": "everybody"},
        {"addresses": ["db1,IP:10.0.0.9"]},
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(node, home, monkeypatch, capsys, changed):
    document = {"certificates": [{**HOST, **changed}], "authorities": node.authorities.bundles()}
    code, _, complained = call(monkeypatch, capsys, document, "request")
    assert (code, "cannot" in complained) == (1, True)
    assert not home.exists()
