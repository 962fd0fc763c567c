"""HTTPS as a browser or an attacker sees it, and what reaches the application of it."""

import json
import os
import secrets
import socket
import ssl
import subprocess
import time

import pytest
import scenario
from cryptography import x509

testinfra_hosts = ["ansible://web1"]

CADDYS_OWN_ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
AUTHORITYS_INTERMEDIATE = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/intermediate.crt"
LIE = "203.0.113.9"

# Stands in the idle slot and answers with what it was sent.
ECHO = """
import http.server, json, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(left, 65536))):
            left -= len(piece)
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Server", "echo")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer
    log_message = address_string = lambda *_: ""

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

Server(sys.argv[1], Handler).serve_forever()
"""


@pytest.fixture(scope="class")
def echo(host):
    """Let the live slot be a program that answers with the headers that it was sent."""
    green = host.file("/srv/linkboard/live/green").exists
    to_green, to_blue = "touch /srv/linkboard/live/green", "rm -f /srv/linkboard/live/green"
    path = f"/run/linkboard/{'blue' if green else 'green'}.sock"
    host.check_output(
        "systemd-run --quiet --collect --unit=echo -p Group=caddy -p UMask=0117 "
        f"/usr/bin/python3 -I -c %s {path} && until test -S {path}; do sleep 0.05; done && "
        + (to_blue if green else to_green),
        ECHO,
    )
    yield
    host.check_output(f"{to_green if green else to_blue}; systemctl stop echo; rm -f {path}")


@pytest.fixture(scope="module")
def certificate(site):
    """The certificate that the site shows, checked as a browser does."""
    trust = ssl.create_default_context(cafile=str(scenario.AUTHORITY))
    with handshake(site, trust, site.name) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))


def handshake(site, trust, name):
    return trust.wrap_socket(socket.create_connection((site.server, 443), 10), server_hostname=name)


def post(site, body, http2=True):
    with site.client(http2=http2) as client:
        return client.post("/", content=body)


def told_as_too_large(site, path, size, version):
    """The status that curl gets: by HTTP/2 httpx does not hear what comes while it sends."""
    argv = ["curl", "--silent", f"--http{version}", "--cacert", scenario.AUTHORITY]
    argv += ["--resolve", f"{site.name}:443:{site.server}", "--output", os.devnull]
    argv += ["--write-out", "%{http_code}", "--data-binary", "@-", f"https://{site.name}{path}"]
    done = subprocess.run(argv, input=bytes(size), capture_output=True)
    return done.stdout.decode()


def names(certificate):
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def log_lines(host, marker, log="linkboard"):
    """The lines of the access log with a marker; Caddy writes them after the answer."""
    for _ in range(20):
        found = host.run("grep --fixed-strings %s %s", marker, f"/var/log/caddy/{log}.log")
        if found.rc == 0:
            return [json.loads(line) for line in found.stdout.splitlines()]
        time.sleep(0.1)
    raise AssertionError(f"no line of /var/log/caddy/{log}.log has {marker}")


def test_the_certificate_is_the_test_networks_authoritys(host, certificate):
    authority = host.get_host(
        "ansible://authority", ansible_inventory=scenario.INVENTORY, sudo=True
    )
    issuer = x509.load_pem_x509_certificate(authority.file(AUTHORITYS_INTERMEDIATE).content)
    certificate.verify_directly_issued_by(issuer)
    journal = authority.check_output("journalctl --unit caddy --output cat --grep linkboard.test")
    orders = [json.loads(json.loads(line)["msg"]) for line in journal.splitlines()]
    assert any(o.get("status") == "valid" and "certificate" in o for o in orders), journal


def test_the_certificate_is_not_of_caddys_own_authority(host, site):
    own = host.run("cat %s", CADDYS_OWN_ROOT)
    assert own.rc == 0, "Caddy has no authority of its own to compare with"
    assert own.stdout.strip() != scenario.AUTHORITY.read_text().strip()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(site, ssl.create_default_context(cadata=own.stdout), site.name)


def test_the_certificate_names_the_site_and_nothing_else(certificate):
    assert names(certificate) == ["linkboard.test"]


def test_the_certificate_holds_for_no_other_name(site):
    trust = ssl.create_default_context(cafile=str(scenario.AUTHORITY))
    with pytest.raises(ssl.SSLError):
        handshake(site, trust, "other.test")


def test_http_is_redirected_to_https_with_path_and_query(site):
    answer = site.get("/some/page?q=a%20b&r=1", plain=True)
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://linkboard.test/some/page?q=a%20b&r=1"


@pytest.mark.parametrize("http2", [True, False], ids=["HTTP/2", "HTTP/1.1"])
def test_both_versions_of_http_are_spoken(site, http2):
    with site.client(http2=http2) as client:
        answer = client.get("/login")
    assert answer.status_code == 200
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


def test_plain_http_for_an_unknown_name_is_misdirected(site):
    answer = site.get("/login", plain=True, headers={"Host": "other.test"})
    assert answer.status_code == 421
    assert "location" not in answer.headers


def test_https_for_an_unknown_name_on_the_sites_certificate_is_misdirected(site):
    answer = site.get("/login", headers={"Host": "other.test"})
    assert answer.status_code == 421
    assert "x-release" not in answer.headers


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_of_tls_are_refused(site, version):
    trust = ssl.create_default_context(cafile=str(scenario.AUTHORITY))
    trust.set_ciphers("ALL:@SECLEVEL=0")  # or this side would refuse
    trust.minimum_version = trust.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError) as refused:
        handshake(site, trust, site.name)
    assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"  # it was the server


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_current_versions_of_tls_are_spoken(site, version):
    trust = ssl.create_default_context(cafile=str(scenario.AUTHORITY))
    trust.minimum_version = trust.maximum_version = ssl.TLSVersion[version]
    with handshake(site, trust, site.name) as connection:
        assert connection.version() == version.replace("_", ".")


SECURITY_HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@pytest.mark.parametrize("name", SECURITY_HEADERS)
def test_an_answer_that_has_some_security_headers_gets_the_others(site, name):
    assert name in site.get("/login").headers


@pytest.mark.parametrize("path", ["/nothing-there", "/static/nothing-there.css"])
@pytest.mark.parametrize("name", ["strict-transport-security", "x-content-type-options"])
def test_errors_have_security_headers_too(site, path, name):
    answer = site.get(path)
    assert answer.status_code == 404
    assert name in answer.headers


def test_what_the_application_says_itself_wins(site):
    headers = site.get("/login").headers
    assert headers.get_list("referrer-policy") == ["same-origin"]
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


@pytest.mark.usefixtures("echo")
class TestWhatReachesTheApplication:
    @pytest.mark.parametrize("name", SECURITY_HEADERS)
    def test_an_answer_without_a_security_header_gets_it(self, site, name):
        assert site.get("/").headers.get(name) == SECURITY_HEADERS[name]

    def test_pages_do_not_say_what_serves_them(self, site):
        assert "server" not in site.get("/").headers

    @pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
    def test_the_application_never_gets_an_address_that_a_client_claims(self, site, name):
        value = f"for={LIE};proto=http" if name == "Forwarded" else LIE
        assert LIE not in json.dumps(site.get("/", headers={name: value}).json())

    def test_the_application_gets_the_clients_real_address_name_and_scheme(self, site):
        lies = {
            "X-Forwarded-Host": "other.test",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-For": LIE,
        }
        seen = site.get("/", headers=lies).json()
        real = json.loads((scenario.RUN / "hosts.json").read_text())["gateway"]
        assert seen["x-forwarded-for"] == real
        assert seen["x-forwarded-proto"] == "https"
        assert seen["x-forwarded-host"] == seen["host"] == "linkboard.test"

    def test_a_body_below_the_limit_reaches_the_application(self, site):
        assert post(site, bytes(9_000_000)).status_code == 200

    def test_a_body_over_the_limit_is_refused(self, site):
        assert post(site, bytes(10_100_000), http2=False).status_code == 413

    @pytest.mark.parametrize("version", ["2", "1.1"])
    def test_a_body_that_says_it_is_too_large_never_reaches_the_application(
        self, host, site, version
    ):
        marker = secrets.token_hex(8)
        assert told_as_too_large(site, f"/{marker}", 10_000_001, version) == "413"
        (line,) = log_lines(host, marker)
        assert "X-Served-By" not in line["resp_headers"]


def test_the_applications_log_has_the_clients_real_address(host, site):
    lies = {"X-Request-ID": "of-the-client", "X-Forwarded-For": LIE, "X-Real-IP": LIE}
    marker = site.get("/login", headers=lies).headers["x-request-id"]
    assert marker != "of-the-client"
    lines = host.check_output(
        "journalctl --sync; journalctl --unit 'linkboard@*' --since -1min --output cat --grep %s",
        marker,
    )
    real = json.loads((scenario.RUN / "hosts.json").read_text())["gateway"]
    assert [json.loads(line)["client"] for line in lines.splitlines()] == [real]
    (line,) = log_lines(host, marker)
    assert line["resp_headers"]["X-Request-Id"] == [marker]


def test_headers_over_the_limit_are_refused(site):
    with site.client(http2=False) as client:
        assert client.get("/login", headers={"X-Long": "a" * 40_000}).status_code == 431


def test_a_post_is_not_redirected_into_a_get(site):
    with site.client(plain=True) as client:
        assert client.post("/login", content=b"name=a").status_code == 308


def test_connections_that_wait_while_caddy_reloads_go_to_its_new_listener(host):
    """Without it 10 connections were reset in 120 reloads (docs/measured.md)."""
    assert host.sysctl("net.ipv4.tcp_migrate_req") == 1
    host.check_output("echo 0 >/proc/sys/net/ipv4/tcp_migrate_req")
    host.check_output("systemctl restart systemd-sysctl")  # as a boot does
    assert host.sysctl("net.ipv4.tcp_migrate_req") == 1


def test_caddys_administration_is_not_on_the_network(host, site):
    assert ":2019" not in host.check_output("ss --listening --tcp --numeric --no-header")
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((site.server, 2019), 0.5)


def test_caddys_administration_answers_caddy_and_nobody_else(host):
    ask = """python3 -I -c '
import socket
socket.socket(socket.AF_UNIX).connect("/run/caddy/admin.sock")
'"""
    assert host.run(f"runuser -u caddy -- {ask}").rc == 0
    for other in ("nobody", "linkboard", "linkboard-build"):
        refused = host.run(f"runuser -u {other} -- {ask}")
        assert "PermissionError" in refused.stderr, other


def test_the_access_log_is_json_and_says_who_asked_for_what(host, site):
    marker = secrets.token_hex(8)
    site.get(f"/{marker}")
    (line,) = log_lines(host, marker)
    assert line["status"] == 404
    assert line["request"]["host"] == "linkboard.test"
    assert line["request"]["uri"] == f"/{marker}"


@pytest.mark.parametrize("name", ["linkboard.test:443", "LINKBOARD.test", "LinkBoard.Test:443"])
def test_a_request_stands_in_the_sites_log_however_its_host_is_written(host, site, name):
    marker = secrets.token_hex(8)
    assert site.get(f"/{marker}", headers={"Host": name}).status_code == 404
    (line,) = log_lines(host, marker)
    assert line["request"]["host"] == name  # as the client wrote it


@pytest.mark.parametrize("name", ["other.test", "", "linkboard.test.", "192.0.2.1"])
@pytest.mark.parametrize("plain", [True, False], ids=["HTTP", "HTTPS"])
def test_a_request_for_no_site_stands_in_a_log_too(host, site, name, plain):
    marker = secrets.token_hex(8)
    with site.client(plain=plain, http2=False) as client:
        status = client.get(f"/{marker}", headers={"Host": name}).status_code
    (line,) = log_lines(host, marker, "_other")
    assert line["status"] == status


def test_a_redirect_to_https_stands_in_a_log(host, site):
    marker = secrets.token_hex(8)
    assert site.get(f"/{marker}", plain=True).status_code == 308
    log_lines(host, marker, "_other")


def test_the_access_log_has_neither_cookies_nor_authorization(host, site):
    marker, secret = secrets.token_hex(8), secrets.token_hex(8)
    headers = {"Cookie": f"__Host-session={secret}", "Authorization": f"Bearer {secret}"}
    assert site.get(f"/{marker}", headers=headers).status_code == 404
    (line,) = log_lines(host, marker)
    assert secret not in json.dumps(line)


def test_only_caddy_can_read_the_access_log(host):
    for other in ("nobody", "linkboard"):
        assert host.run(f"runuser -u {other} -- cat /var/log/caddy/linkboard.log").rc != 0
