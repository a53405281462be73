"""`bentosync push`, and `bentosync models push` with BentoML's options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from bentosync.cli.operation import each, quietly, report, summary, up_to_date, watched
from bentosync.cli.options import Command, complete_models
from bentosync.cli.session import Session, pass_session

PUSHED = 'Successfully pushed model "{tag}"'


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@click.option("-f", "--force", is_flag=True, help="Replace other content under the same tag on the remote.")
@click.option("--single-writer", is_flag=True, default=None,
              help="Push to a remote that ignores conditional writes; nobody else may push there now.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and do nothing.")
@pass_session
def push(session: Session, models: tuple[str, ...], force: bool, single_writer: bool | None, dry_run: bool) -> None:
    """Send models from the local store to a remote.

    A push that was cut off goes on where it stopped. What the remote has already is not sent again.
    """
    if dry_run:
        each(session, models, lambda model: _plan(session, model, force=force))
        return
    each(session, models, lambda model: push_one(session, model, force=force, single_writer=single_writer))


def _plan(session: Session, model: str, *, force: bool) -> dict[str, Any]:
    from bentosync import aio
    from bentosync.cli.planning import show

    return show(
        session,
        quietly(session, lambda view: aio.plan_push(model, force=force, settings=session.settings, on_event=view)),
    )


@click.command("push", cls=Command)
@click.argument("model_tag", shell_complete=complete_models)
@click.option("-f", "--force", is_flag=True, help="Forced push to remote even if it exists there.")
@click.option("-t", "--threads", type=click.IntRange(1), help="Requests in flight.")
@pass_session
def bentoml_push(session: Session, model_tag: str, force: bool, threads: int | None) -> None:
    """Send a model to a remote (BentoML's options)."""
    if threads is not None:
        session.settings = replace(session.settings, transfer=replace(session.settings.transfer, jobs=threads))
    each(session, [model_tag], lambda model: push_one(session, model, force=force, single_writer=None))


def push_one(session: Session, model: str, *, force: bool, single_writer: bool | None) -> dict[str, Any]:
    """Push `model` and print its result; returns the report for `--json`."""
    from bentosync import aio

    _, end = watched(
        session,
        lambda view: aio.push(
            model, force=force, single_writer=single_writer, settings=session.settings, on_event=view
        ),
    )
    if session.json:
        return report(end)
    if session.quiet:
        session.result(end.tag)
    elif end.outcome == "up-to-date":
        session.result(up_to_date(end))
    else:
        session.result(PUSHED.format(tag=end.tag))
        session.say(summary(end))
    return {}
