"""The authorities of an environment, and what they sign."""

import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pergola_control.certificates import authorities, signing
from pergola_control.refusal import RefusalError

FIRST = "-----BEGIN CERTIFICATE-----"
NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
HOST = {
    "name": "host",
    "trust": "members",
    "common_name": "db1",
    "addresses": ["10.0.0.2", "db1"],
    "group": "ssl-cert",
}
APP = {"name": "notes", "trust": "clients", "common_name": "notes", "group": "notes"}


@pytest.fixture(scope="module")
def text():
    return authorities.made("prod", NOW)


def read(text):
    return authorities.read(text, "prod/authorities.pem")


def request(key, common_name="db1", addresses=()):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if addresses:
        names = x509.SubjectAlternativeName([x509.DNSName(one) for one in addresses])
        builder = builder.add_extension(names, critical=False)
        basic = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(basic, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def signed(text, given=HOST, now=NOW, **asked):
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = signing.Wanted.of(given)
    made = signing.sign(read(text), wanted, request(key, **asked), now)
    found = x509.load_pem_x509_certificate(made.encode())
    assert found.public_key() == key.public_key()
    return found


def value(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


# -- authorities -----------------------------------------------------------------------------------


def test_an_authority_can_sign_certificates_and_no_other_authority(text):
    for trust, (one,) in read(text).of.items():
        assert one.trust == trust
        basic = one.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
        usage = one.certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True,) * 3
        assert not usage.value.digital_signature
        years = one.certificate.not_valid_after_utc - NOW
        assert years == datetime.timedelta(days=3650)


def test_hosts_get_certificates_and_no_key(text):
    assert text.count("PRIVATE KEY-----\n") == 4
    for bundle in read(text).bundles().values():
        assert "PRIVATE" not in bundle
        assert bundle.count("BEGIN CERTIFICATE") == 1


def test_the_first_of_each_kind_signs_and_all_are_trusted(text):
    newer = authorities.made("prod", NOW)
    both = read(newer + text)
    assert both.of["members"][0].certificate == read(newer).of["members"][0].certificate
    assert both.bundles()["members"] == "".join(
        read(one).bundles()["members"] for one in (newer, text)
    )
    assert signed(newer + text).issuer == read(newer).of["members"][0].certificate.subject


def test_one_that_is_only_trusted_needs_no_key(text):
    bundles = "".join(read(authorities.made("prod", NOW)).bundles().values())
    assert len(read(text + bundles).of["clients"]) == 2
    with pytest.raises(RefusalError, match="no key of its first authority for the members"):
        read(bundles + text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "", "no certificates"),
        (lambda text: FIRST.join(text.split(FIRST)[:2]), "no authority for the clients"),
        (
            lambda text: text.replace("BEGIN PRIVATE KEY-----\nM", "BEGIN PRIVATE KEY-----\nN"),
            "key",
        ),
        (lambda text: "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "no certificates"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_name(text, change, says):
    with pytest.raises(RefusalError, match=f"^prod/authorities.pem.*{says}"):
        read(change(text))


def test_a_certificate_that_is_no_authority_is_refused(text):
    leaf = authorities.pem(signed(text))
    with pytest.raises(RefusalError, match="'CN=db1' is no authority for members or clients"):
        read(text + leaf)


def test_a_certificate_that_signs_itself_alone_is_refused(text):
    key = ec.generate_private_key(ec.SECP256R1())
    name = read(text).of["members"][0].certificate.subject
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(RefusalError, match="is no authority for members or clients"):
        read(text + authorities.pem(made))


# -- what is signed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "purposes"),
    [
        (HOST, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        (APP, [ExtendedKeyUsageOID.CLIENT_AUTH]),
    ],
)
def test_a_certificate_is_for_what_its_trust_allows(text, given, purposes):
    found = signed(text, given)
    assert list(value(found, x509.ExtendedKeyUsage)) == purposes
    usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (
        True, True, False,
    )  # fmt: skip
    assert not value(found, x509.BasicConstraints).ca
    signer = read(text).of[given["trust"]][0].certificate
    found.verify_directly_issued_by(signer)
    identifier = value(found, x509.AuthorityKeyIdentifier).key_identifier
    assert identifier == value(signer, x509.SubjectKeyIdentifier).digest
    own = x509.SubjectKeyIdentifier.from_public_key(found.public_key())
    assert value(found, x509.SubjectKeyIdentifier) == own
    assert found.not_valid_after_utc - NOW == datetime.timedelta(days=730)
    assert datetime.timedelta(0) < NOW - found.not_valid_before_utc < datetime.timedelta(minutes=10)


def test_it_says_what_the_task_says_and_nothing_of_the_request(text):
    found = signed(text, common_name="db2", addresses=["everything.example.org"])
    assert found.subject.rfc4514_string() == "CN=db1"
    names = value(found, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["10.0.0.2", "db1"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.2")]
    assert not value(found, x509.BasicConstraints).ca


def test_no_two_have_one_number(text):
    assert signed(text).serial_number != signed(text).serial_number


def test_it_ends_with_its_authority(text):
    late = NOW + datetime.timedelta(days=3000)
    authority = read(text).of["members"][0].certificate
    assert signed(text, now=late).not_valid_after_utc == authority.not_valid_after_utc
    assert len(signing.near_their_end(read(text), late)) == 2
    assert signing.near_their_end(read(text), NOW) == []


def test_an_authority_that_has_ended_signs_nothing(text):
    with pytest.raises(RefusalError, match="authority of the members ended on 2036-11-28"):
        signed(text, now=NOW + datetime.timedelta(days=3651))


def requests_refused():
    good = request(ec.generate_private_key(ec.SECP256R1()))
    der = bytearray(ssl.PEM_cert_to_DER_cert(good.replace(" REQUEST", "")))
    der[-1] ^= 1  # of the signature
    pem = ssl.DER_cert_to_PEM_cert(bytes(der))
    yield pem.replace("CERTIFICATE", "CERTIFICATE REQUEST")
    yield request(rsa.generate_private_key(65537, 2048))
    yield request(ec.generate_private_key(ec.SECP384R1()))
    yield "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("asked", list(requests_refused()))
def test_a_request_that_proves_no_key_is_refused(text, asked):
    with pytest.raises(RefusalError, match="request for host is none that can be signed"):
        signing.sign(read(text), signing.Wanted.of(HOST), asked, NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../host"},
        {"name": "clients"},
        {"trust": "everybody"},
        {"common_name": "x" * 65},
        {"common_name": "db1, O=prod"},
        {"common_name": ""},
        {"addresses": ["db 1"]},
        {"addresses": ["fe80::1%eth0"]},
        {"addresses": "db1"},
        {"group": None},
        {"grup": "daemon"},
    ],
)
def test_a_setting_that_no_certificate_can_say_is_refused(changed):
    with pytest.raises(RefusalError, match="certificates_wanted"):
        signing.Wanted.of({**HOST, **changed})
