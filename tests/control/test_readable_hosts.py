"""What Ansible would pass over in a file of hosts."""

import pytest
from pergola_control.inventory.hosts import names_known, wrong_hosts
from runs import ROOT


@pytest.mark.parametrize(
    "text",
    [
        *((ROOT / f"inventory/{name}/hosts.yml").read_text() for name in ("demo", "prod")),
        "",
        "all:\n",
        "app: {hosts: web1}\n",
        "app: {hosts: {'web[1:3]': }, vars: {anything: 1}, children: {blue: }}\n",
        "app: {hosts: {web1: {ansible_private_key_file: x, ansible_become_password: y}}}\n",
        "ungrouped: {hosts: {web1: {my_own: 1, ansible_something_else: 2}}}\n",
        "plugin: some.cloud\nfilters: {a: [b]}\n",
    ],
)
def test_what_ansible_reads_is_right(text):
    assert list(wrong_hosts(text, names_known())) == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("app:\n  host:\n    web1:\n", 2, "app has host: did you mean hosts?"),
        ("app:\n  web1:\n", 2, "indent `web1` like those"),
        ("all:\n  children:\n    app:\n      web1: {}\n", 4, "app has web1"),
        ("app:\n  hosts:\n  - web1\n", 2, "hosts of app is a list"),
        ("app:\n  children: [blue]\n", 2, "children of app is a list"),
        ("app:\n  vars:\n    ansible_usr: x\n", 3, "did you mean ansible_user?"),
        ("app:\n  hosts:\n    w:\n      ansible_prot: 1\n", 4, "did you mean ansible_port?"),
    ],
)
def test_what_ansible_would_pass_over_is_told_with_its_line(text, line, says):
    ((where, what),) = wrong_hosts(text, names_known())
    assert where == line
    assert says in what
