"""`bentosync export`, and `bentosync models export` with BentoML's options and result line."""

from __future__ import annotations

import click

from bentosync.cli import amounts
from bentosync.cli.operation import report
from bentosync.cli.options import BentomlCommand, Command, complete_models
from bentosync.cli.progress.choose import view_for
from bentosync.cli.session import Session, pass_session
from bentosync.events import Finished

FORMATS = ("bentomodel", "gz", "xz", "bz2", "zst", "tar", "zip", "folder")


@click.command("export", cls=Command)
@click.argument("model", shell_complete=complete_models)
@click.argument("path", required=False, default=".", type=click.Path())
@click.option("--format", "output_format", type=click.Choice(FORMATS), help="Default: what PATH ends with.")
@click.option("--compress", is_flag=True, help="Make it smaller; slow, and weights hardly get smaller.")
@pass_session
def export(session: Session, model: str, path: str, output_format: str | None, compress: bool) -> None:
    """Write a model to an archive or a folder.

    PATH is a file (NAME.bentomodel, .tar, .gz, .xz, .bz2, .zst, .zip) or a folder to put NAME-VERSION.bentomodel in;
    the default is the working directory. It may be a URL: s3://bucket/path, and with an extra gs, az, ftp, sftp, webdav
    or dropbox. BentoML imports what is written here (zst excepted).
    """
    written, end = export_one(session, model, path, output_format, compress=compress)
    if session.json:
        session.document(report(end, path=written))
    elif session.quiet:
        session.result(written)
    else:
        size = f"{amounts.plural(end.files, 'file')}, {amounts.brief(end.total_bytes)}"
        session.result(f"Exported {end.tag} to {written} ({size} in {amounts.duration(end.seconds)})")


@click.command("export", cls=BentomlCommand)
@click.argument("model_tag", shell_complete=complete_models)
@click.argument("out_path", required=False, default=".", type=click.Path())
@pass_session
def bentoml_export(session: Session, model_tag: str, out_path: str) -> None:
    """Export a model to an archive (BentoML's options)."""
    written, end = export_one(session, model_tag, out_path, None, compress=False)
    session.result(f'Model(tag="{end.tag}") exported to {written}.')


def export_one(
    session: Session, model: str, path: str, output_format: str | None, *, compress: bool
) -> tuple[str, Finished]:
    """Export `model`; where it is now, and the summary."""
    from bentosync.exchange import place
    from bentosync.exchange.exporting import export_model

    view = view_for(session)
    try:
        done = export_model(
            session.store, model, place.of(path), output_format,
            compress=compress, on_event=view, settings=session.settings,
        )  # fmt: skip
    finally:
        view.close()
    assert view.account.finished is not None, "every export ends with Finished"
    return done.shown, view.account.finished
