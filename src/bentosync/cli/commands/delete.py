"""`bentosync delete`, and `bentosync models delete` with BentoML's prompt and result line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from bentosync.cli import amounts
from bentosync.cli.bentos import refuse_if_used
from bentosync.cli.operation import quietly
from bentosync.cli.options import BentomlCommand, TwoSided, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.errors import InvalidArgument
from bentosync.store.model import Model
from bentosync.tag import Tag

if TYPE_CHECKING:
    from bentosync.sync.heads import Head


@click.command(cls=TwoSided)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and do nothing.")
@click.option("--single-writer", is_flag=True, default=None,
              help="Go on although the remote ignores conditional writes; nobody else may write there.")  # fmt: skip
@pass_session
def delete(session: Session, models: tuple[str, ...], yes: bool, dry_run: bool, single_writer: bool | None) -> None:
    """Delete models from the local store or a remote.

    From a remote only with --remote [NAME|URL]; what is on the other side stays there. A name without version means
    all its versions.
    """
    doomed = _on_remote(session, models, single_writer) if session.elsewhere else _in_store(session, models)
    if not dry_run and not yes and not _agreed(session, doomed):
        return
    deleted = []
    for each in doomed:
        if not dry_run:
            each.remove()
        deleted.append({"tag": each.tag, "size_bytes": each.size_bytes, "dry_run": dry_run})
        if not session.json:
            word = "Would delete" if dry_run else "Deleted"
            session.result(each.tag if session.quiet else f"{word} {each.tag} ({amounts.brief(each.size_bytes)})")
    if session.json:
        session.document(deleted)


class Doomed(Struct, frozen=True):
    """A version that is to go."""

    tag: str
    size_bytes: int
    remove: Callable[[], object]


def _in_store(session: Session, targets: Iterable[str]) -> list[Doomed]:
    found = {str(model.tag): model for target in targets for model in _matching(session, target)}
    for model in found.values():
        refuse_if_used(session.settings.home, model.tag)
    return [Doomed(tag, model.file_size, partial(session.store.delete, model.tag)) for tag, model in found.items()]


def _on_remote(session: Session, targets: Iterable[str], single_writer: bool | None) -> list[Doomed]:
    from bentosync import aio

    settings = session.settings
    found: dict[str, Head] = {}
    for target in targets:
        heads = quietly(session, lambda view, t=target: aio.list_remote(t, settings=settings, on_event=view))  # type: ignore[misc]
        found |= {str(head.tag): head for head in heads}

    def remove(head: Head) -> None:
        quietly(
            session,
            lambda view: aio.delete_remote(head, single_writer=single_writer, settings=settings, on_event=view),
        )

    return [Doomed(tag, head.card.size, partial(remove, head)) for tag, head in found.items()]


@click.command("delete", cls=BentomlCommand)
@click.argument("delete_targets", nargs=-1, required=True, shell_complete=complete_models)
@click.option("-y", "--yes", "--assume-yes", is_flag=True, help="Skip confirmation when deleting a specific model")
@pass_session
def bentoml_delete(session: Session, delete_targets: tuple[str, ...], yes: bool) -> None:
    """Delete models from the local store (BentoML's options).

    Targets are tags or names, separated by blanks or commas; a name means all its versions.
    """
    targets = " ".join(delete_targets).replace(",", " ").split()
    for target in targets:
        Tag.from_str(target)  # one that is none stops everything before anything is gone
    for target in targets:
        for model in _matching(session, target):
            if yes or click.confirm(f"delete model {model.tag}?"):
                refuse_if_used(session.settings.home, model.tag)
                session.store.delete(model.tag)
                session.result(f"{model} deleted.")


def _matching(session: Session, target: str) -> list[Model]:
    """All versions of a name; of a tag the one `get` finds, which also knows `latest` and unique prefixes."""
    tag = Tag.from_str(target)
    return list(session.store.list(target)) if tag.version is None else [session.store.get(target)]


def _agreed(session: Session, doomed: list[Doomed]) -> bool:
    if not sys.stdin.isatty():
        raise InvalidArgument("deleting needs a yes, and there is no terminal to ask on", hint="add --yes")
    for each in doomed:
        click.echo(f"  {each.tag}  {amounts.brief(each.size_bytes)}", err=True)
    where = f" from {session.chosen_remote().url}" if session.elsewhere else ""
    return click.confirm(f"Delete {amounts.plural(len(doomed), 'model')}{where}?", err=True)
