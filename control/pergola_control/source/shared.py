"""What of a release is in the place of a directory that stays on the server."""

from collections.abc import Iterable, Sequence

from pergola_control.programs import some
from pergola_control.refusal import RefusalError
from pergola_control.source.directories import named_path
from pergola_control.source.settings import Settings

SETTING = "app_shared_directories"


def shared_paths(settings: Settings, directory: str) -> list[str]:
    """The directories that stay, from the release's top; `directory`: the application's."""
    return [named_path(directory, path) for path in settings.shared]


def refuse_in_the_way(shared: Sequence[str], names: Iterable[str]) -> None:
    """Refuse a release in which one of them is a file, or holds code; `names` of its files."""
    files = list(names)
    for path in shared:
        above = [name for name in files if f"{path}/".startswith(f"{name}/")]
        if above:
            raise RefusalError(
                f"{above[0]} is a file or a link in the repository, and {path} is to be a "
                "directory that stays on the server.",
                SETTING,
                f"name another directory, or remove {above[0]} from the repository",
            )
        code = [name for name in files if name.startswith(f"{path}/") and is_code(name)]
        if code:
            raise RefusalError(
                f"{path} holds code, which is part of each release: {some(sorted(code))}.",
                SETTING,
                "name only the directory that the application writes its files to",
            )


def is_code(name: str) -> bool:
    """Whether a file is one that releases are made of."""
    return name.endswith((".py", "/pyproject.toml"))
