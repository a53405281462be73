"""`bentosync remote`: the remotes of the user's config file, and a probe that shows whether one works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
from msgspec.structs import asdict

from bentosync.cli import table
from bentosync.cli.commands.config import config_path, shown
from bentosync.cli.config_file import edited
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.errors import Conflict, InvalidArgument, NotFound
from bentosync.settings import other_remote, parse_url
from bentosync.settings.keys import REMOTE_KEYS

_HERE = "bentosync.cli.commands.remote"

TABLE = {
    "add": Lazy(f"{_HERE}:add", "Give a remote a name."),
    "list": Lazy(f"{_HERE}:list_remotes", "List the configured remotes.", ("ls",)),
    "show": Lazy(f"{_HERE}:show", "Show how a remote is configured, and where."),
    "use": Lazy(f"{_HERE}:use", "Make a remote the one that is used when none is named."),
    "remove": Lazy(f"{_HERE}:remove", "Forget a remote; its models stay where they are.", ("rm",)),
    "test": Lazy(f"{_HERE}:test", "Try what a remote can be used for: list, write, read, upload, delete."),
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@click.group(cls=LazyGroup, table=TABLE)
def remote() -> None:
    """Add, list, remove and test remotes."""


def _remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for every setting of a remote, from the table that the config file is read by."""
    for key in reversed(REMOTE_KEYS):
        name = f"--{key.name.replace('_', '-')}"
        if key.kind == "true or false":
            command = click.option(name, is_flag=True, default=None, help=key.summary)(command)
        elif key.kind == "path":
            command = click.option(name, metavar="FILE", type=click.Path(resolve_path=True), help=key.summary)(command)
        elif key.name != "url":
            metavar = key.kind.upper() if " " not in key.kind else f"[{key.kind.replace(', ', '|')}]"
            command = click.option(name, metavar=metavar, help=key.summary)(command)
    return command


@click.command(cls=Command)
@click.argument("name")
@click.argument("url")
@_remote_options
@click.option("--default", "make_default", is_flag=True, help="Use it when no remote is named.")
@click.option("-f", "--force", is_flag=True, help="Replace a remote of that name.")
@pass_session
def add(session: Session, /, name: str, url: str, make_default: bool, force: bool, **fields: Any) -> None:
    """Give a remote a name.

    \b
    bentosync remote add nas file:///mnt/models
    bentosync remote add prod s3://bucket/prefix --profile ml --sse aws:kms
    bentosync remote add lab s3://bucket/prefix --endpoint-url http://10.0.0.5:9000 --allow-http
    """  # noqa: D301  click reads the \b
    if not NAME.fullmatch(name):
        raise InvalidArgument(f'"{name}" cannot be a remote\'s name', hint="letters, digits, - and _, at most 63")
    if name in session.settings.remotes and not force:
        raise Conflict(f'there is a remote "{name}" already ({session.settings.remotes[name].url})',
                       hint="another name, or --force")  # fmt: skip
    target = config_path()
    with edited(target) as document:
        document.remove_remote(name)
        document.set(f"remote.{name}.url", parse_url(url))
        for field, value in fields.items():
            if value is not None:
                document.set(f"remote.{name}.{field}", value)
        if make_default:
            document.set("default_remote", name)
    session.say(f"Added remote {name}: {parse_url(url)}   ({target})")
    place = urlsplit(parse_url(url))
    if place.scheme == "file" and not Path(unquote(place.path)).exists():
        session.say(f"  {unquote(place.path)} is not there yet; the first push makes it. A mount? Then mount it first.")
    session.say(f"Next: bentosync remote test {name}")


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--none", "nothing", is_flag=True, help="Have no default.")
@pass_session
def use(session: Session, name: str | None, nothing: bool) -> None:
    """Make a remote the one that is used when none is named."""
    if (name is None) != nothing:
        raise click.UsageError("Name a remote, or give --none.")
    if name is not None and name not in session.settings.remotes:
        raise other_remote(name, session.settings.remotes)
    target = config_path()
    with edited(target) as document:
        if name is None:
            document.remove("default_remote")
        else:
            document.set("default_remote", name)
    session.say(f"The default remote is {name or 'none'}   ({target})")


@click.command(cls=Command)
@click.argument("name", required=False)
@pass_session
def show(session: Session, name: str | None) -> None:
    """Show how a remote is configured, and where."""
    chosen = session.chosen_remote(name)
    values = {key: value for key, value in asdict(chosen).items() if value not in (None, False)}
    if session.json:
        session.document(asdict(chosen) | {"default": chosen.name == session.settings.default_remote})
        return
    for key, value in values.items():
        origin = session.resolved.found.get(f"remote.{chosen.name}.{key}")
        session.result(f"  {key:<24}{shown(value)}" + (f"   ({origin.origin})" if origin else ""))


@click.command("list", cls=Command)
@pass_session
def list_remotes(session: Session) -> None:
    """List the configured remotes."""
    remotes = session.settings.remotes
    default = session.settings.default_remote
    if session.json:
        session.document([asdict(remote) | {"default": name == default} for name, remote in sorted(remotes.items())])
    elif session.quiet:
        for name in sorted(remotes):
            session.result(name)
    elif remotes:
        rows = [(name, remote.url, remote.endpoint_url or "", "default" if name == default else "")
                for name, remote in sorted(remotes.items())]  # fmt: skip
        for line in table.lines(("Name", "URL", "Endpoint", ""), rows):
            session.result(line)
    else:
        session.say("No remote is configured.  try: bentosync remote add nas file:///mnt/models")


@click.command(cls=Command)
@click.argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Forget a remote; its models stay where they are."""
    target = config_path()
    with edited(target) as document:
        if not document.remove_remote(name):
            origin = session.resolved.found.get(f"remote.{name}.url")
            if origin is None:
                raise other_remote(name, session.settings.remotes)
            raise NotFound(f'no remote "{name}" in {target}', hint=f"it is set in {origin.origin}")
    session.say(f"Removed remote {name} from {target}")


@click.command(cls=Command)
@click.argument("name", required=False, metavar="[NAME|URL]")
@click.option("--read-only", is_flag=True, help="Only what a pull needs: write nothing.")
@pass_session
def test(session: Session, name: str | None, read_only: bool) -> None:
    """Try what a remote can be used for: list, write, read, upload, delete.

    Shows what is used (endpoint, region, source of the credentials), which commands will work, which permission the
    others lack, whether conditional writes work, how the clocks differ, and the rate of a single request of 1 MiB.
    Exit status 4 if something was refused. Nothing of it stays on the remote.
    """
    from bentosync.cli import examination
    from bentosync.cli.operation import quietly
    from bentosync.cli.probe import examine

    chosen = session.chosen_remote(name)
    found = quietly(session, lambda observer: examine(chosen, session.settings, read_only=read_only, observer=observer))
    if session.json:
        session.document(found.as_document())
    else:
        for line in examination.lines(found):
            session.result(line)
    if found.error is not None and (not read_only or found.lacking("pull")):
        raise found.error
