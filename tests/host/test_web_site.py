"""What Caddy and the name servers know of a site already."""

import datetime
import json
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pergola import paths
from pergola.web import site
from pergola.web.site import Site

DOMAIN = "notes.example.org"
PUBLIC = f"{DOMAIN} {{\n\trespond ok\n}}\n"
INTERNAL = f"{DOMAIN}, http://{DOMAIN} {{\n\ttls internal\n}}\n"


@pytest.fixture
def sites(tmp_path, monkeypatch):
    """Caddy's folder, and its certificates, of which there are none."""
    monkeypatch.setattr(site, "FOLDER", tmp_path)
    monkeypatch.setattr(site, "STORE", tmp_path / "caddy/certificates")
    monkeypatch.setattr(site, "ACCOUNT", "")
    return tmp_path


def certificate(sites, authority, days):
    """A certificate of the domain in Caddy's store, valid for so many days."""
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, DOMAIN)])
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=90))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path = sites / "caddy/certificates" / authority / DOMAIN / f"{DOMAIN}.crt"
    path.parent.mkdir(parents=True)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize(
    ("written", "public"),
    [
        (PUBLIC, True),
        (PUBLIC.replace(" {", ", www.example.org {"), True),
        (INTERNAL, False),
        (PUBLIC.replace("respond ok", "tls /etc/caddy/notes/certificate.pem key.pem"), False),
        (PUBLIC.replace(DOMAIN, f"more.{DOMAIN}"), False),
        (PUBLIC.replace(DOMAIN, f"{DOMAIN}.more"), False),
        (PUBLIC.replace(DOMAIN, "notes-example.org"), False),
    ],
)
def test_what_an_earlier_run_gave_to_the_authority_is_public(sites, written, public):
    assert not site.was_public("notes", DOMAIN)
    (sites / "notes.caddy").write_text(written)
    assert site.was_public("notes", DOMAIN) is public
    assert not site.was_public("shop", DOMAIN), "of another site"


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl here")
@pytest.mark.parametrize(
    ("authority", "days", "has"),
    [
        ("acme-v02.api.letsencrypt.org-directory", 30, True),
        ("acme-v02.api.letsencrypt.org-directory", -1, False),
        ("local", 30, False),  # Caddy's own, which no browser trusts
    ],
)
def test_a_valid_certificate_of_the_authority_makes_a_site_public(sites, authority, days, has):
    assert not site.has_certificate(DOMAIN)
    certificate(sites, authority, days)
    assert site.has_certificate(DOMAIN) is has
    assert not site.has_certificate("shop.example.org")


@pytest.fixture
def host(sites, monkeypatch):
    """A host with these addresses whose resolver knows the domain."""
    answers = {"caddy version": "v2.7.6 h1:abc=\n", "hostname -I": "192.0.2.10 2001:db8::10 \n"}

    def attempt(*words, **_):
        if (says := answers.get(" ".join(map(str, words)))) is None:
            raise FileNotFoundError(words[0])
        return subprocess.CompletedProcess(words, 0, says, "")

    def getaddrinfo(name, *_, **__):
        if name != DOMAIN:
            raise OSError("no such name")
        return [(0, 0, 0, "", (one, 443)) for one in ("192.0.2.10", "192.0.2.10", "2001:db8::10")]

    monkeypatch.setattr(site, "attempt", attempt)
    monkeypatch.setattr(site.socket, "getaddrinfo", getaddrinfo)
    return answers


def test_a_host_is_asked_for_its_caddy_its_addresses_and_where_the_domain_leads(host):
    own = ["192.0.2.10", "2001:db8::10"]
    assert site.look("notes", DOMAIN) == Site("2.7.6", own, own, is_public=False)


def test_a_bare_host_has_no_caddy_and_a_name_may_lead_nowhere(host):
    del host["caddy version"]
    found = site.look("notes", "new.example.org")
    assert (found.version, found.leads_to) == ("", [])


def test_what_another_site_answers_to_is_told_as_caddy_reads_it(sites, monkeypatch):
    read = []

    def attempt(*words, **_):
        read.append(words[-1].name)
        text = json.dumps({"match": [{"host": words[-1].read_text().split()}]})
        return subprocess.CompletedProcess(words, 0, text.replace(": [", ":["), "")

    monkeypatch.setattr(site, "attempt", attempt)
    (sites / "shop.caddy").write_text(f"shop.example.org {DOMAIN}")
    (sites / "blog.caddy").write_text(f"old-{DOMAIN}")
    (sites / "wiki.caddy").write_text("wiki.example.org")
    (sites / "notes.caddy").write_text(DOMAIN)
    (said,) = site.taken("notes", [DOMAIN, "example.net"])
    assert said == (
        f"{sites}/shop.caddy answers to {DOMAIN} already: choose another app_domain, "
        "app_domain_aliases or app_redirected_domains, or take it out of that site"
    )
    assert read == ["blog.caddy", "shop.caddy"], "the others do not say any of the names"
    assert site.taken("shop", ["shop.example.org"]) == []


SITE = "notes.test {\n\timport /etc/caddy/paths/notes.test/*.caddy\n}\n"


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Caddy's folder, with the site of notes and wiki at /api of it."""
    monkeypatch.setattr(site, "FOLDER", tmp_path)
    monkeypatch.setattr(paths, "FOLDER", tmp_path)
    monkeypatch.setattr(site, "names", lambda path, wanted: wanted if path.stem == "old" else set())
    (tmp_path / "notes.caddy").write_text(SITE)
    (tmp_path / "old.caddy").write_text("old.test {\n}\n")
    (tmp_path / "paths/notes.test").mkdir(parents=True)
    wiki = tmp_path / "paths/notes.test/995-wiki.caddy"
    wiki.write_text("# Managed\n@wiki4 path /api /api/*\nhandle @wiki4 {\n}\n")
    return tmp_path


def test_a_path_has_one_application_and_its_domain_another(shared):
    assert site.path_wrong("wiki", "notes.test", "/api") == ""
    assert site.path_wrong("shop", "notes.test", "/shop") == ""
    assert "wiki answers notes.test/api already" in site.path_wrong("shop", "notes.test", "/api")
    assert "run deploy.yml with its inventory first" in site.path_wrong("shop", "old.test", "/a")
    (shared / "old.caddy").unlink()
    assert "no application of this server has old.test" in site.path_wrong("shop", "old.test", "/a")


def test_an_application_s_answers_stand_in_the_log_of_whose_site_it_is_part_of(shared):
    assert paths.log_owner("wiki") == "notes"
    assert paths.log_owner("notes") == "notes"
    assert paths.of_domain("notes.test") == {"/api": "wiki"}
    (shared / "notes.caddy").unlink()
    assert paths.log_owner("wiki") == "wiki"


def test_a_path_that_it_answers_no_more_is_taken_out(shared):
    now = shared / "paths/notes.test/994-wiki.caddy"
    now.touch()
    (shared / "paths/notes.test/994-my-wiki.caddy").touch()
    site.forget_others("wiki", has_site=False, path_file=str(now))
    assert sorted(path.name for path in now.parent.iterdir()) == [
        "994-my-wiki.caddy",
        "994-wiki.caddy",
    ]
    assert (shared / "notes.caddy").exists()
    site.forget_others("wiki", has_site=True, path_file="")
    assert not now.exists()
