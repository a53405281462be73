"""Running one push or pull under a view, and many in a row."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from msgspec import to_builtins

from bentosync.cli import amounts
from bentosync.cli.progress.choose import view_for
from bentosync.cli.progress.view import View
from bentosync.cli.session import Session
from bentosync.errors import BatchFailed, BentoMLException
from bentosync.events import Event, Finished, Observer, Warned

T = TypeVar("T")

_BOUNDS = {"cpu": "CPU"}


def watched(session: Session, start: Callable[[Observer], Coroutine[Any, Any, T]]) -> tuple[T, Finished]:
    """Run the coroutine that `start` makes with a view as its observer; its result and its summary."""
    from bentosync.cli.running import run, ticking

    view = view_for(session)
    try:
        outcome = run(ticking(start(_once(session, view)), view.tick), lambda status: _farewell(session, view, status))
    finally:
        view.close()
    assert view.account.finished is not None, "every push and pull ends with Finished"
    session.finished.append(view.account.finished)
    return outcome, view.account.finished


def quietly(session: Session, start: Callable[[Observer], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine that moves no model; warnings and retries are shown, and there is no progress."""
    from bentosync.cli.running import run

    view = view_for(session)
    try:
        return run(start(_once(session, view)), session.interrupted)
    finally:
        view.close()


def _once(session: Session, view: View) -> Observer:
    """`view`, which hears a warning once: what is true of a remote is true again of the next model."""

    def observe(event: Event) -> None:
        if isinstance(event, Warned):
            if event.message in session.warned:
                return
            session.warned.add(event.message)
        view(event)

    return observe


def each(session: Session, targets: Sequence[str], act: Callable[[str], dict[str, Any]]) -> None:
    """Apply `act` to every target; failures are collected, so that one bad model does not stop the others.

    With `--json` the reports that `act` returns are printed as one document, also when some targets failed.

    Raises:
        BatchFailed: Several targets, and some failed. A single target raises its own error.
    """
    done: list[dict[str, Any]] = []
    failures: list[tuple[str, Exception]] = []
    for target in targets:
        try:
            done.append(act(target))
        except (BentoMLException, OSError, ExceptionGroup) as error:
            if len(targets) == 1:
                raise
            failures.append((target, error))
    if session.json:
        session.document(done)
    if failures:
        raise BatchFailed(f"{len(failures)} of {len(targets)} failed", tuple(failures))


def summary(end: Finished) -> str:
    """`  sent 955.4 MiB, reused 212.0 MiB, 0 retries, 1.6s (597 MiB/s), bound by network`: what moved, what did not."""
    word = {"push": "sent", "copy": "copied"}.get(end.operation, "received")
    parts = [f"{word} {amounts.brief(end.moved_bytes)}", f"reused {amounts.brief(end.reused_bytes)}"]
    if end.refetched_bytes:
        parts.append(f"refetched {amounts.brief(end.refetched_bytes)}")
    parts.append(amounts.plural(end.retries, "retry").replace("retrys", "retries"))
    speed = f" ({amounts.rate(end.moved_bytes / end.seconds)})" if end.moved_bytes and end.seconds > 0 else ""
    if end.report is not None and end.report.hedges:
        parts.append(amounts.plural(end.report.hedges, "hedge"))
    parts.append(f"{amounts.duration(end.seconds)}{speed}")
    if end.report is not None and end.report.bound_by != "none":
        parts.append(f"bound by {_BOUNDS.get(end.report.bound_by, end.report.bound_by)}")
    return f"  {', '.join(parts)}"


def up_to_date(end: Finished) -> str:
    """`Up to date: m:v (4 files, 16.1 GiB, checked in 0.04s)`."""
    size = f"{amounts.plural(end.files, 'file')}, {amounts.brief(end.total_bytes)}"
    return f"Up to date: {end.tag} ({size}, checked in {amounts.duration(end.seconds)})"


def report(end: Finished, **more: Any) -> dict[str, Any]:
    """The summary for `--json`."""
    found: dict[str, Any] = to_builtins(end)
    return found | more


def _farewell(session: Session, view: View, status: int) -> None:
    view.close()
    session.interrupted(status, view.paused_at, resumable=True)
