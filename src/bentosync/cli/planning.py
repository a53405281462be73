"""How a plan is shown: one line a file on stdout, the sum at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from bentosync.cli import amounts, table
from bentosync.cli.session import Session

if TYPE_CHECKING:
    from bentosync.sync.plan import Plan

_WORDS = {"push": ("send", "to", "there"), "pull": ("fetch", "from", "here")}


def show(session: Session, plan: Plan) -> dict[str, Any]:
    """Print `plan`; returns the report for `--json`."""
    if session.json:
        sums = {"total_bytes": plan.total_bytes, "move_bytes": plan.move_bytes,
                "reused_bytes": plan.total_bytes - plan.move_bytes}  # fmt: skip
        document: dict[str, Any] = to_builtins(plan)
        return document | sums | {"dry_run": True}
    if session.quiet:
        session.result(plan.tag)
        return {}
    rows = [(file.path, amounts.brief(file.size_bytes), amounts.brief(file.move_bytes)) for file in plan.files]
    session.result("\n".join(table.lines(("File", "Size", "To Move"), rows)))
    verb, where, place = _WORDS[plan.operation]
    reused = amounts.brief(plan.total_bytes - plan.move_bytes)
    session.result(
        f"Would {verb} {amounts.brief(plan.move_bytes)} of {amounts.brief(plan.total_bytes)} {where} {plan.remote} "
        f"for {plan.tag} ({reused} already {place})"
    )
    return {}
