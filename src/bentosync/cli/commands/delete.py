"""`bentosync delete`, and `bentosync models delete` with BentoML's prompt and result line."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from bentosync.cli import amounts
from bentosync.cli.bentos import refuse_if_used
from bentosync.cli.options import Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.errors import InvalidArgument
from bentosync.store.model import Model
from bentosync.tag import Tag


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, models: tuple[str, ...], yes: bool) -> None:
    """Delete models from the local store.

    A name without version means all its versions. What is on a remote stays there.
    """
    chosen = _chosen(session, models)
    for model in chosen:
        refuse_if_used(session.settings.home, str(model.tag))
    if not yes and not _agreed(chosen):
        return
    deleted = []
    for model in chosen:
        size = model.file_size
        session.store.delete(model.tag)
        deleted.append({"tag": str(model.tag), "size_bytes": size})
        if not session.json:
            session.result(str(model.tag) if session.quiet else f"Deleted {model.tag} ({amounts.brief(size)})")
    if session.json:
        session.document(deleted)


@click.command("delete", cls=Command)
@click.argument("delete_targets", nargs=-1, required=True, shell_complete=complete_models)
@click.option("-y", "--yes", "--assume-yes", is_flag=True, help="Skip confirmation when deleting a specific model")
@pass_session
def bentoml_delete(session: Session, delete_targets: tuple[str, ...], yes: bool) -> None:
    """Delete models from the local store (BentoML's options).

    Targets are tags or names, separated by blanks or commas; a name means all its versions.
    """
    targets = " ".join(delete_targets).replace(",", " ").split()
    for target in targets:
        for model in _matching(session, target):
            if yes or click.confirm(f"delete model {model.tag}?"):
                refuse_if_used(session.settings.home, str(model.tag))
                session.store.delete(model.tag)
                session.result(f"{model} deleted.")


def _chosen(session: Session, targets: Iterable[str]) -> list[Model]:
    found = {str(model.tag): model for target in targets for model in _matching(session, target)}
    return list(found.values())


def _matching(session: Session, target: str) -> list[Model]:
    """All versions of a name; of a tag the one `get` finds, which also knows `latest` and unique prefixes."""
    tag = Tag.from_str(target)
    return list(session.store.list(target)) if tag.version is None else [session.store.get(target)]


def _agreed(models: list[Model]) -> bool:
    if not sys.stdin.isatty():
        raise InvalidArgument("deleting needs a yes, and there is no terminal to ask on", hint="add --yes")
    for model in models:
        click.echo(f"  {model.tag}  {amounts.brief(model.file_size)}", err=True)
    return click.confirm(f"Delete {amounts.plural(len(models), 'model')}?", err=True)
