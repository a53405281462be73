"""`bentosync copy`: a version from one remote to another, under the same pin."""

from __future__ import annotations

import click

from bentosync.cli.operation import report, summary, up_to_date, watched
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.cli.tuning import stats_file, transfer_options
from bentosync.errors import InvalidArgument


@click.command(cls=Command)
@click.argument("source", metavar="REMOTE/MODEL")
@click.argument("target", metavar="REMOTE")
@click.option("-f", "--force", is_flag=True, help="Replace other content under the same tag on the target.")
@click.option("--single-writer", is_flag=True, default=None,
              help="Go on although the target ignores conditional writes; nobody else may write there.")  # fmt: skip
@transfer_options
@pass_session
def copy(session: Session, source: str, target: str, force: bool, single_writer: bool | None) -> None:
    """Copy a model from one remote to another.

    The bytes go through this machine's memory, proven on their way; its store is not touched. The copy has the same
    pin. A remote is a configured name or a URL:

    \b
    bentosync copy prod/llama3-8b:v1 mirror
    bentosync copy s3://bucket/prefix/llama3-8b /mnt/models
    """  # noqa: D301  click reads the \b
    from bentosync import aio

    remote, slash, model = source.rpartition("/")
    if not slash or not remote or not model:
        raise InvalidArgument(
            f"{source!r} names no model on a remote", hint="bentosync copy REMOTE/NAME:VERSION REMOTE"
        )
    with stats_file(session, "copy", source):
        _, end = watched(
            session,
            lambda view: aio.copy(
                model, source=remote, target=target, force=force, single_writer=single_writer,
                settings=session.settings, on_event=view,
            ),
        )  # fmt: skip
    if session.json:
        session.document(report(end))
    elif session.quiet:
        session.result(f"{end.tag}@{end.digest}")
    elif end.outcome == "up-to-date":
        session.result(up_to_date(end))
    else:
        session.result(f"Copied {end.tag} to {end.remote} ({end.digest})")
        session.say(summary(end))
