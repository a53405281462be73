"""Reading settings: layers of (key, value, origin), lowest first, folded into one frozen `Settings`.

Each layer is a mapping from dotted key to `Found`. A remote that a higher layer names again replaces the lower one
whole: half a remote from each of two files would send a password-less URL the other file's profile. A key nobody
knows or a value of the wrong type is an error that names the file and the key, because a silently ignored line in a
config file is found weeks later.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from bentosync.errors import InvalidArgument, Unsupported
from bentosync.settings.choose import named
from bentosync.settings.keys import (
    CUSTOMER_KEY,
    INSTEAD_OF_CUSTOMER_KEYS,
    KEYS,
    NO_CUSTOMER_KEYS,
    REMOTE_KEYS,
    Key,
    Place,
)
from bentosync.settings.values import RemoteSettings, Settings, TerminalSettings, TransferSettings

CONFIG_BYTES_MAX = 1 << 20
"""A config file is written by hand; a bigger one is a mistake, refused before it is parsed."""


class Found(Struct, frozen=True):
    """One value and where it came from: a file, an environment variable, or "default"."""

    value: Any
    origin: str


class Resolved(Struct, frozen=True):
    """The settings, and for every key that some layer sets: its value and origin, by dotted key."""

    settings: Settings
    found: Mapping[str, Found]


def load(
    *, environ: Mapping[str, str] = os.environ, cwd: Path | None = None, config_dir: Path | None = None
) -> Settings:
    """The settings of this process.

    Args:
        environ: Environment variables.
        cwd: Where `bentosync.toml` and `pyproject.toml` are looked for; the working directory by default.
        config_dir: Folder of `config.toml`; `$XDG_CONFIG_HOME/bentosync` by default.

    Raises:
        InvalidArgument: A file or variable holds an unknown key or a value of the wrong type.
    """
    return resolve(environ=environ, cwd=cwd, config_dir=config_dir).settings


def resolve(
    *, environ: Mapping[str, str] = os.environ, cwd: Path | None = None, config_dir: Path | None = None
) -> Resolved:
    """Like `load`, keeping where each value came from."""
    variables = dict(environ)
    here = cwd if cwd is not None else Path.cwd()
    user_file = config_dir / "config.toml" if config_dir is not None else user_config_path(variables)
    found: dict[str, Found] = {}
    _overlay(found, _from_file(user_file, variables) if user_file is not None else {})
    _overlay(found, _from_file(here / "pyproject.toml", variables, "tool", "bentosync"))
    _overlay(found, _from_file(here / "bentosync.toml", variables))
    _overlay(found, _from_environ(variables, here))
    return Resolved(_settings(found, variables), MappingProxyType(found))


def user_config_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`$XDG_CONFIG_HOME/bentosync/config.toml`, else below `$HOME/.config`; None when neither variable is set."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config", "config.toml")


def terminal(environ: Mapping[str, str] = os.environ) -> TerminalSettings:
    """What the environment says about the terminal (NO_COLOR, FORCE_COLOR, TERM, CI)."""
    return TerminalSettings(
        no_color=bool(environ.get("NO_COLOR")),
        force_color=bool(environ.get("FORCE_COLOR")),
        dumb=environ.get("TERM") == "dumb",
        ci=environ.get("CI", "").lower() not in ("", "0", "false"),
    )


def parse_for_file(name: str, value: Any, path: Path, *, environ: Mapping[str, str] = os.environ) -> Any:
    """What `value` would mean as the setting `name` (dotted) of the config file at `path`.

    A string is read as a command line gives it: "32" for a count, "true" for a flag.

    Raises:
        InvalidArgument: No such setting, or not its type.
    """
    return _parse(name, value, Place(str(path), path.parent, environ, textual=isinstance(value, str)))


def check_file(text: str, path: Path, *, environ: Mapping[str, str] = os.environ) -> None:
    """Check what would be the config file at `path`, as a whole: two settings may not go together.

    Raises:
        InvalidArgument: It could not be loaded.
    """
    variables = dict(environ)
    _settings(_from_document(_decoded(text.encode(), path), path, variables), variables)


def _parse(name: str, value: Any, place: Place) -> Any:
    key = _known(name, place)
    try:
        return key.parse(value, place)
    except ValueError as error:
        raise InvalidArgument(f"{place.where}: {name}: {error}") from None


def _known(name: str, place: Place) -> Key:
    table = {key.name: key for key in KEYS}
    head, _, tail = name.partition(".")
    if head == "remote" and tail.count(".") == 1 and tail.split(".")[0]:
        prefix = f"remote.{tail.split('.')[0]}."
        table |= {prefix + key.name: key for key in REMOTE_KEYS}
    if name not in table:
        if head == "remote" and CUSTOMER_KEY.fullmatch(name.rpartition(".")[2].lower()):
            raise Unsupported(f"{place.where}: {name}: {NO_CUSTOMER_KEYS}", hint=INSTEAD_OF_CUSTOMER_KEYS)
        raise InvalidArgument(f'{place.where}: unknown setting "{name}"', hint=_meant(name, table))
    return table[name]


def _meant(name: str, table: Mapping[str, Key]) -> str:
    """What somebody who wrote `name` may have meant: the same words elsewhere, or a near miss."""
    import difflib  # only a mistake pays for it

    tail = name.rpartition(".")[2]
    elsewhere = [known for known in table if known.rpartition(".")[2] == tail]
    close = elsewhere or difflib.get_close_matches(name, table, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return "all settings: bentosync config list --all, and docs/reference/settings.md"


def _from_environ(environ: dict[str, str], here: Path) -> dict[str, Found]:
    layer = {}
    for key in KEYS:
        # An empty variable counts as unset, as everywhere in POSIX land.
        if key.env is not None and (value := environ.get(key.env)):
            place = Place(f"environment variable {key.env}", here, environ, textual=True)
            layer[key.name] = Found(_parse(key.name, value, place), f"env {key.env}")
    return layer


def _from_file(path: Path, environ: dict[str, str], *tables: str) -> dict[str, Found]:
    return _from_document(_read(path), path, environ, *tables)


def _from_document(document: dict[str, Any], path: Path, environ: dict[str, str], *tables: str) -> dict[str, Found]:
    for table in tables:
        document = document.get(table, {})
        if not isinstance(document, dict):
            raise InvalidArgument(f"{path}: {table}: expected a table, got {document!r}")
    place = Place(str(path), path.parent, environ)
    return {name: Found(_parse(name, value, place), str(path)) for name, value in _flatten(document)}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidArgument(
            f"{path}: cannot be read: {error.strerror}", hint="make it readable, or set HOME or XDG_CONFIG_HOME"
        ) from None
    return _decoded(data, path)


def _decoded(data: bytes, path: Path) -> dict[str, Any]:
    if len(data) > CONFIG_BYTES_MAX:
        raise InvalidArgument(f"{path}: longer than {CONFIG_BYTES_MAX} bytes")
    import tomllib  # 6 ms, wanted only where a file exists

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise InvalidArgument(f"{path}: not valid TOML: {error}") from None


def _flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _overlay(found: dict[str, Found], layer: Mapping[str, Found]) -> None:
    redefined = {_remote_prefix(name) for name in layer if name.startswith("remote.")}
    for name in [name for name in found if name.startswith("remote.") and _remote_prefix(name) in redefined]:
        del found[name]
    found.update(layer)


def _remote_prefix(name: str) -> str:
    return name.rpartition(".")[0]


def _settings(found: Mapping[str, Found], environ: Mapping[str, str]) -> Settings:
    def section(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): f.value for name, f in found.items() if name.startswith(prefix)}

    store = section("store.")
    return Settings(
        home=store.pop("home", None) or _default_home(environ),
        cache_dir=store.pop("cache_dir", None) or _xdg(environ, "XDG_CACHE_HOME", ".cache"),
        remotes=MappingProxyType(dict(_remotes(found, section))),
        transfer=TransferSettings(**section("transfer.")),
        **store,
        **{name: f.value for name, f in found.items() if "." not in name},
    )


def _remotes(
    found: Mapping[str, Found], section: Callable[[str], dict[str, Any]]
) -> Iterator[tuple[str, RemoteSettings]]:
    prefixes = dict.fromkeys(_remote_prefix(name) for name in found if name.startswith("remote."))
    for prefix in prefixes:
        fields = section(f"{prefix}.")
        origin = next(f.origin for name, f in found.items() if name.startswith(f"{prefix}."))
        if "url" not in fields:
            raise InvalidArgument(f"{origin}: {prefix}: has no url", hint='add url = "s3://bucket/prefix"')
        if "sse_kms_key_id" in fields and not fields.get("sse", "").startswith("aws:kms"):
            raise InvalidArgument(
                f"{origin}: {prefix}.sse_kms_key_id: names a key that would not be used", hint='add sse = "aws:kms"'
            )
        name = prefix.removeprefix("remote.")
        try:
            yield name, named(name, RemoteSettings(**fields))
        except InvalidArgument as error:
            raise type(error)(f"{origin}: {prefix}.url: {error.message}", hint=error.hint) from None


def _default_home(environ: Mapping[str, str]) -> Path:
    if home := environ.get("HOME"):
        return Path(home) / "bentoml"
    try:
        # Without HOME this asks the user database, which knows nothing of a container's random uid.
        return Path.home() / "bentoml"
    except RuntimeError:
        raise InvalidArgument(
            "neither BENTOML_HOME nor HOME is set, so there is no store", hint="export BENTOML_HOME=/path/to/bentoml"
        ) from None


def _xdg(environ: Mapping[str, str], variable: str, below_home: str, *names: str) -> Path | None:
    if base := environ.get(variable):
        return Path(base, "bentosync", *names)
    if home := environ.get("HOME"):
        return Path(home, below_home, "bentosync", *names)
    return None
