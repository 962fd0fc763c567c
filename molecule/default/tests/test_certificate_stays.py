"""A site keeps its public certificate when DNS does not answer, or answers something else."""

import pytest
import scenario

testinfra_hosts = ["ansible://web1"]


@pytest.fixture(params=["", "203.0.113.9"], ids=["no answer", "another address"])
def dns(host, request):
    """Let the domain resolve to something else on the server, as after a CDN was put in front."""
    host.check_output(
        "cp /etc/hosts /etc/hosts.kept && sed --in-place '/linkboard.test/d' /etc/hosts"
    )
    if request.param:
        host.check_output("echo '%s linkboard.test' >>/etc/hosts", request.param)
    yield request.param
    host.check_output("cat /etc/hosts.kept >/etc/hosts && rm /etc/hosts.kept")


def test_a_run_leaves_what_serves_and_says_what_dns_says(host, site, playbook, dns):
    before = host.file("/etc/caddy/linkboard.caddy").content_string
    done = playbook("playbooks/deploy.yml", "--tags=app")
    assert done.returncode == 0, done.stdout
    pointing = f"points to {dns}" if dns else "does not resolve"
    assert f"WARNING: linkboard.test (app_domain) {pointing}, not to web1" in scenario.said(done)
    assert "The site keeps its public certificate" in scenario.said(done)
    assert host.file("/etc/caddy/linkboard.caddy").content_string == before
    # Checked by the test network's authority: a certificate of Caddy's own would be refused.
    assert site.get("/readyz").status_code == 200
    assert site.get("/readyz", plain=True).status_code == 308


@pytest.mark.parametrize("dns", [""], indirect=True, ids=["no answer"])
def test_a_certificate_that_is_there_is_enough(host, playbook, dns):
    """The site's file may be lost: the certificate is there all the same."""
    host.check_output("mv /etc/caddy/linkboard.caddy /root/kept.caddy")
    try:
        done = playbook("playbooks/deploy.yml", "--tags=app", "--check", "--diff")
    finally:
        back = "mv /root/kept.caddy /etc/caddy/linkboard.caddy && touch /run/caddy/loaded"
        host.check_output(back)
    assert "The site keeps its public certificate" in scenario.said(done)
    assert "tls internal" not in done.stdout


def test_giving_it_up_is_a_setting(playbook):
    done = playbook(
        "playbooks/deploy.yml", "--tags=app", "--check", "--diff", app_certificates="internal"
    )
    assert "+\ttls internal" in done.stdout


def test_a_name_without_a_certificate_begins_with_one_of_caddys_own(playbook):
    done = playbook(
        "playbooks/deploy.yml", "--tags=app", "--check", "--diff", app_domain="new.test"
    )
    assert "No public certificate can be had like that" in scenario.said(done)
    assert "tls internal" in done.stdout
