"""`bentosync alias`: names for versions of a remote, moved by people: what `m@prod` means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bentosync.cli import table
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.operation import quietly
from bentosync.cli.options import Command, complete_models
from bentosync.cli.session import Session, pass_session

if TYPE_CHECKING:
    from bentosync.sync.alias import Alias

_HERE = "bentosync.cli.commands.alias"

TABLE = {
    "set": Lazy(f"{_HERE}:set_alias", "Let an alias name a version of a remote."),
    "list": Lazy(f"{_HERE}:list_aliases", "List the aliases of a remote and what they name.", ("ls",)),
    "remove": Lazy(f"{_HERE}:remove_alias", "Forget an alias; its version stays.", ("rm",)),
}


@click.group(cls=LazyGroup, table=TABLE)
def alias() -> None:
    """Name versions of a remote, as in m@prod."""


@click.command("set", cls=Command)
@click.argument("model", shell_complete=complete_models)
@click.argument("alias")
@pass_session
def set_alias(session: Session, model: str, alias: str) -> None:
    """Let an alias name a version of a remote.

    It names the version and its content: pulling m@prod fails if somebody pushed other content under that version
    since. Moving an alias is this same command.

    \b
    bentosync alias set llama3-8b:v2 prod
    bentosync alias set llama3-8b@staging prod
    bentosync pull llama3-8b@prod
    """  # noqa: D301  click reads the \b
    from bentosync import aio

    done = quietly(session, lambda view: aio.set_alias(model, alias, settings=session.settings, on_event=view))
    if session.json:
        session.document(_document(done))
    else:
        session.result(_names(done) if session.quiet else f"{done.name}@{done.alias} is {_names(done)}")


@click.command("list", cls=Command)
@click.argument("name", required=False, metavar="[NAME]")
@pass_session
def list_aliases(session: Session, name: str | None) -> None:
    """List the aliases of a remote and what they name."""
    from bentosync import aio

    found = quietly(session, lambda view: aio.list_aliases(name, settings=session.settings, on_event=view))
    if session.json:
        session.document([_document(each) for each in found])
    elif session.quiet:
        for each in found:
            session.result(f"{each.name}@{each.alias}")
    else:
        rows = [(f"{each.name}@{each.alias}", _names(each), each.pointer.manifest[:15] if each.pointer else "")
                for each in found]  # fmt: skip
        session.result("\n".join(table.lines(("Alias", "Tag", "Digest"), rows)))


@click.command("remove", cls=Command)
@click.argument("name")
@click.argument("alias")
@pass_session
def remove_alias(session: Session, name: str, alias: str) -> None:
    """Forget an alias; its version stays."""
    from bentosync import aio

    quietly(session, lambda view: aio.remove_alias(name, alias, settings=session.settings, on_event=view))
    if session.json:
        session.document({"name": name, "alias": alias})
    else:
        session.result(f"{name}@{alias}" if session.quiet else f"Removed {name}@{alias}")


def _names(alias: Alias) -> str:
    return f"{alias.name}:{alias.pointer.version}" if alias.pointer else "(broken)"


def _document(alias: Alias) -> dict[str, Any]:
    named = alias.pointer
    return {
        "name": alias.name,
        "alias": alias.alias,
        "tag": f"{alias.name}:{named.version}" if named else None,
        "digest": named.manifest if named else None,
        "created": named.created if named else None,
    }
