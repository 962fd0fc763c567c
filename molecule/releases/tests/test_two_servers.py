"""All servers of an application or none: the tests in beside/ ran while the others did."""


def test_two_servers_change_together_or_not_at_all(tests_beside, capsys):
    code, output = tests_beside()
    with capsys.disabled():
        print(f"\n{output}")
    assert code == 0
