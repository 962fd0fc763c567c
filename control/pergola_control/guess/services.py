"""What an application wants beside its database."""

import re
from collections.abc import Iterator, Mapping

from pergola_control.guess.environment import Environment
from pergola_control.guess.variables import Variable

REDIS = re.compile(r"(redis|valkey)s?://", re.IGNORECASE)
SET = ("REDIS_URL", "VALKEY_URL")  # by app_services
OF_CELERY = re.compile(r"CELERY|BROKER|RESULT_BACKEND")


def services(
    wanted: Mapping[str, Variable],
    known: Mapping[str, tuple[str, str]],
    environment: Environment,
    has_celery: bool,
) -> Iterator[str]:
    """What to write for variables that are a Redis's URL, by their names, defaults or examples."""
    for name, one in wanted.items():
        values = (one.default, known.get(name, ("", ""))[0])
        if name not in SET and not any(map(REDIS.match, values)):
            continue
        said = f"{one.where}: {name} is the URL of a Redis: app_services: [valkey] gives it one"
        if name not in SET:
            scheme = " | with_scheme('redis+socket')"
            is_celerys = has_celery and OF_CELERY.search(name)
            url = f"{{{{ app_service.valkey.url{scheme if is_celerys else ''} }}}}"
            yield f'{said}, with {name}: "{url}" in app_environment'
        elif name in environment.plain:
            yield f"{said}: take {name} out of app_environment then"
        elif name in environment.secret:
            yield f"{said}: take {name} out of app_secrets then"
        else:
            yield said
