"""Which view fits: what was asked for, else what stderr is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from bentosync.cli.progress.view import View
from bentosync.cli.session import Session
from bentosync.redaction import without_secrets
from bentosync.settings import ProgressMode, TerminalSettings, terminal


def mode_for(asked: ProgressMode, *, quiet: bool, is_terminal: bool, environment: TerminalSettings) -> ProgressMode:
    """The mode behind `auto`: silent when quiet, bars on a capable terminal outside CI, else plain lines."""
    if asked != "auto":
        return asked
    if quiet:
        return "none"
    return "bar" if is_terminal and not environment.ci and not environment.dumb else "plain"


def view_for(session: Session, clock: Callable[[], float] = time.monotonic) -> View:
    """A fresh view for one operation."""
    mode = mode_for(
        session.settings.progress,
        quiet=bool(session.quiet),
        is_terminal=sys.stderr.isatty(),
        environment=terminal(),
    )
    if mode == "json":
        from bentosync.cli.progress.jsonlines import JsonView

        return JsonView(_to_stderr, clock)
    if mode == "bar":
        from bentosync.cli.progress.bar import BarView

        return BarView(sys.stderr, _to_stderr, clock)
    if mode == "plain":
        from bentosync.cli.progress.plain import PlainView

        return PlainView(session.say, clock)
    from bentosync.cli.progress.silent import SilentView

    return SilentView(session.say, clock)


def _to_stderr(text: str) -> None:
    try:
        click.echo(without_secrets(text), err=True)
    except BrokenPipeError:
        return  # observers must not raise; the operation is worth more than its progress
