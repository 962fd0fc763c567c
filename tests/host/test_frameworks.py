"""Applications in a module's text."""

import ast

import pytest
from pergola import frameworks


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("app = FastAPI()", [("app", "FastAPI")]),
        ("app: object = starlette.applications.Starlette()", [("app", "Starlette")]),
        ("one = two = Litestar([])", [("one", "Litestar"), ("two", "Litestar")]),
        ("application = get_asgi_application()", [("application", "Django")]),
        ("from blacksheep import Application\napp = Application()", [("app", "BlackSheep")]),
        ("from sphinx import Application\napp = Application()", []),
        ("async def app(scope, receive, send): ...", [("app", "ASGI")]),
        ("async def app(request): ...", []),
        ("def make():\n    return FastAPI()", [("make()", "FastAPI")]),
        ("def make(name='x', *, debug=False):\n    return FastAPI()", [("make()", "FastAPI")]),
        ("def make(name):\n    return FastAPI()", []),
        ("def main():\n    run(FastAPI())", []),
        ("client = TestClient(FastAPI())", []),
    ],
)
def test_they_are_known_by_what_makes_them(text, found):
    module = frameworks.parsed(text)
    assert [(one.name, one.framework) for one in frameworks.applications(module)] == found


@pytest.mark.parametrize("text", ["def", "\0", "(" * 1000])
def test_what_is_no_python_has_none(text):
    assert frameworks.parsed(text) is None


def test_a_function_that_needs_arguments_still_makes_one():
    (function,) = ast.parse("def make(name):\n    return FastAPI()").body
    assert frameworks.made_in(function, frameworks.ASGI) == "FastAPI"
    assert not frameworks.needs_nothing(function)
