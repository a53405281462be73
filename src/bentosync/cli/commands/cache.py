"""`bentosync cache`: what the local store holds and since when nobody used it, and how to make room."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from bentosync.cli import amounts, table
from bentosync.cli.group import Lazy, LazyGroup
from bentosync.cli.operation import quietly
from bentosync.cli.options import Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.cli.units import Duration, Size
from bentosync.errors import InvalidArgument

if TYPE_CHECKING:
    from bentosync.sync.prune import Cached, Pruned

_HERE = "bentosync.cli.commands.cache"
_DAY_SECONDS = 86_400

TABLE = {
    "info": Lazy(f"{_HERE}:info", "Say how much the store holds and how much of it could be pulled again."),
    "list": Lazy(f"{_HERE}:list_cached", "List the versions by when they were last used.", ("ls",)),
    "prune": Lazy(f"{_HERE}:prune", "Remove versions that were not used for long and that a remote still has."),
    "pin": Lazy(f"{_HERE}:pin", "Never prune these models."),
    "unpin": Lazy(f"{_HERE}:unpin", "Let these models be pruned again."),
}


@click.group(cls=LazyGroup, table=TABLE)
def cache() -> None:
    """Show what the store holds, and make room in it."""


@click.command(cls=Command)
@pass_session
def info(session: Session) -> None:
    """Say how much the store holds and how much of it could be pulled again."""
    from bentosync.sync.prune import survey

    versions = survey(session.store)
    pulled = [version for version in versions if version.origin is not None]
    leftovers = session.store.leftovers(min_age_seconds=0)
    anchor = session.settings.home
    while not anchor.is_dir():
        anchor = anchor.parent
    document = {
        "home": str(session.settings.home),
        "models": len(versions),
        "size_bytes": sum(version.size_bytes for version in versions),
        "pulled": len(pulled),
        "pulled_bytes": sum(version.size_bytes for version in pulled),
        "pinned": sum(version.pinned for version in versions),
        "leftover_bytes": sum(one.size_bytes for one in leftovers),
        "free_bytes": shutil.disk_usage(anchor).free,
    }
    if session.json:
        session.document(document)
        return
    for label, value in (
        ("store", document["home"]),
        ("models", f"{document['models']}, {amounts.brief(sum(version.size_bytes for version in versions))}"),
        ("pulled", f"{len(pulled)}, {amounts.brief(sum(version.size_bytes for version in pulled))}"),
        ("pinned", str(document["pinned"])),
        ("leftovers", f"{amounts.brief(sum(one.size_bytes for one in leftovers))} (bentosync gc)"),
        ("free", amounts.brief(shutil.disk_usage(anchor).free)),
    ):
        session.result(f"{label:<12}{value}")


@click.command("list", cls=Command)
@pass_session
def list_cached(session: Session) -> None:
    """List the versions by when they were last used.

    The longest unused first. The last column says what keeps a version from being pruned, whatever its age.
    """
    from bentosync.sync.prune import survey

    versions = sorted(survey(session.store), key=lambda version: (version.last_used, version.tag))
    if session.json:
        session.document([_row(version) for version in versions])
    elif session.quiet:
        for version in versions:
            session.result(str(version.tag))
    else:
        rows = [
            (str(version.tag), amounts.exact(version.size_bytes), _when(version), _origin(version), version.kept or "")
            for version in versions
        ]
        session.result("\n".join(table.lines(("Tag", "Size", "Last Used", "Pulled From", "Stays"), rows)))


@click.command(cls=Command)
@click.option("--max-size", type=Size(), help="Until the models take no more than this: 200GB, 1.5TiB.")
@click.option("--older-than", type=Duration(), help="Everything that was not used for so long: 30d, 12h.")
@click.option("--min-age", type=Duration(), default="1d", show_default=True,
              help="What was used since then stays in any case.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go and what stays, and do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
def prune(
    session: Session, max_size: int | None, older_than: float | None, min_age: float, dry_run: bool, yes: bool
) -> None:
    """Remove versions that were not used for long and that a remote still has.

    Only versions that were pulled, are unmodified, unpinned, not open in a process of this user and not used by a local
    Bento; what `latest` names goes last; and each only after its remote has answered with the same manifest. Processes
    of other users, in other containers and on other hosts cannot be seen: there --min-age is what protects.
    """
    from bentosync import aio

    def run(*, dry_run: bool) -> Pruned:
        return quietly(
            session,
            lambda view: aio.prune(
                bytes_max=max_size, older_than_seconds=older_than, min_age_seconds=min_age, dry_run=dry_run,
                settings=session.settings, on_event=view,
            ),
        )  # fmt: skip

    if dry_run:
        _tell(session, run(dry_run=True), "Would free")
    elif yes or _agreed(session, run):
        _tell(session, run(dry_run=False), "Freed")


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@pass_session
def pin(session: Session, models: tuple[str, ...]) -> None:
    """Never prune these models.

    A name stands for its latest version. `bentosync delete` deletes a pinned version nevertheless.
    """
    _keep(session, models, keep=True)


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@pass_session
def unpin(session: Session, models: tuple[str, ...]) -> None:
    """Let these models be pruned again."""
    _keep(session, models, keep=False)


def _keep(session: Session, models: tuple[str, ...], *, keep: bool) -> None:
    tags = [session.store.get(model).tag for model in models]
    for tag in tags:
        session.store.pin(tag, keep=keep)
        if not session.json:
            session.result(str(tag) if session.quiet else f"{'Pinned' if keep else 'Unpinned'} {tag}")
    if session.json:
        session.document([{"tag": str(tag), "pinned": keep} for tag in tags])


def _tell(session: Session, pruned: Pruned, word: str) -> None:
    if session.json:
        session.document({
            "dry_run": word != "Freed",
            "size_bytes": sum(version.size_bytes for version in pruned.gone),
            "left_bytes": pruned.left_bytes,
            "removed": [_row(version) for version in pruned.gone],
            "kept": [_row(version) for version in pruned.kept],
            "unseen_processes": pruned.unseen,
        })  # fmt: skip
        return
    for version in pruned.gone:
        session.say(f"  {version.tag}  {amounts.brief(version.size_bytes)}  last used {_when(version)}")
    for version in pruned.kept:
        session.say(f"  {version.tag}  {amounts.brief(version.size_bytes)}  stays: {version.kept}")
    if pruned.unseen != 0:
        count = "any process" if pruned.unseen is None else amounts.plural(pruned.unseen, "process")
        session.say(f"  what {count} of other users holds open could not be seen".replace("processs", "processes"))
    freed = amounts.brief(sum(version.size_bytes for version in pruned.gone))
    left = amounts.brief(pruned.left_bytes)
    session.result(f"{word} {freed}: {amounts.plural(len(pruned.gone), 'model')}, {left} left")


def _agreed(session: Session, run: Any) -> bool:
    if not sys.stdin.isatty():
        raise InvalidArgument("pruning needs a yes, and there is no terminal to ask on", hint="add --yes")
    planned: Pruned = run(dry_run=True)
    for version in planned.gone:
        click.echo(f"  {version.tag}  {amounts.brief(version.size_bytes)}  last used {_when(version)}", err=True)
    return click.confirm(f"Remove {amounts.plural(len(planned.gone), 'model')} from the store?", err=True)


def _row(version: Cached) -> dict[str, Any]:
    return {
        "tag": str(version.tag),
        "size_bytes": version.size_bytes,
        "last_used": datetime.fromtimestamp(version.last_used, UTC).isoformat() if version.last_used else None,
        "remote": None if version.origin is None else version.origin.remote,
        "pinned": version.pinned,
        "latest": version.latest,
        "kept": version.kept,
    }


def _when(version: Cached) -> str:
    if not version.last_used:
        return "unknown"
    ago = time.time() - version.last_used
    if ago < 1:
        return "just now"
    return f"{amounts.duration(ago)} ago" if ago < 2 * _DAY_SECONDS else f"{ago / _DAY_SECONDS:.0f} days ago"


def _origin(version: Cached) -> str:
    return "" if version.origin is None else version.origin.remote
