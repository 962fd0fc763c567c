"""Answers of hosts are compared with their form before other hosts use them (filter said)."""

import importlib.util
import json
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

PLUGIN = Path(__file__).parents[2] / "plugins/filter/said.py"
spec = importlib.util.spec_from_file_location("said", PLUGIN)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)

LINES = "\n".join(["A" * 64] * 8 + ["QUJD=="])
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{LINES}\n-----END CERTIFICATE-----\n"
PEER = {
    "changed": False,
    "name": "web1.example.org",
    "certificate": CERTIFICATE,
    "pgbackrest": "2.55.1",
    "version": 17,
}
RELEASE = {"id": "0123456789ab-178a8a36", "commit": "0" * 40, "from": None}


def test_a_healthy_hosts_answer_is_taken_without_what_nobody_asked_for():
    found = plugin.said(json.dumps(PEER | {"more": "x"}), "backup_peer", "web1")
    assert found == {name: value for name, value in PEER.items() if name != "changed"}
    assert plugin.said(RELEASE, "release", "app1")["from"] == ""
    assert plugin.said(PEER | {"version": 0}, "backup_peer", "vault1")["version"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../../x"),
        ("name", "web1]\n[global]"),
        ("name", "web1\n"),
        ("name", "{{ lookup('pipe', 'id') }}"),
        ("name", ["web1"]),
        ("name", "-x"),
        ("name", "w" * 64),
        ("name", "web1=*\ntls-server-auth=web2"),
        ("name", "*"),
        ("name", ""),
        ("version", "17/../../../tmp"),
        ("version", "17\npg1-user=x"),
        ("version", True),
        ("pgbackrest", "2.55\x1b[2J"),
        ("certificate", CERTIFICATE * 2),
        ("certificate", f"{CERTIFICATE}\nmore"),
        ("certificate", f"text\n{CERTIFICATE}"),
        ("certificate", CERTIFICATE.replace("CERTIFICATE", "PRIVATE KEY")),
        ("certificate", ""),
        ("certificate", None),
    ],
)
def test_a_value_without_its_form_is_refused_by_name(name, value):
    with pytest.raises(AnsibleFilterError, match=f"web1 answered .*{name}") as refused:
        plugin.said(json.dumps(PEER | {name: value}), "backup_peer", "web1")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", ["", "[]", "null", "no JSON", '"web1"'])
def test_what_is_no_dictionary_is_refused(text):
    with pytest.raises(AnsibleFilterError, match="web1 answered"):
        plugin.said(text, "backup_peer", "web1")


def test_what_the_control_node_knows_must_be_answered():
    asked = {"id": RELEASE["id"], "commit": "0" * 40}
    assert plugin.said(RELEASE, "release", "app2", **asked)
    with pytest.raises(AnsibleFilterError, match=r"app2 answered .* commit must be 0000"):
        plugin.said(RELEASE | {"commit": "1" * 40}, "release", "app2", **asked)


def test_one_bad_answer_among_several_is_refused():
    answers = {"web1": json.dumps(PEER), "web2": json.dumps(PEER | {"name": "../../x"})}
    assert (
        plugin.said_each({"web1": answers["web1"]}, "backup_peer")["web1"]["name"]
        == "web1.example.org"
    )
    with pytest.raises(AnsibleFilterError, match=r"web2 answered .*name"):
        plugin.said_each(answers, "backup_peer")
