"""Software that looks at certificates strictly takes ours, each for what it is for."""

import contextlib
import socket
import ssl
import subprocess
import threading

import pytest
from certificates_made import HOST, Node
from pergola.certificates import order


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "HOME", tmp_path)
    Node().bring()
    return tmp_path


def verified(home, purpose, trust, name):
    """Whether openssl takes a certificate."""
    files = ["-CAfile", home / f"{trust}.crt", home / f"{name}.crt"]
    strict = ["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore"]
    return subprocess.run([*strict, "-purpose", purpose, *files], check=False).returncode == 0


@pytest.mark.parametrize(
    ("purpose", "trust", "name", "taken"),
    [
        ("sslserver", "members", "host", True),
        ("sslclient", "members", "host", True),
        ("sslclient", "clients", "linkboard", True),
        ("sslserver", "clients", "linkboard", False),
        ("sslclient", "members", "linkboard", False),
        ("sslclient", "clients", "host", False),
    ],
)
def test_openssl_takes_each_for_what_it_is_for(home, purpose, trust, name, taken):
    assert verified(home, purpose, trust, name) is taken


def context(home, side, trust, name):
    found = ssl.create_default_context(side, cafile=str(home / f"{trust}.crt"))
    found.verify_flags |= ssl.VERIFY_X509_STRICT
    found.verify_mode = ssl.CERT_REQUIRED
    if name:
        found.load_cert_chain(home / f"{name}.crt", home / f"{name}.key")
    return found


@contextlib.contextmanager
def served(tls, seen):
    """A server that names whoever it lets in."""

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(10)
            with tls.wrap_socket(connection, server_side=True) as channel:
                ((name,),) = channel.getpeercert()["subject"]
                seen.append(name[1])
                channel.sendall(b"welcome")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def talk(home, trust, name, reached="127.0.0.1"):
    """What a client hears of a server that trusts one kind of clients, and whom that saw."""
    seen = []
    server = context(home, ssl.Purpose.CLIENT_AUTH, trust, "host")
    client = context(home, ssl.Purpose.SERVER_AUTH, "members", name)
    with (
        served(server, seen) as port,
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        client.wrap_socket(raw, server_hostname=reached) as channel,
    ):
        return channel.recv(100), seen


@pytest.mark.parametrize(
    ("trust", "name", "seen"), [("members", "host", "db1"), ("clients", "linkboard", "linkboard")]
)
@pytest.mark.parametrize("reached", ["127.0.0.1", "db1"])
def test_a_member_and_an_application_are_let_in_by_their_own_trust(
    home, trust, name, seen, reached
):
    assert talk(home, trust, name, reached) == (b"welcome", [seen])


@pytest.mark.parametrize(
    ("trust", "name"), [("members", "linkboard"), ("members", ""), ("clients", "host")]
)
def test_others_are_not_let_in(home, trust, name):
    with pytest.raises(OSError, match=r"alert|reset|unknown ca|certificate required"):
        talk(home, trust, name)


def test_a_server_is_known_by_its_addresses_only(home):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        talk(home, "members", "host", "127.0.0.2")


def test_both_generations_of_a_rotation_are_let_in(tmp_path, monkeypatch):
    """A host whose certificate is of the old authority talks with one that has a new one."""
    old, new = Node(), Node()
    for name, text in (("a", old.text + new.text), ("b", new.text + old.text)):
        monkeypatch.setattr(order, "HOME", tmp_path / name)
        Node(text=text, wanted=[HOST]).bring()
    seen = []
    server = context(tmp_path / "a", ssl.Purpose.CLIENT_AUTH, "members", "host")
    client = context(tmp_path / "b", ssl.Purpose.SERVER_AUTH, "members", "host")
    with (
        served(server, seen) as port,
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        client.wrap_socket(raw, server_hostname="db1") as channel,
    ):
        assert channel.recv(100) == b"welcome"
