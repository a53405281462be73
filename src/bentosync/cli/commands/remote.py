"""`bentosync remote`: the remotes of the user's config file, and a probe that shows whether one works."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import click

from bentosync.cli import amounts, table
from bentosync.cli.commands.config import config_path
from bentosync.cli.config_file import edited
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.errors import Conflict, InvalidArgument, NotFound
from bentosync.settings import parse_url

_HERE = "bentosync.cli.commands.remote"

TABLE = {
    "add": Lazy(f"{_HERE}:add", "Give a remote a name."),
    "list": Lazy(f"{_HERE}:list_remotes", "List the configured remotes.", ("ls",)),
    "remove": Lazy(f"{_HERE}:remove", "Forget a remote; its models stay where they are.", ("rm",)),
    "test": Lazy(f"{_HERE}:test", "Write, read and delete a small probe."),
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@click.group(cls=LazyGroup, table=TABLE)
def remote() -> None:
    """Add, list, remove and test remotes."""


@click.command(cls=Command)
@click.argument("name")
@click.argument("url")
@click.option("--endpoint-url", metavar="URL", help="Endpoint of an S3-compatible store.")
@click.option("--region", help="Region of the bucket.")
@click.option("--profile", help="Profile of the AWS config files.")
@click.option("--addressing", type=click.Choice(["auto", "path", "virtual"]), help="Where the bucket name goes.")
@click.option("--anonymous", is_flag=True, default=None, help="Send unsigned requests.")
@click.option("--single-writer", is_flag=True, default=None, help="The store ignores conditional writes.")
@click.option(
    "--ca-bundle", metavar="FILE", type=click.Path(resolve_path=True), help="Certificate authorities to trust."
)
@click.option("--default", "make_default", is_flag=True, help="Use it when no remote is named.")
@click.option("-f", "--force", is_flag=True, help="Replace a remote of that name.")
@pass_session
def add(session: Session, /, name: str, url: str, make_default: bool, force: bool, **fields: Any) -> None:
    """Give a remote a name.

    \b
    bentosync remote add nas file:///mnt/models
    bentosync remote add prod s3://bucket/prefix --profile ml
    bentosync remote add lab s3://bucket/prefix --endpoint-url http://10.0.0.5:9000
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
    session.say(f"Next: bentosync remote test {name}")


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
            where = f"it is set in {origin.origin}" if origin else "bentosync remote list"
            raise NotFound(f'no remote "{name}" in {target}', hint=where)
    session.say(f"Removed remote {name} from {target}")


@click.command(cls=Command)
@click.argument("name", required=False, metavar="[NAME|URL]")
@pass_session
def test(session: Session, name: str | None) -> None:
    """Write, read and delete a small probe.

    Shows what is used (endpoint, region, source of the credentials), whether conditional writes work, and a rate.
    """
    from bentosync.cli.probe import probe
    from bentosync.cli.running import run

    chosen = session.chosen_remote(name)
    found = run(probe(chosen, session.settings), session.interrupted)
    if session.json:
        session.document(found.as_document())
        return
    session.result(f"{chosen.name or chosen.url}: ok")
    for label, value in (
        ("url", found.url),
        *found.facts,
        ("conditional writes", "yes" if found.conditional else "no: push with --single-writer"),
        ("round trip", amounts.duration(found.round_trip_seconds)),
        ("write", amounts.rate(found.write_rate)),
        ("read", amounts.rate(found.read_rate)),
    ):
        session.result(f"  {label:<20}{value}")
