"""`bentosync push`, and `bentosync models push` with BentoML's options."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import replace

from bentosync.cli.operation import each, quietly, report, summary, up_to_date, watched
from bentosync.cli.options import BentomlCommand, Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.cli.tuning import stats_file, transfer_options

PUSHED = 'Successfully pushed model "{tag}"'


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@click.option("-f", "--force", is_flag=True, help="Replace other content under the same tag on the remote.")
@click.option("--as-is", is_flag=True,
              help="With --force: replace it even by files that changed since they were recorded.")  # fmt: skip
@click.option("--resend", is_flag=True,
              help="Send every file again although the remote has it: its bytes were found damaged.")  # fmt: skip
@click.option("--alias", "aliases", metavar="NAME", multiple=True,
              help="Let this name mean the version from now on, as in m@prod.")  # fmt: skip
@click.option("--single-writer", is_flag=True, default=None,
              help="Push to a remote that ignores conditional writes; nobody else may push there now.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and do nothing.")
@transfer_options
@pass_session
def push(
    session: Session, models: tuple[str, ...], force: bool, as_is: bool, resend: bool, aliases: tuple[str, ...],
    single_writer: bool | None, dry_run: bool,
) -> None:  # fmt: skip
    """Send models from the local store to a remote.

    A push that was cut off goes on where it stopped. What the remote has already is not sent again. With --force every
    byte is checked first: a damaged version replaces nothing.
    """
    if dry_run:
        each(session, models, lambda model: _plan(session, model, force=force, as_is=as_is))
        return
    how: dict[str, Any] = {"force": force, "as_is": as_is, "resend": resend, "aliases": aliases,
                           "single_writer": single_writer}  # fmt: skip
    with stats_file(session, "push", models[0]):
        each(session, models, lambda model: push_one(session, model, **how))


def _plan(session: Session, model: str, **how: Any) -> dict[str, Any]:
    from bentosync import aio
    from bentosync.cli.planning import show

    return show(
        session,
        quietly(session, lambda view: aio.plan_push(model, settings=session.settings, on_event=view, **how)),
    )


@click.command("push", cls=BentomlCommand)
@click.argument("model_tag", shell_complete=complete_models)
@click.option("-f", "--force", is_flag=True, help="Forced push to remote even if it exists there.")
@click.option("-t", "--threads", type=click.IntRange(1), help="Requests in flight.")
@pass_session
def bentoml_push(session: Session, model_tag: str, force: bool, threads: int | None) -> None:
    """Send a model to a remote (BentoML's options)."""
    if threads is not None:
        session.settings = replace(session.settings, transfer=replace(session.settings.transfer, jobs=threads))
    each(session, [model_tag], lambda model: push_one(session, model, force=force))


def push_one(session: Session, model: str, **how: Any) -> dict[str, Any]:
    """Push `model` and print its result; returns the report for `--json`."""
    from bentosync import aio

    _, end = watched(
        session,
        lambda view: aio.push(model, settings=session.settings, on_event=view, **how),
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
    for alias in how.get("aliases", ()):
        session.say(f"  {end.tag.partition(':')[0]}@{alias} is {end.tag}")
    return {}
