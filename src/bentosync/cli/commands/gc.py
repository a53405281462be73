"""`bentosync gc`: remove what interrupted work left behind, in the store or on a remote."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bentosync.cli import amounts
from bentosync.cli.operation import quietly
from bentosync.cli.options import TwoSided
from bentosync.cli.session import Session, pass_session
from bentosync.cli.units import Duration
from bentosync.errors import InvalidArgument

if TYPE_CHECKING:
    from bentosync.store.upkeep import Leftover
    from bentosync.sync.gc import Plan


@click.command(cls=TwoSided)
@click.option("--dry-run", is_flag=True, help="Say what would go and what stays, and do nothing.")
@click.option("--min-age", type=Duration(), default="7d", show_default=True,
              help="Unfinished pulls and pushes that are younger stay: they can be resumed.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Do not ask (a remote).")
@click.option("-f", "--force", is_flag=True, help="Go on although more than half of the folders would go (a remote).")
@click.option("--single-writer", is_flag=True, default=None,
              help="Go on although the remote ignores conditional writes; nobody else may write there.")  # fmt: skip
@pass_session
def gc(session: Session, dry_run: bool, min_age: float, yes: bool, force: bool, single_writer: bool | None) -> None:
    """Remove what interrupted work left behind.

    In the store: unfinished pulls, trash, staged trees without an owner, quarantine. With --remote [NAME|URL]: folders
    that no manifest names and no living push writes, with their unfinished uploads. Models are never touched.
    """
    if not session.elsewhere:
        _in_store(session, dry_run, min_age)
        return
    from bentosync import aio

    settings = session.settings

    def run(*, dry_run: bool) -> Plan:
        return quietly(
            session,
            lambda view: aio.gc_remote(
                dry_run=dry_run, force=force, min_age_seconds=min_age, single_writer=single_writer,
                settings=settings, on_event=view,
            ),
        )  # fmt: skip

    if dry_run:
        _tell_remote(session, run(dry_run=True), "Would free")
    elif yes or _agreed(session, run(dry_run=True)):
        _tell_remote(session, run(dry_run=False), "Freed")


def _in_store(session: Session, dry_run: bool, min_age: float) -> None:
    found = session.store.leftovers(min_age_seconds=min_age)
    going = [one for one in found if one.kept is None]
    gone = [one for one in going if dry_run or session.store.clear(one)]
    if not dry_run:
        session.store.tidy()
    if session.json:
        session.document({"dry_run": dry_run, "removed": [_row(one) for one in gone],
                          "kept": [_row(one) for one in found if one.kept is not None]})  # fmt: skip
        return
    for one in found:
        if one.kept is None:
            session.say(f"  {one.kind}  {_name(one)}  {amounts.brief(one.size_bytes)}")
        else:
            session.say(f"  {one.kind}  {_name(one)}  {amounts.brief(one.size_bytes)}  stays: {one.kept}")
    freed = amounts.brief(sum(one.size_bytes for one in gone))
    session.result(f"{'Would free' if dry_run else 'Freed'} {freed}: {amounts.plural(len(gone), 'leftover')}")


def _name(one: Leftover) -> str:
    return str(one.tag) if one.tag is not None else one.path.name


def _row(one: Leftover) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "path": str(one.path),
        "tag": None if one.tag is None else str(one.tag),
        "size_bytes": one.size_bytes,
        "age_seconds": one.age_seconds,
        "kept": one.kept,
    }


def _tell_remote(session: Session, plan: Plan, word: str) -> None:
    if session.json:
        session.document({
            "dry_run": word != "Freed",
            "size_bytes": plan.size_bytes,
            "folders": [{"prefix": folder.prefix, "objects": folder.objects, "size_bytes": folder.size_bytes,
                         "uploads": len(folder.uploads)} for folder in plan.folders],
            "records": [stat.key for stat in plan.records],
            "uploads": [upload.key for upload in plan.stray],
            "kept": [{"prefix": folder.prefix, "why": why} for folder, why in plan.kept],
        })  # fmt: skip
        return
    _list(session, plan)
    uploads = len(plan.stray) + sum(len(folder.uploads) for folder in plan.folders)
    session.result(
        f"{word} {amounts.brief(plan.size_bytes)}: {amounts.plural(len(plan.folders), 'folder')}, "
        f"{amounts.plural(len(plan.records), 'push record')}, {amounts.plural(uploads, 'unfinished upload')}"
    )


def _list(session: Session, plan: Plan) -> None:
    for folder in plan.folders:
        session.say(f"  {folder.prefix}  {amounts.brief(folder.size_bytes)}")
    for folder, why in plan.kept:
        session.say(f"  {folder.prefix}  {amounts.brief(folder.size_bytes)}  stays: {why}")


def _agreed(session: Session, plan: Plan) -> bool:
    if not sys.stdin.isatty():
        raise InvalidArgument("removing needs a yes, and there is no terminal to ask on", hint="add --yes")
    _list(session, plan)
    where = session.chosen_remote().url
    return click.confirm(f"Remove {amounts.plural(len(plan.folders), 'folder')} from {where}?", err=True)
