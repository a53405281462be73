"""The contract of a view, and the sentences that every human view shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from bentosync import events
from bentosync.cli import amounts
from bentosync.cli.progress.account import Account, Snapshot

Say = Callable[[str], None]

VERBS = {"push": ("Pushing", "to"), "pull": ("Pulling", "from"), "verify": ("Verifying", "in"),
         "load": ("Loading", "from"), "create": ("Creating", "in"),
         "repair": ("Repairing", "from"), "copy": ("Copying", "to"),
         "import": ("Importing", "from"), "export": ("Exporting", "to")}  # fmt: skip


class View(ABC):
    """An observer with an end. `close` may be called more than once and leaves a clean screen."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def __call__(self, event: events.Event) -> None:
        """Count `event`, then show it."""
        self.account.see(event)
        self.show(event)

    @abstractmethod
    def show(self, event: events.Event) -> None:
        """Show what `event` changed."""

    def tick(self) -> None:  # noqa: B027  what is not shown while nothing happens needs no tick
        """Time has passed, maybe without an event: a stalled operation must not look like a dead one."""

    def close(self) -> None:  # noqa: B027  most views have nothing to clear away
        """Nothing more will be shown."""

    @property
    def paused_at(self) -> str | None:
        """`"6.2/16.1 GiB"`, if anything was planned."""
        if self.account.started is None:
            return None
        at = self.account.snapshot()
        return amounts.ratio(at.done_bytes, at.total_bytes)


def opening(event: events.Started) -> str:
    """`Pulling m:v from s3://b   9 files, 16.1 GiB (6.0 GiB already here)`; a load has no remote."""
    verb, where = VERBS[event.operation]
    there = "there" if event.operation in ("push", "copy") else "here"
    reused = f" ({amounts.brief(event.reused_bytes)} already {there})" if event.reused_bytes else ""
    files = f"{amounts.plural(event.files, 'file')}, " if event.files else ""  # an archive does not say beforehand
    size = f"{files}{amounts.brief(event.total_bytes)}"
    place = f" {where} {event.remote}" if event.remote else ""
    return f"{verb} {event.tag}{place}   {size}{reused}"


def remark(event: events.Event) -> str | None:
    """What a person should read besides the progress itself, or None."""
    match event:
        case events.Warned(message=message, hint=hint):
            lines = hint.replace("\n", "\n       ") if hint else None
            return f"warning: {message}" + (f"\n  try: {lines}" if lines else "")
        case events.Waiting(tag=tag, what=what):
            return f"Waiting for another process that works on {tag} ({what})"
        case events.Retried(what=what, reason=reason, attempt=attempt, delay_seconds=delay):
            return f" ! {what}: {reason}; try {attempt + 1} in {amounts.duration(delay)}"
        case _:
            return None


def figures(at: Snapshot) -> str:
    """`10.0/16.1 GiB  1.84 GiB/s  eta 3s   3/9 files`."""
    eta = f"  eta {amounts.duration(at.eta_seconds)}" if at.eta_seconds else ""
    return (
        f"{amounts.ratio(at.done_bytes, at.total_bytes)}  {amounts.rate(at.bytes_per_second)}{eta}"
        f"   {at.files_done}/{at.files} files"
    )
