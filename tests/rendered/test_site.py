"""A site's settings by their effect, on a Caddy of this machine, where there is one.

The file is the one that a server gets, with other paths and ports in it.
"""

import contextlib
import datetime
import http.client
import http.server
import json
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from test_systems import SYSTEMS, Host

from pergola.app import directories  # isort: skip - test_systems finds it
from pergola.web.site import Site  # isort: skip

CADDY = shutil.which("caddy")
NAME = "notes.example.org"
LIE = "203.0.113.9"
PIECE = b"data: " + b"x" * 3000 + b"\n\n"
needs_caddy = pytest.mark.skipif(CADDY is None, reason="there is no caddy here")


class Application(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent; streams; answers before it has read a body."""

    protocol_version = "HTTP/1.1"
    heard: list[str]

    def answer(self):
        self.server.heard.append(self.path)
        if self.path.startswith("/stream/"):
            return self.stream(self.path.removeprefix("/stream/"))
        if self.path.startswith("/late"):
            time.sleep(1.5)
        left = 0 if self.path.startswith("/early") else int(self.headers.get("Content-Length", 0))
        read = 0
        if self.headers.get("Transfer-Encoding"):
            while size := int(self.rfile.readline(), 16):
                read += len(self.rfile.read(size + 2)) - 2
        while left and (piece := self.rfile.read(min(left, 65536))):
            left, read = left - len(piece), read + len(piece)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({**headers, "read": read, "filling": "x" * 2000}).encode()
        self.send_response(422 if self.path.startswith("/early") else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/own":
            self.send_header("X-Frame-Options", "of the application")
        self.end_headers()
        self.wfile.write(body)
        return None

    def stream(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
        self.server.first_has_come = self.server.come.wait(5)
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = answer  # noqa: N815 - the library's names
    log_message = address_string = lambda *_: ""


class Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """What broke off is the test's."""


class Served:
    """A site that Caddy serves, by the settings of its application."""

    def __init__(self, top, **settings):
        self.top = top
        self.host = Host(SYSTEMS["noble"], **settings)
        version = subprocess.check_output([CADDY, "version"], text=True).split()[0]
        self.host.looked(Site(version.removeprefix("v")))
        self.plain, self.port = free_ports()
        for path in ("run/notes", "srv/notes/live", "etc/caddy/notes", "log", "run/pergola"):
            (top / path).mkdir(parents=True)
        for file in self.host("__app_files"):
            if file["path"].startswith("/etc/caddy/"):
                text = file.get("content")
                if text is None:
                    text = self.host.file("app", file["src"])
                self.place(file["path"]).write_text(self.moved(text))
        lines = [
            "admin off",
            "skip_install_trust",
            "auto_https disable_redirects",
            f"http_port {self.plain}",
            f"https_port {self.port}",
        ]
        options = "\n\t".join(lines)
        (top / "Caddyfile").write_text(f"{{\n\t{options}\n}}\nimport etc/caddy/notes.caddy\n")

    def place(self, path):
        return Path(self.moved(path))

    def moved(self, text):
        text = text.replace("/var/log/caddy", f"{self.top}/log")
        for folder in ("/run/notes", "/run/pergola", "/srv/notes", "/etc/caddy"):
            text = text.replace(folder, f"{self.top}{folder}")
        return text

    @contextlib.contextmanager
    def up(self):
        with Listener(str(self.top / "run/notes/blue.sock"), Application) as self.application:
            self.application.heard, self.application.come = [], threading.Event()
            threading.Thread(target=self.application.serve_forever, daemon=True).start()
            command = [CADDY, "run", "--adapter", "caddyfile", "--config", "Caddyfile"]
            environment = {"HOME": str(self.top), "XDG_DATA_HOME": str(self.top)}
            with subprocess.Popen(
                command, cwd=self.top, env=environment, stderr=subprocess.PIPE, text=True
            ) as caddy:
                drained = threading.Thread(
                    target=lambda: setattr(self, "said", caddy.stderr.read())
                )
                drained.start()
                try:
                    self.wait(caddy)
                    yield self
                finally:
                    caddy.kill()
                    drained.join()
                    self.application.shutdown()

    def wait(self, caddy):
        ports = [self.port, *([self.plain] if self.host("__app_plain_http") else [])]
        for _ in range(1200):
            with contextlib.suppress(OSError):
                for port in ports:
                    socket.create_connection(("127.0.0.1", port)).close()
                return
            assert caddy.poll() is None, "Caddy ended"
            time.sleep(0.05)
        raise AssertionError("Caddy does not listen")

    def ask(self, path, method="GET", body=None, host=NAME, **headers):
        """An answer over HTTP, by which a site is served too that has no public certificate."""
        connection = http.client.HTTPConnection("127.0.0.1", self.plain, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": host, **sent})
        return connection.getresponse()

    @contextlib.contextmanager
    def secure(self, name, trust):
        """A TLS connection; Caddy makes a certificate of its own in a moment."""
        for _ in range(100):
            plain = socket.create_connection(("127.0.0.1", self.port), 60)
            try:
                connection = trust.wrap_socket(plain, server_hostname=name)
                break
            except ssl.SSLError:
                plain.close()
                time.sleep(0.1)
        with connection:
            yield connection

    def seen(self, path="/", **more):
        """What the application was sent."""
        return json.loads(self.ask(path, **more).read())

    def logged(self, text):
        """The line of the access log that has a text."""
        for _ in range(40):
            log = self.top / "log/notes.log"
            lines = log.read_text().splitlines() if log.exists() else []
            if found := [json.loads(line) for line in lines if text in line]:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no line of the log has {text}")


def free_ports():
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture
def served():
    """Serve a site with some settings."""
    with contextlib.ExitStack() as stack:

        def start(**settings):
            # A unix socket's path has 107 bytes at most.
            top = stack.enter_context(tempfile.TemporaryDirectory(prefix="site-"))
            return stack.enter_context(Served(Path(top), **settings).up())

        yield start


PROXIES = {"app_trusted_proxies": ["127.0.0.0/8"]}


@needs_caddy
def test_each_request_has_an_id_of_caddys_own_in_both_logs(served):
    site = served()
    answer = site.ask("/page", X_Request_Id="of-the-client")
    number = answer.headers["X-Request-Id"]
    assert number != "of-the-client"
    assert json.loads(answer.read())["x-request-id"] == number
    assert site.logged("/page")["resp_headers"]["X-Request-Id"] == [number]
    assert site.ask("/page").headers["X-Request-Id"] != number


@needs_caddy
def test_an_id_is_taken_over_from_a_trusted_proxy_if_it_is_one(served):
    site = served(**PROXIES)
    assert site.seen(X_Request_Id="of-the-proxy")["x-request-id"] == "of-the-proxy"
    for odd in ("short", "x" * 200, 'with "quotes" inside'):
        assert site.seen(X_Request_Id=odd)["x-request-id"] != odd


@needs_caddy
def test_who_is_not_trusted_cannot_claim_an_address(served):
    for settings in ({}, {"app_trusted_proxies": ["10.0.0.0/8"]}):
        seen = served(**settings).seen(X_Forwarded_For=LIE, X_Request_Id="of-the-client")
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert seen["x-request-id"] != "of-the-client"


@needs_caddy
@pytest.mark.parametrize(
    ("hops", "headers", "client"),
    [
        (1, ["192.0.2.1"], "192.0.2.1"),
        (1, [f"{LIE}, 192.0.2.1"], "192.0.2.1"),
        (1, [f"{LIE},192.0.2.1:4711"], "192.0.2.1"),
        (1, [f"{LIE}, 2001:db8::1"], "2001:db8::1"),
        # HAProxy writes a header of its own behind the client's.
        (1, [LIE, "192.0.2.1"], "192.0.2.1"),
        (1, ["unknown"], "127.0.0.1"),
        (1, [], "127.0.0.1"),
        (2, [f"{LIE}, 192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (2, [f"{LIE}, 192.0.2.1", "10.0.0.1"], "192.0.2.1"),
        # Past the outer one, whose entry is not there.
        (2, [LIE], "127.0.0.1"),
    ],
)
def test_the_clients_address_is_the_one_that_the_outermost_proxy_added(
    served, hops, headers, client
):
    site = served(**PROXIES, app_proxy_hops=hops)
    connection = http.client.HTTPConnection("127.0.0.1", site.plain, timeout=60)
    connection.putrequest("GET", "/", skip_host=True)
    connection.putheader("Host", NAME)
    for value in headers:
        connection.putheader("X-Forwarded-For", value)
    connection.endheaders()
    assert json.loads(connection.getresponse().read())["x-forwarded-for"] == client


@needs_caddy
def test_behind_a_proxy_the_maintenance_page_knows_who_is_let_in(served):
    site = served(**PROXIES, app_maintenance_allowed_networks=["192.0.2.17"])
    (site.top / "run/notes/maintenance.html").write_text("soon")
    assert site.ask("/", X_Forwarded_For="192.0.2.17").status == 200
    assert site.ask("/", X_Forwarded_For="192.0.2.18").status == 503


@needs_caddy
def test_until_the_first_release_is_live_visitors_get_a_page_and_no_upload_is_taken(served):
    site = served(app_limits={"/upload": {"max_body_size": "5kB"}})
    page = site.top / "srv/notes/live/nothing.html"
    page.write_text("being set up")
    for path, method, body in (("/", "GET", None), ("/upload", "POST", bytes(2000))):
        answer = site.ask(path, method, body)
        assert (answer.status, answer.read()) == (503, b"being set up")
        assert answer.headers["Retry-After"]
        assert answer.headers["X-Request-Id"]
    assert site.application.heard == []
    page.unlink()
    assert site.ask("/").status == 200


@needs_caddy
def test_a_body_that_says_itself_that_it_is_too_large_never_reaches_the_application(served):
    site = served(app_max_body_size="1kB")
    assert site.ask("/early", "POST", bytes(1001)).status == 413
    assert site.application.heard == []
    assert site.seen("/", method="POST", body=bytes(1000))["read"] == 1000
    # One that does not say so is cut, and refused with the same answer.
    pieces = iter([bytes(900), bytes(900)])
    assert site.ask("/", "POST", pieces).status == 413


@needs_caddy
def test_a_path_has_limits_of_its_own_and_the_longest_that_fits_holds(served):
    limits = {
        "/api/*": {"max_body_size": "2kB"},
        "/api/upload": {"max_body_size": "3kB", "response_header_seconds": 30},
        "/late/*": {"response_header_seconds": 30},
    }
    site = served(app_max_body_size="1kB", app_response_header_seconds=1, app_limits=limits)
    for path, most in (("/", 1000), ("/api/x", 2000), ("/api/upload", 3000), ("/apis", 1000)):
        assert site.ask(path, "POST", bytes(most)).status == 200, path
        assert site.ask(path, "POST", bytes(most + 1)).status == 413, path
    assert site.ask("/late").status == 504
    assert site.ask("/late/report").status == 200


@needs_caddy
def test_half_a_gigabyte_arrives_where_it_may(served):
    site = served(app_limits={"/upload": {"max_body_size": "500MB"}})
    pieces = iter([bytes(1_000_000)] * 500)
    seen = site.seen("/upload", method="POST", body=pieces, Content_Length="500000000")
    assert seen["read"] == 500_000_000


@needs_caddy
@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain", "application/json"])
def test_what_is_streamed_is_not_held_back(served, kind):
    site = served()
    answer = site.ask(f"/stream/{kind}", Accept_Encoding="zstd, gzip")
    assert answer.read(len(PIECE)) == PIECE
    site.application.come.set()
    assert answer.read() == b""
    assert site.application.first_has_come, "the first piece came with the last one"
    assert answer.headers["Content-Encoding"] is None


@needs_caddy
def test_an_answer_that_is_whole_is_compressed(served):
    assert served().ask("/", Accept_Encoding="gzip").headers["Content-Encoding"] == "gzip"


@needs_caddy
def test_a_site_answers_to_each_of_its_names_as_they_are_written_by_anybody(served):
    site = served(
        app_domain="Notes.Example.org.",
        app_domain_aliases=["MÜNCHEN.example"],
        app_redirected_domains=["www.example.org"],
    )
    assert site.seen()["host"] == NAME
    assert site.seen(host="xn--MNCHEN-3ya.example:443")["host"] == "xn--mnchen-3ya.example"
    assert site.logged("MNCHEN")["status"] == 200
    with site.secure("www.example.org", ssl._create_unverified_context()) as connection:
        connection.sendall(b"GET /a?b=c HTTP/1.1\r\nHost: www.example.org\r\n\r\n")
        answer = connection.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 301 ")
    assert f"Location: https://{NAME}/a?b=c\r\n" in answer


@needs_caddy
def test_paths_are_redirected_as_the_settings_say(served):
    redirects = {
        "/old": "/new",
        "/docs/*": "https://docs.example.org{uri}",
        "/docs/api": {"to": "/api", "status": 308},
        "/moved": {"to": "/new?{query}", "status": 302},
    }
    site = served(app_redirects=redirects, app_static_url="/docs/static")
    for path, status, to in (
        ("/old", 301, "/new"),
        ("/docs/a?b=c", 301, "https://docs.example.org/docs/a?b=c"),
        ("/docs/api", 308, "/api"),
        ("/moved?a=b", 302, "/new?a=b"),
    ):
        answer = site.ask(path)
        assert (answer.status, answer.headers["Location"]) == (status, to), path
    assert site.ask("/older").status == 200


@needs_caddy
def test_a_header_is_changed_by_itself(served):
    changes = {
        "x-frame-options": "SAMEORIGIN",
        "Cross-Origin-Opener-Policy": None,
        "Reporting-Endpoints": 'default="https://example.org/reports"',
    }
    site = served(app_headers=changes)
    headers = site.ask("/").headers
    assert headers.get_all("X-Frame-Options") == ["SAMEORIGIN"]
    assert "Cross-Origin-Opener-Policy" not in headers
    assert headers["Reporting-Endpoints"] == changes["Reporting-Endpoints"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert site.ask("/own").headers.get_all("X-Frame-Options") == ["of the application"]


@needs_caddy
def test_hsts_can_be_written_in_full(served):
    site = served(app_headers={"Strict-Transport-Security": "max-age=9; includeSubDomains"})
    got = site.ask("/").headers.get_all("Strict-Transport-Security")
    assert got == ["max-age=9; includeSubDomains"]


@needs_caddy
def test_nobody_sees_a_site_without_a_name_and_its_password(served):
    site = served(
        app_basic_auth={"team": "let me: in", "guest": "Grüß"},
        app_static_url="/static",
        app_limits={"/api/*": {"max_body_size": "1kB"}},
    )
    (site.top / "srv/notes/assets").mkdir()
    (site.top / "srv/notes/assets/a.txt").write_text("a")
    for path in ("/", "/static/a.txt", "/api/x", "/healthz/more", "/HEALTHZx"):
        answer = site.ask(path)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert answer.headers["X-Request-Id"]
        assert site.ask(path, Authorization="Basic dGVhbTp3cm9uZw==").status == 401
        for right in ("dGVhbTpsZXQgbWU6IGlu", "Z3Vlc3Q6R3LDvMOf"):
            assert site.ask(path, Authorization=f"Basic {right}").status == 200, path
    assert site.ask("/healthz").status == 200, "a load balancer has no password"


MEDIA = {"app_shared_directories": ["data", {"path": "media", "public": "/media"}]}


@pytest.fixture
def media(served):
    """A site with a public directory, mounted as its unit says; and that directory."""
    with contextlib.ExitStack() as stack:
        site = served(**MEDIA, app_security_headers={"Content-Security-Policy": "of the site"})
        kept, seen = (site.top / "srv/notes" / name / "media" for name in ("shared", "public"))
        for path in (kept, seen):
            path.mkdir(parents=True)
        (options,) = re.findall(r"^Options=(.*)$", directories.MOUNT, re.MULTILINE)
        command = ["mount", "-o", options, kept, seen]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("nothing can be mounted here")
        stack.callback(subprocess.run, ["umount", "--lazy", seen], check=True)
        yield site, kept


@needs_caddy
def test_a_public_directory_is_served_in_pieces_and_asked_for_again(media):
    site, kept = media
    content = bytes(range(256)) * 4096
    (kept / "2026").mkdir()
    (kept / "2026/a b.mp4").write_bytes(content)
    answer = site.ask("/media/2026/a%20b.mp4")
    assert (answer.status, answer.read() == content) == (200, True)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Cache-Control"] == "no-cache"
    tag = answer.headers["Etag"]
    assert site.ask("/media/2026/a%20b.mp4", If_None_Match=tag).status == 304
    part = site.ask("/media/2026/a%20b.mp4", Range="bytes=256-511")
    assert (part.status, part.read()) == (206, bytes(range(256)))
    for path in ("/media/none.png", "/media/2026/", "/media/", "/data/x"):
        assert site.ask(path).status == (200 if path.startswith("/data") else 404), path
    assert site.application.heard == ["/data/x"], "the application is not asked"


@needs_caddy
@pytest.mark.parametrize(
    ("name", "saved", "sandboxed"),
    [
        ("a.png", False, True),
        ("A.JPG", False, True),
        ("a.txt", False, True),
        ("a.pdf", False, False),
        ("a.html", True, True),
        ("a.svg", True, True),
        ("a.js", True, True),
        ("a.png.html", True, True),
        ("a.xhtml", True, True),
        ("a", True, True),
        ("a.unknown", True, True),
        ("sub/", True, True),
    ],
)
def test_what_was_uploaded_does_nothing_in_the_sites_name(media, name, saved, sandboxed):
    site, kept = media
    path = kept / (f"{name}index.html" if name.endswith("/") else name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("<!doctype html><script>alert(1)</script>")
    answer = site.ask(f"/media/{name}")
    assert answer.status == 200
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert (answer.headers["Content-Disposition"] == "attachment") is saved
    (policy,) = answer.headers.get_all("Content-Security-Policy")
    assert policy.startswith("sandbox; default-src 'none'") is sandboxed
    assert (answer.headers["Content-Type"] == "application/octet-stream") is (
        saved and not name.endswith(".svg")
    ), "a page could have it as a script"


@needs_caddy
def test_no_name_leads_out_of_a_public_directory(media):
    site, kept = media
    (kept.parent / "secret.txt").write_text("secret")
    (kept / ".git").mkdir()
    (kept / ".git/a.txt").write_text("secret")
    (kept / ".env").write_text("secret")
    (kept / "out.txt").symlink_to(kept.parent / "secret.txt")
    (kept / "up").symlink_to("..")
    (kept / "in.txt").symlink_to("a.txt")
    (kept / "a.txt").write_text("a")
    for path in ("out.txt", "up/secret.txt", "in.txt", ".env", ".git/a.txt", "../secret.txt",
                 "%2e%2e/secret.txt", "..%2fsecret.txt", "a.txt/../../secret.txt"):  # fmt: skip
        answer = site.ask(f"/media/{path}")
        assert answer.status >= 400 or site.application.heard, path
        assert b"secret" not in answer.read(), path
    assert site.ask("/media/a.txt").read() == b"a"


@needs_caddy
def test_a_public_directory_below_the_static_files_is_its_own_and_behind_the_same_password(served):
    shared = [{"path": "static/uploads", "public": "/static/uploads"}]
    site = served(
        app_shared_directories=shared, app_static_url="/static", app_basic_auth={"team": "word"}
    )
    for place in ("assets", "public/static/uploads"):
        (site.top / "srv/notes" / place).mkdir(parents=True)
        (site.top / "srv/notes" / place / "a.txt").write_text(place)
    for path, place in (("/static/a.txt", "assets"), ("/static/uploads/a.txt", "public")):
        assert site.ask(path).status == 401
        answer = site.ask(path, Authorization="Basic dGVhbTp3b3Jk")
        assert answer.read().decode().startswith(place)


@needs_caddy
def test_lines_of_the_users_own_are_in_force(served):
    site = served(app_caddy_extra="header X-Own yes\nhandle /extra {\n\trespond extra\n}\n")
    assert site.ask("/").headers["X-Own"] == "yes"
    assert site.ask("/extra").read() == b"extra"


@needs_caddy
def test_what_is_wrong_in_them_is_told_by_the_settings_name_and_the_line():
    with tempfile.TemporaryDirectory(prefix="site-") as top:
        site = Served(Path(top), app_caddy_extra="header X-Own yes\nbogus\n")
        command = [CADDY, "adapt", "--adapter", "caddyfile", "--config", "Caddyfile"]
        done = subprocess.run(command, cwd=site.top, capture_output=True, text=True, check=False)
        assert "/etc/caddy/notes/app_caddy_extra:2: unrecognized directive: bogus" in done.stderr


# A certificate of one's own


def made(*names, days=30, issuer=None):
    """A certificate and its key; `issuer`: another one's."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, (*names, "CA")[0])])
    by = issuer[0].subject if issuer else subject
    builder = (
        x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(not names, None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(*certificates):
    text = [one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates]
    return "".join(text)


def key_pem(key):
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@needs_caddy
def test_a_certificate_of_ones_own_is_presented(served):
    authority = made()
    own, key = made(NAME, issuer=authority)
    site = served(app_certificate={"certificate": pem(own, authority[0]), "key": key_pem(key)})
    trust = ssl.create_default_context(cadata=pem(authority[0]))
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with site.secure(NAME, trust) as connection:
        assert connection.getpeercert(binary_form=True) == own.public_bytes(
            serialization.Encoding.DER
        )


def pair(*names, **more):
    certificate, key = made(*names, **more)
    return pem(certificate), key_pem(key)


AUTHORITY = made()
OWN, KEY = made(NAME, issuer=AUTHORITY)


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        (pem(OWN, AUTHORITY[0]), key_pem(KEY), ""),
        (pem(OWN), key_pem(KEY), ""),
        ("files/site.pem", key_pem(KEY), "is no certificate in PEM form"),
        (pem(OWN), "secret nonsense", "key is no private key"),
        (pem(OWN), key_pem(AUTHORITY[1]), "the key is not that of the certificate"),
        (pem(AUTHORITY[0], OWN), key_pem(KEY), "own certificate must come first"),
        (pem(OWN, made()[0]), key_pem(KEY), "its chain is out of order"),
        (*pair("www.example.org"), "it names www.example.org, and not notes.example.org"),
        (*pair(NAME, days=-1), "it expired on 2"),
        (*pair("*.example.org"), ""),
    ],
)
def test_a_certificate_that_cannot_be_presented_is_refused(certificate, key, says):
    told = Host(SYSTEMS["noble"], app_certificate={"certificate": certificate, "key": key}).broken()
    if says:
        assert told.startswith("app_certificate: ")
        assert says in told
    else:
        assert told == ""
    assert "secret nonsense" not in told
