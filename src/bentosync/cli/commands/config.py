"""`bentosync config`: show settings with their origin, change the user's config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from msgspec.structs import fields

from bentosync.cli import table
from bentosync.cli.config_file import edited
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.errors import InvalidArgument, NotFound
from bentosync.settings import other_remote, user_config_path
from bentosync.settings.keys import KEYS

_HERE = "bentosync.cli.commands.config"

TABLE = {
    "list": Lazy(f"{_HERE}:list_settings", "Show what is set; --all shows everything."),
    "get": Lazy(f"{_HERE}:get", "Print one setting."),
    "set": Lazy(f"{_HERE}:set_value", "Set a value in the user's config file."),
    "path": Lazy(f"{_HERE}:path", "Print the path of the user's config file."),
}


@click.group(cls=LazyGroup, table=TABLE)
def config() -> None:
    """Show and change settings.

    Order: option, environment, ./bentosync.toml, [tool.bentosync] of ./pyproject.toml, the user's config file, default.
    """


@click.command("list", cls=Command)
@click.option("--show-origin", is_flag=True, help="Show the file or variable that each value comes from.")
@click.option("--all", "everything", is_flag=True, help="Include the defaults.")
@pass_session
def list_settings(session: Session, show_origin: bool, everything: bool) -> None:
    """Show what is set; --all shows everything."""
    values = effective(session)
    found = session.resolved.found
    names = [name for name in values if everything or name in found]
    if session.json:
        session.document(
            {
                name: {"value": values[name], "origin": found[name].origin if name in found else "default"}
                for name in names
            }
        )
        return
    rows = [(name, shown(values[name]), found[name].origin if name in found else "default") for name in names]
    if rows:
        for line in table.lines(("Setting", "Value", "Origin")[: 3 if show_origin else 2],
                                [row[: 3 if show_origin else 2] for row in rows]):  # fmt: skip
            session.result(line)
    else:
        session.say("Nothing is set; everything has its default (--all).")


@click.command(cls=Command)
@click.argument("name")
@pass_session
def get(session: Session, name: str) -> None:
    """Print one setting."""
    values = effective(session)
    if name not in values:
        import difflib

        close = difflib.get_close_matches(name, values, n=1)
        hint = f"did you mean {close[0]}?" if close else "all settings: bentosync config list --all"
        raise NotFound(f'no setting "{name}"', hint=hint)
    if session.json:
        session.document({name: values[name]})
    else:
        session.result(shown(values[name]))


@click.command("set", cls=Command, needs_settings=False)
@click.argument("name")
@click.argument("value")
@pass_session
def set_value(session: Session, name: str, value: str) -> None:
    """Set a value in the user's config file.

    \b
    bentosync config set default_remote team
    bentosync config set transfer.jobs 32
    """  # noqa: D301  click reads the \b
    section, _, key = name.rpartition(".")
    kind, _, remote = section.partition(".")
    target = config_path()
    with edited(target) as document:
        if kind == "remote" and key != "url" and "." not in remote and remote not in document.remotes:
            raise other_remote(remote, document.remotes)
        document.set(name, value)
    session.say(f"Set {name} in {target}")


@click.command(cls=Command, needs_settings=False)
@pass_session
def path(session: Session) -> None:
    """Print the path of the user's config file."""
    target = config_path()
    if session.json:
        session.document({"path": str(target), "exists": target.is_file()})
    else:
        session.result(str(target))


def config_path() -> Path:
    """The user's config file, which may not exist yet."""
    target = user_config_path()
    if target is None:
        raise InvalidArgument("no place for a config file: neither XDG_CONFIG_HOME nor HOME is set",
                              hint="export XDG_CONFIG_HOME=/some/dir, or write ./bentosync.toml")  # fmt: skip
    return target


def effective(session: Session) -> dict[str, Any]:
    """Every setting by its dotted name, as it holds for this invocation."""
    settings = session.settings
    values: dict[str, Any] = {}
    for key in KEYS:
        section, _, field = key.name.rpartition(".")
        values[key.name] = getattr(settings.transfer if section == "transfer" else settings, field)
    for name, remote in settings.remotes.items():
        for field_of in fields(remote):
            dotted = f"remote.{name}.{field_of.name}"
            if field_of.name != "name" and dotted in session.resolved.found:
                values[dotted] = getattr(remote, field_of.name)
    return values


def shown(value: Any) -> str:
    """A value as TOML writes it, nearly: a missing one is empty."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
