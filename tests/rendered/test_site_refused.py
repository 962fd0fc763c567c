"""Settings of a site that cannot be are refused by their names, before anything is changed."""

import pytest
from test_systems import CHECKS, SYSTEMS, Host


def broken(**settings):
    """What the rules say that are about one of the settings."""
    rules = [rule for rule in CHECKS.rules if any(name in str(rule) for name in settings)]
    return Host(SYSTEMS["bookworm"], **settings).said(rules)


@pytest.mark.parametrize(
    ("name", "dns"),
    [
        ("www.example.org", "www.example.org"),
        ("WWW.Example.ORG.", "www.example.org"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("Ελλάδα.example", "xn--hxakic4aa.example"),
    ],
)
def test_a_name_is_taken_however_it_is_written(name, dns):
    assert broken(app_domain=name) == ""
    host = Host(SYSTEMS["bookworm"], app_domain=name, app_redirected_domains=["Other.example."])
    assert host("__app_order")["domains"] == [dns, "other.example"]
    assert host("__app_watched")["site"]["domain"] == dns
    assert host("__release_config.domain") == dns
    assert host("visit_domain") == dns


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("https://www.example.org", "is no DNS name; example: www.example.org (no https://"),
        ("www.example.org/path", "is no DNS name"),
        ("localhost", "is no DNS name"),
        ("192.0.2.1", "is no DNS name"),
        ("two words.example", "is no DNS name"),
        ("-a.example.org", "is no DNS name"),
        ("a..example.org", "is no DNS name"),
        (f"{'a' * 64}.example.org", "is no DNS name"),
        ("www.example.org {", "is no DNS name"),
        ("www.example.org:8443", "leave the port out"),
        ("*.example.org", "a wildcard's certificate takes a DNS challenge"),
        ("straße.example", "write it as DNS has it, in Punycode"),
    ],
)
@pytest.mark.parametrize("setting", ["app_domain", "app_domain_aliases", "app_redirected_domains"])
def test_what_is_no_name_of_a_site_is_refused(setting, name, says):
    told = broken(**{setting: name if setting == "app_domain" else ["ok.example", name]})
    assert told.startswith(f"{setting} '{name}'")
    assert says in told


def test_a_name_that_is_there_twice_is_refused():
    told = broken(
        app_domain_aliases=["A.example"], app_redirected_domains=["b.example", "a.example."]
    )
    assert told == "app_redirected_domains 'a.example.' is in app_domain_aliases already"
    assert "is in app_domain already" in broken(app_domain_aliases=["Notes.Example.org"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"app_max_body_size": "ten"}, "app_max_body_size 'ten' is no size; example: 10MB"),
        ({"app_limits": {"upload": {"max_body_size": "1MB"}}}, "app_limits: upload is no path"),
        ({"app_limits": {"/a b": {"max_body_size": "1MB"}}}, "app_limits: /a b is no path"),
        ({"app_limits": {"/*/a": {"max_body_size": "1MB"}}}, "app_limits: /*/a is no path"),
        ({"app_limits": {"/a": {"body": "1MB"}}}, "app_limits: /a: what can be set is max_body_s"),
        ({"app_limits": {"/a": {}}}, "app_limits: /a: what can be set is"),
        ({"app_limits": {"/a": {"max_body_size": "much"}}}, "/a: max_body_size 'much' is no size"),
        ({"app_limits": {"/a": {"response_header_seconds": "1m"}}}, "must be a number of seconds"),
        ({"app_redirects": {"old": "/new"}}, "app_redirects: old is no path"),
        ({"app_redirects": {"/old": "new"}}, "app_redirects: /old leads to 'new', which is no"),
        ({"app_redirects": {"/old": None}}, "app_redirects: /old leads to 'None'"),
        ({"app_redirects": {"/old": "/a {b}"}}, "app_redirects: /old leads to '/a {b}'"),
        ({"app_redirects": {"/old": {"to": "/new", "status": 200}}}, "status 200 is none of 301"),
        ({"app_redirects": {"/old": {"to": "/new", "code": 302}}}, "what can be set is to, status"),
        ({"app_redirects": {"/old": "/old"}}, "redirected again, for ever"),
        ({"app_redirects": {"/docs/*": "/docs/new"}}, "redirected again, for ever"),
        ({"app_headers": {"X Odd": "a"}}, "app_headers: 'X Odd' is no name of a header"),
        ({"app_headers": {"X-Odd": "a\nb"}}, "app_headers: X-Odd must be a text of one line"),
        ({"app_headers": {"X-Odd": ["a"]}}, "app_headers: X-Odd must be a text of one line"),
        (
            {"app_headers": {"X-Odd": "a\\"}},
            "app_headers: X-Odd: a \\ would change what Caddy reads",
        ),
        ({"app_headers": {"X-Odd": 'a\\"b'}}, "app_headers: X-Odd: a \\ would change"),
        (
            {"app_security_headers": {"X-Odd": "a\\"}},
            "app_security_headers: X-Odd: a \\ would change",
        ),
        ({"app_trusted_proxies": ["fastly"]}, "'fastly' is no network; examples: 10.0.0.0/8, cl"),
        ({"app_trusted_proxies": ["10.0.0.1/8"]}, "'10.0.0.1/8' is no network"),
        ({"app_trusted_proxies": ["0.0.0.0/0"]}, "0.0.0.0/0 is everybody, who could claim any"),
        ({"app_proxy_hops": 0}, "app_proxy_hops 0 must be 1 at least"),
        (
            {
                "app_trusted_proxies": ["cloudflare"],
                "app_maintenance_allowed_networks": ["192.0.2.0/24"],
            },
            "app_maintenance_allowed_networks 192.0.2.0/24: behind app_trusted_proxies",
        ),
        (
            {"app_certificate": {"certificate": "x"}},
            "app_certificate must hold certificate and key",
        ),
        ({"app_basic_auth": {"a:b": "secret"}}, "app_basic_auth: 'a:b' is no name"),
        ({"app_basic_auth": {"team": ""}}, "app_basic_auth: the password of team must be a text"),
        ({"app_basic_auth": {"team": "$2y$10$abc"}}, "app_basic_auth: team has a hash"),
        ({"app_caddy_extra": "handle {\n"}, "app_caddy_extra: a { is not closed"),
        (
            {"app_caddy_extra": 'respond /x "a {" 200\n}\nother.example.org {\n'},
            "app_caddy_extra, line 2: this } closes nothing",
        ),
        (
            {"app_caddy_extra": "respond /x `\n{\n` 200\n}\n"},
            "app_caddy_extra, line 4: this } closes nothing",
        ),
        (
            {"app_caddy_extra": "respond /x <<TEXT\n  {\n  TEXT 200\n}\n"},
            "app_caddy_extra, line 4: this } closes nothing",
        ),
        ({"app_caddy_extra": 'a b\nrespond "x\n'}, 'app_caddy_extra, line 2: this " is not closed'),
        ({"app_caddy_extra": 'respond "x\\"\n'}, 'app_caddy_extra, line 1: this " is not closed'),
        ({"app_caddy_extra": "respond `x\n"}, "app_caddy_extra, line 1: this ` is not closed"),
        (
            {"app_caddy_extra": "header X-A b\n}\nother.example.org {\n"},
            "app_caddy_extra, line 2: this } closes nothing",
        ),
    ],
)
def test_what_caddy_could_not_serve_is_refused(settings, says):
    told = broken(**settings)
    assert says in told
    assert told.startswith(tuple(settings))
    assert "secret" not in told


@pytest.mark.parametrize(
    "settings",
    [
        {"app_max_body_size": "1.5 GiB", "app_limits": {"/a/*": {"response_header_seconds": 9}}},
        {"app_redirects": {"/docs/*": "/docs", "/*": "https://example.org{uri}"}},
        {"app_headers": {"X-Frame-Options": None}},
        {"app_trusted_proxies": ["cloudflare", "10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]},
        {"app_basic_auth": {"team": "p:ä$ß"}},
        {"app_caddy_extra": "# a }\nrespond /x \"{path}\" 200\nhandle /y {\n\trespond y\n}\n"},
        {"app_caddy_extra": 'respond /x "a } \\" }" 200\nrespond /y `"}`\n'},
        {"app_caddy_extra": "respond /it's <<TEXT\n  }\n  \"\n  TEXT 200\n"},
        {"app_caddy_extra": "header X-It a\"b#}{path}\n"},
        {"app_security_headers": {"X-Frame-Options": "DENY"}},
    ],
)  # fmt: skip
def test_what_can_be_served_is_not_refused(settings):
    assert broken(**settings) == ""


def test_a_size_has_the_bytes_that_caddy_reads():
    host = Host(SYSTEMS["bookworm"])
    for text, bytes_ in {
        "10MB": 10**7,
        "1MiB": 2**20,
        "2k": 2000,
        "7": 7,
        "1.5 GiB": 3 * 2**29,
    }.items():
        assert host(f"'{text}' | size_bytes") == bytes_


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"app_health_path": "/"}, "app_basic_auth: app_health_path stays open for everybody"),
        ({"app_health_path": "/healthz"}, ""),
        ({"app_health_path": "/größe"}, "must begin with / and have no other than ASCII"),
    ],
)
def test_a_password_does_not_leave_the_front_page_open(settings, says):
    said = broken(app_basic_auth={"team": "long enough"}, **settings)
    assert says in said
    assert bool(says) == bool(said)


def test_below_a_path_of_another_applications_site():
    site = {"app_path": "/api", "app_domain": "www.example.org"}
    kept = [{"path": "media", "public": "/media"}, "data"]
    assert "public /media must begin with app_path; example: /api/media" in broken(
        app_shared_directories=kept, **site
    )
    kept[0]["public"] = "/api/media"
    assert broken(app_shared_directories=kept, **site) == ""
    networks = ["10.0.0.0/8"]
    assert "single addresses only" in broken(app_maintenance_allowed_networks=networks, **site)
    assert broken(app_maintenance_allowed_networks=["10.0.0.1"], **site) == ""
    assert broken(app_maintenance_allowed_networks=networks) == ""


def test_a_hidden_directory_is_not_public():
    assert "cannot be public" in broken(app_shared_directories=[{"path": ".up", "public": "/up"}])
    assert broken(app_shared_directories=[".up"]) == ""
