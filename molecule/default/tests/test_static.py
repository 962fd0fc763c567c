"""Static files, which Caddy serves from disk while releases come and go."""

import gzip
import hashlib
import http.client
import re
import socket
import ssl

import pytest
import scenario

testinfra_hosts = ["ansible://web1"]

FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def assets(site):
    """The static files that the sign-in page asks for."""
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', site.get("/login").text)
    assert len(found) == 3, found
    return found


def raw(site, path, **headers):
    """GET a path as it stands: httpx would resolve dots first. Returns (status, body)."""
    trust = ssl.create_default_context(cafile=str(scenario.AUTHORITY))
    connection = http.client.HTTPConnection(site.server, timeout=10)
    connection.sock = trust.wrap_socket(
        socket.create_connection((site.server, 443), 10), server_hostname=site.name
    )
    try:
        connection.request("GET", path, headers={"Host": site.name, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_assets_of_a_page_are_served_without_the_application(site, assets):
    for path in assets:
        answer = site.get(path)
        assert answer.status_code == 200, path
        assert "x-release" not in answer.headers, f"{path} came from the application"
        assert answer.headers["content-type"].startswith(
            ("text/css", "text/javascript", "application/javascript")
        )


def on_disk(host, pattern):
    """SHA-256 of files in the assets, by name."""
    sums = host.check_output(f"cd /srv/linkboard/assets && sha256sum {pattern}").splitlines()
    return {name: digest for digest, name in (line.split() for line in sums)}


def test_assets_are_the_files_on_disk(host, site, assets):
    digests = on_disk(host, "*[!z]")
    for path in assets:
        content = site.get(path, headers={"Accept-Encoding": "identity"}).content
        assert hashlib.sha256(content).hexdigest() == digests[path.removeprefix("/static/")]


def test_assets_that_carry_their_contents_hash_are_kept_for_ever(site, assets):
    for path in assets:
        assert site.get(path).headers["cache-control"] == FOR_EVER, path


@pytest.fixture
def plain_name(host):
    """An asset whose name says nothing about its content."""
    host.check_output("echo plain > /srv/linkboard/assets/robots.txt")
    yield "/static/robots.txt"
    host.check_output("rm /srv/linkboard/assets/robots.txt")


def test_assets_with_a_plain_name_are_asked_for_again(site, plain_name):
    answer = site.get(plain_name)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    again = site.get(plain_name, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_assets_are_sent_as_they_were_packed_before(host, site, assets):
    digests = on_disk(host, "*.gz")
    for path in assets:
        status, packed = raw(site, path, **{"Accept-Encoding": "gzip"})
        assert status == 200
        name = path.removeprefix("/static/")
        assert hashlib.sha256(packed).hexdigest() == digests[f"{name}.gz"]
        assert gzip.decompress(packed) == raw(site, path)[1]
        headers = site.get(path, headers={"Accept-Encoding": "gzip"}).headers
        assert headers["content-encoding"] == "gzip"
        assert "accept-encoding" in headers["vary"].lower()


def test_a_missing_asset_is_not_found_and_not_kept(site):
    answer = site.get("/static/app.000000000000.css")
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert "x-release" not in answer.headers


@pytest.mark.parametrize("path", ["/static/", "/static/?C=N", "/static/.", "/static//"])
def test_assets_are_never_listed(site, path):
    status, body = raw(site, path)
    assert status == 404
    assert b"pico" not in body


@pytest.mark.parametrize(
    "way",
    [
        "../",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%2f",
        "..%5c",
        "%252e%252e%252f",
        "....//",
        "./../",
        ".%00./",
        "x/../../",
    ],
)
@pytest.mark.parametrize("file", ["ledger.jsonl", "settings.json", "slots/blue/release.json"])
def test_no_path_leads_out_of_the_assets(site, way, file):
    status, body = raw(site, f"/static/{way}{file}")
    assert status in (400, 404, 500)  # 500: what Caddy 2.6 says to a NUL
    for word in (b"installer", b"build_user", b"outcome"):  # one of each file
        assert word not in body


def test_the_files_that_no_path_leads_to_are_there(host):
    for file in ("ledger.jsonl", "settings.json", "bin/release"):
        assert host.file(f"/srv/linkboard/{file}").size > 0
