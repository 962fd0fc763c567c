"""What a run says of a site that its visitors cannot open."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location(
    "visit_troubles", ROOT / "roles/visit/filter_plugins/visit_troubles.py"
)
module = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(module)

FAILED = "Status code was -1 and not [200]: Request failed: <urlopen error {}>"
OPENSSL = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer"


@pytest.fixture
def known(monkeypatch):
    """The addresses that names have."""
    found = {"shop.example.org": ["192.0.2.7"], "web1": ["192.0.2.7"]}
    monkeypatch.setattr(module, "addresses_of", lambda name: found.get(name, []))
    return found


def said(*answers):
    places = ["from here", "from web1"]
    return module.visit_troubles("shop.example.org", dict(zip(places, answers)), "web1")  # noqa: B905


def failed(words):
    return {"status": -1, "msg": FAILED.format(words)}


@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_site_that_answers_is_no_news(known, status):
    assert said({"status": status}, {"skipped": True}) == ""


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (failed("[Errno -2] Name or service not known"), "DNS: shop.example.org has no address"),
        (
            failed("[Errno -3] Temporary failure in name resolution"),
            "A or AAAA record of 192.0.2.7",
        ),
        (failed("timed out"), "firewall: nothing comes back from port 443 of 192.0.2.7"),
        (failed("[Errno 113] No route to host"), "(security group)"),
        (failed("[Errno 111] Connection refused"), "nothing listens on port 443 of 192.0.2.7"),
        (
            failed(OPENSSL),
            "certificate: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
        ),
        ({"status": 502, "msg": "HTTP Error 502: Bad Gateway"}, "502: the application fails"),
        ({"status": 503, "msg": ""}, "the maintenance page"),
        ({"status": -1, "msg": "Something else"}, "Something else"),
        ({"status": -1}, "no answer"),
    ],
)
def test_what_does_not_answer_is_said_with_its_likely_cause(known, answer, cause):
    text = said(answer, {"status": 200})
    assert text.startswith("https://shop.example.org/, opened from here: ")
    assert cause in text
    assert "shop.example.org leads to" not in text


def test_a_name_that_leads_elsewhere_is_said_beside_what_answers_there(known):
    known["shop.example.org"] = ["198.51.100.9"]
    text = said(failed("[Errno 111] Connection refused"))
    assert "shop.example.org leads to 198.51.100.9, and the server is 192.0.2.7" in text


def test_the_same_trouble_of_both_places_is_said_once(known):
    text = said(failed("timed out"), failed("timed out"))
    assert text.count("firewall: nothing") == 1
    assert "opened from here and from web1:" in text


@pytest.mark.parametrize(
    ("domain", "addresses", "asked"),
    [
        ("shop.example.org", [], True),
        ("linkboard.localhost", ["127.0.0.1"], False),
        ("shop.internal", [], False),
        ("shop.internal", ["10.1.2.3"], True),
        ("testing.org", [], True),
    ],
)
def test_a_name_for_use_at_home_is_asked_where_it_is_known(monkeypatch, domain, addresses, asked):
    monkeypatch.setattr(module, "addresses_of", lambda _: addresses)
    assert module.visit_asked(domain) is asked


@pytest.fixture
def nobody():
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_ansibles_own_words_are_understood(nobody, tmp_path):
    """The messages above, as this Ansible has them."""
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible"), "localhost", "-m", "ansible.builtin.uri"),
            *("-a", f"url=https://127.0.0.1:{nobody}/ timeout=5", "-o"),
        ],
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "oneline", "ANSIBLE_NOCOLOR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert module.trouble("x.org", answer, [], []) == "nothing listens on port 443 of x.org"
