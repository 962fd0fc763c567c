"""web2: another web server, the firewall of some clouds' images, SSH on a port of its own."""

from conftest import SSH_PORT, gets_in, page
from scenario import address

SERVER = address("web2")


def test_what_cannot_be_agreed_to_is_named_with_the_way_on(refused_other):
    assert refused_other.names == {"port-80", "firewall"}
    assert "nginx.service holds TCP port 80" in refused_other.text
    assert "systemctl disable --now nginx.service" in refused_other.text
    assert "(table ip filter) keep TCP 80 and 443 from everybody" in refused_other.text
    assert refused_other.changes == []


def test_the_other_web_server_still_answers_after_a_refusal(refused_other, web2):
    assert web2.run("systemctl is-active nginx").stdout.strip() == "active"


def test_nobody_is_locked_out_by_a_port_that_only_ssh_knows(beside):
    assert gets_in("web2", SSH_PORT)


def test_visitors_reach_the_site(beside):
    assert page(SERVER, "probe.test", "/readyz")[0] == 200


def test_the_rules_of_others_are_as_they_were(beside, web2):
    rules = web2.check_output("iptables -S INPUT")
    assert "REJECT" in rules
    assert "--dport 2222" in rules
