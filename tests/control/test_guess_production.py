"""What `make try` guesses of what a server needs otherwise than a developer does."""

import pytest
from pergola_control.guess.repository import opened
from pergola_control.guess.whole import guess
from test_guess import BARE, HASHED, made, settings_of

FALLS_BACK = (
    "import os\nfrom django.core.wsgi import get_wsgi_application\n\n"
    'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\napplication = get_wsgi_application()\n'
)


@pytest.mark.parametrize(
    ("default", "of_manage", "beside", "found"),
    [
        ("shop.settings.dev", "shop.settings.dev", "settings/production", "settings.production"),
        ("shop.settings.local", "", "settings/prod", "settings.prod"),
        ("shop.settings_dev", "", "settings_prod", "settings_prod"),
        ("shop.settings.development", "", "settings/production", "settings.production"),
        ("shop.settings.live", "shop.settings.local", "settings/live", "settings.live"),
        ("shop.settings.production", "shop.settings.production", "settings/production", None),
        ("shop.settings.dev", "shop.settings.dev", "settings/staging", None),
        ("shop.settings.devices", "", "settings/production", None),
    ],
)
def test_production_settings_are_taken_instead_of_developments(
    tmp_path, default, of_manage, beside, found
):
    own = default.removeprefix("shop.").replace(".", "/")
    files = {
        f"shop/{own}.py": "import os\nfrom .base import *\nos.environ['OF_DEVELOPMENT']\n",
        "shop/settings/base.py": "import os\nfrom .more import *\nfrom os.path import *\n"
        "os.environ['OF_BASE']\nROOT_URLCONF = 'shop.urls'\nWSGI = 'shop.wsgi'\n",
        "shop/settings/more.py": "import os\nos.environ['OF_MORE']\n",
        f"shop/{beside}_ci.py": "import os\nos.environ['OF_CI']\n",
        f"shop/{beside}.py": "import os\nfrom shop.settings.base import *\n"
        "os.environ['OF_PRODUCTION']\n",
        "shop/wsgi.py": FALLS_BACK.format(default),
        "shop/urls.py": "import os\nos.environ['OF_SITE']\n",
        "manage.py": FALLS_BACK.format(of_manage).replace("application", "_"),
        "requirements.txt": f"x==1{HASHED}",
    }
    with opened(str(made(tmp_path / "tryout", files))) as repository:
        environment = guess(repository).environment
    assert environment.plain.get("DJANGO_SETTINGS_MODULE") == (found and f"shop.{found}")
    if found:
        where = "manage.py:4" if default.endswith("live") else "shop/wsgi.py:4"
        assert environment.said["DJANGO_SETTINGS_MODULE"][0] == where
        read = {name for name in environment.plain if name.startswith("OF_")}
        assert read == {"OF_BASE", "OF_MORE", "OF_PRODUCTION", "OF_SITE"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('os.environ.get("DEBUG", "True") == "True"', "False"),
        ('os.getenv("DJANGO_DEBUG", "true").lower() == "true"', "false"),
        ('bool(int(os.getenv("DEBUG", "1")))', "0"),
        ('bool(int(os.getenv("DEBUG", 1)))', "0"),
        ('os.getenv("DEBUG", "ON") == "ON"', "OFF"),
        ('config("APP_DEBUG", default=True, cast=bool)', "False"),
        ('env.bool("DEBUG", True)', "False"),
        ('env("DEBUG")', "False"),
        ('env.bool("DEBUG", default=False)', None),
        ('os.environ.get("DEBUG")', None),
        ('os.environ.get("DEBUG_LEVEL", "1")', None),
    ],
)
def test_what_shows_the_code_to_visitors_is_switched_off(tmp_path, line, value):
    text = f"import os\nfrom decouple import config\nX = {line}\n{BARE}"
    found = settings_of(tmp_path, main_dot_py=text).settings.get("app_environment", {})
    assert list(found.values()) == ([] if value is None else [value])


def test_an_example_does_not_switch_it_on(tmp_path):
    text = f"import os\nX = os.environ['DEBUG']\n{BARE}"
    found = settings_of(tmp_path, main_dot_py=text, _dot_env_dot_example="DEBUG=on\n").settings
    assert found["app_environment"] == {"DEBUG": "off"}


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ('Path("shop", "static")', "shop/static"),
        ('Path(Path(__file__).parent, "static", "css")', "shop/static/css"),
        ('pathlib.PurePath("shop", "static").as_posix()', "shop/static"),
        ('Path("shop").joinpath("static", "css")', "shop/static/css"),
        ('os.path.join("shop", "static")', "shop/static"),
        ('Path("shop", folder)', None),
        ('Path("shop", *parts)', None),
        ('Path("shop")', None),
        ('"."', None),
    ],
)
def test_a_path_is_read_whole_and_none_with_code_is_published(tmp_path, path, directory):
    text = (
        "from fastapi import FastAPI\nfrom fastapi.staticfiles import StaticFiles\n"
        f'app = FastAPI()\napp.mount("/static", StaticFiles(directory={path}))\n'
    )
    files = {"shop__static__css__a_dot_css": "", "shop____init___dot_py": ""}
    found = settings_of(tmp_path, shop__main_dot_py=text, **files)
    assert found.settings.get("app_static_dir") == directory
    assert ("app_static_url" in found.settings) == bool(directory)


@pytest.mark.parametrize(
    ("line", "example", "says"),
    [
        ('os.getenv("REDIS_URL", "redis://localhost:6379/0")', "", "gives it one"),
        (
            'os.environ["REDIS_URL"]',
            "REDIS_URL=redis://cache:6379",
            "gives it one: take REDIS_URL out of app_environment then",
        ),
        (
            'os.environ["REDIS_URL"]',
            "REDIS_URL=redis://:hush@cache:6379",
            "gives it one: take REDIS_URL out of app_secrets then",
        ),
        (
            'os.getenv("CELERY_BROKER_URL", "redis://localhost")',
            "",
            "gives it one, with CELERY_BROKER_URL: "
            "\"{{ app_service.valkey.url | with_scheme('redis+socket') }}\" in app_environment",
        ),
        (
            'os.getenv("CACHE")',
            "CACHE=valkey://cache",
            'gives it one, with CACHE: "{{ app_service.valkey.url }}" in app_environment',
        ),
        ('os.getenv("CACHE", "memory://")', "", None),
        ('os.getenv("REDIS_URL")', "", "gives it one"),
        ('os.environ["MAIL_URL"]', "", None),
    ],
)
def test_a_redis_is_told_to_be_a_service(tmp_path, line, example, says):
    files = {
        "main_dot_py": f"import os\nX = {line}\n{BARE}",
        "_dot_env_dot_example": f"{example}\n",
        "requirements_dot_txt": f"celery==1{HASHED}",
    }
    notes = [one for one in settings_of(tmp_path, **files).notes if "Redis" in one]
    name = line.split('"')[1]
    start = f"main.py:2: {name} is the URL of a Redis: app_services: [valkey] "
    assert notes == ([start + says] if says else [])
