"""`bentosync import`, and `bentosync models import` with BentoML's options and result line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bentosync.cli import amounts
from bentosync.cli.commands.export_model import FORMATS
from bentosync.cli.operation import each, report
from bentosync.cli.options import BentomlCommand, Command
from bentosync.cli.progress.choose import view_for
from bentosync.cli.session import Session, pass_session
from bentosync.errors import InvalidArgument
from bentosync.events import Finished

if TYPE_CHECKING:
    from bentosync.exchange.importing import Existing
    from bentosync.store.model import Model


@click.command("import", cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--name", metavar="NAME[:VERSION]", help="What a folder or archive without model.yaml becomes.")
@click.option("--format", "input_format", type=click.Choice(FORMATS), help="Refuse what is of another format.")
@click.option("--skip-existing", is_flag=True, help="Keep versions that are in the store already.")
@click.option("-f", "--force", is_flag=True, help="Replace versions that are in the store, once the new one is whole.")
@pass_session
def import_models(
    session: Session, paths: tuple[str, ...], name: str | None, input_format: str | None, skip_existing: bool,
    force: bool,
) -> None:  # fmt: skip
    """Read archives or folders into the local store.

    PATH is an archive of bentosync's or BentoML's, whatever it is called, or a folder, also one that Hugging Face
    tools downloaded (with --name), or the URL of one: s3://bucket/path, and with an extra gs, az, ftp, sftp, webdav,
    dropbox, hf or https. Links in folders are followed. With -q the only output is the path in the store.
    """
    if skip_existing and force:
        raise InvalidArgument("--skip-existing keeps what --force replaces", hint="choose one of them")
    if name is not None and len(paths) > 1:
        raise InvalidArgument("--name is for one PATH")
    existing: Existing = "skip" if skip_existing else "replace" if force else "refuse"
    each(session, paths, lambda path: _import_one(session, path, input_format, name, existing))


@click.command("import", cls=BentomlCommand)
@click.argument("model_path", type=click.Path())
@pass_session
def bentoml_import(session: Session, model_path: str) -> None:
    """Import a model from an archive (BentoML's options)."""
    model, _ = _imported(session, model_path, None, None, "refuse")
    session.result(f"{model} imported.")


def _import_one(
    session: Session, path: str, input_format: str | None, name: str | None, existing: Existing
) -> dict[str, Any]:
    model, end = _imported(session, path, input_format, name, existing)
    if session.json:
        return report(end, path=model.path)
    if session.quiet:
        session.result(model.path)
    elif end.outcome == "up-to-date":
        session.result(f"Kept {end.tag}, which is in the store already")
    else:
        size = f"{amounts.plural(end.files, 'file')}, {amounts.brief(end.total_bytes)}"
        session.result(f"Imported {end.tag} ({size} in {amounts.duration(end.seconds)})")
    return {}


def _imported(
    session: Session, path: str, input_format: str | None, name: str | None, existing: Existing
) -> tuple[Model, Finished]:
    from bentosync.exchange import place
    from bentosync.exchange.importing import import_model

    view = view_for(session)
    try:
        done = import_model(
            session.store, place.of(path), input_format,
            name=name, existing=existing, on_event=view, settings=session.settings,
        )  # fmt: skip
    finally:
        view.close()
    assert view.account.finished is not None, "every import ends with Finished"
    return done.model, view.account.finished
