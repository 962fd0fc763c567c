"""A secret that CI lacks comes as an empty text: refused, unless it was said that it may."""

import pytest
from test_systems import SYSTEMS, Host

FROM_CI = "{{ lookup('env', 'PERGOLA_TEST_SECRET') }}"
STORAGE = {"bucket": "b", "endpoint": "e", "region": "r", "key": "k"}


def broken(**settings):
    return Host(SYSTEMS["bookworm"], **settings).broken()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"app_secrets": {"API_KEY": FROM_CI, "OTHER": "set"}}, "app_secrets.API_KEY:"),
        ({"app_secrets": {"API_KEY": "  \n"}}, "app_secrets.API_KEY:"),
        ({"app_credentials": {"tls_key": FROM_CI}}, "app_credentials.tls_key:"),
        ({"backup_s3": {**STORAGE, "key_secret": FROM_CI}}, "backup_s3.key_secret:"),
        (
            {"app_secrets": {"ONE": FROM_CI, "TWO": FROM_CI}, "app_secrets_may_be_empty": ["ONE"]},
            "app_secrets.TWO:",
        ),
    ],
)
def test_an_empty_secret_is_refused_by_its_name(settings, named, monkeypatch):
    monkeypatch.delenv("PERGOLA_TEST_SECRET", raising=False)
    assert broken(**settings).startswith(f"{named} the value is empty")
    # Of the storage's keys none may be.
    assert ("app_secrets_may_be_empty: [NAME]" in broken(**settings)) is named.startswith("app_")
    monkeypatch.setenv("PERGOLA_TEST_SECRET", "s3cret")
    assert "s3cret" not in broken(**settings)


def test_one_that_may_be_empty_and_one_that_is_set_are_taken(monkeypatch):
    monkeypatch.setenv("PERGOLA_TEST_SECRET", "s3cret")
    settings = {"app_secrets": {"API_KEY": FROM_CI, "SENTRY_DSN": ""}}
    assert broken(**settings, app_secrets_may_be_empty=["SENTRY_DSN"]) == ""
    assert broken() == ""
