"""What a server says that does not let Ansible in as it is asked to."""

import re

import pytest
from scenario import said


def refused(playbook, **connection):
    done = playbook("playbooks/provision.yml", "--tags=base", **connection)
    assert done.returncode != 0
    assert "changed=0" in done.stdout
    return said(done)


@pytest.fixture
def keys(web1):
    """The keys that the tests log in with."""
    return web1.check_output("cat ~deploy/.ssh/authorized_keys")


def test_root_of_a_cloud_image_names_the_user_to_log_in_as(playbook):
    words = refused(playbook, ansible_user="root")
    assert "Please login as the user ubuntu rather than the user root." in words
    assert re.search(r"set ansible_user in \S+\.yml to that", words)
    assert "usermod" not in words


@pytest.fixture
def with_password(web1, keys):
    """An account whose sudo, which is sudo-rs, asks for a password."""
    web1.check_output("useradd --create-home --shell /bin/sh --groups sudo asked")
    web1.check_output("echo asked:secret | chpasswd; install -d -o asked -m 700 ~asked/.ssh")
    web1.check_output("echo %s >~asked/.ssh/authorized_keys", keys)
    # sudo-rs leaves the umask as it was, which would let a group write it.
    web1.check_output("chown asked ~asked/.ssh/*; chmod 600 ~asked/.ssh/*")
    yield {"ansible_user": "asked"}
    web1.run("loginctl terminate-user asked; systemctl stop user@$(id -u asked).service")
    web1.check_output("userdel --force --remove asked 2>&1")


def test_a_sudo_that_ansible_cannot_answer_is_named_with_the_way_round_it(with_password, playbook):
    words = refused(playbook, **with_password)
    assert "add `--ask-become-pass` to the command" in words
    with_password["ansible_become_password"] = "secret"
    words = refused(playbook, **with_password)
    assert "-e ansible_become_exe=sudo.ws" in words
    assert "UNREACHABLE" not in words
    done = playbook(
        "playbooks/provision.yml", "--tags=base", **with_password, ansible_become_exe="sudo.ws"
    )
    assert "changed=0" in done.stdout
    assert done.returncode == 0, done.stdout
