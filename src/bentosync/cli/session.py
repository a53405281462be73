"""One invocation: the global flags, the settings they lead to, and the two streams.

stdout carries the result and nothing else, so that `$(bentosync pull -q m)` and `| jq` work; everything said to a
person goes to stderr. A session is the click context's object; options write their value into it (see `options`).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, field
from msgspec.structs import replace

from bentosync.events import Finished
from bentosync.redaction import without_secrets
from bentosync.settings import (
    ProgressMode,
    RemoteSettings,
    Resolved,
    Settings,
    TransferSettings,
    choose_remote,
    resolve,
    terminal,
)

if TYPE_CHECKING:
    from bentosync.store.store import Store

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


class Session(Struct, dict=True):
    """The flags of one invocation. None means: not given."""

    argv: tuple[str, ...] = ()
    remote: str | None = None
    store_dir: Path | None = None
    offline: bool | None = None
    quiet: bool | None = None
    verbosity: int | None = None
    json: bool | None = None
    progress: ProgressMode | None = None
    color: str | None = None
    jobs: int | None = None
    limit_rate: int | None = None
    """In bytes a second; 0 is no limit, whatever the settings say."""
    memory: int | None = None
    stats_file: Path | None = None
    finished: list[Finished] = field(default_factory=list)
    """What ended so far, for the stats file."""
    warned: set[str] = field(default_factory=set)
    """What the person was warned of so far: once is enough."""
    lines_are_json: bool = False
    """Whether stderr is read by a program, so that nothing but JSON lines may go there."""

    @cached_property
    def resolved(self) -> Resolved:
        """Settings and origins as found, before the flags."""
        return resolve()

    @cached_property
    def settings(self) -> Settings:
        """What holds for this invocation: flags over everything else."""
        settings = self.resolved.settings
        return replace(
            settings,
            home=settings.home if self.store_dir is None else Path.cwd() / self.store_dir,
            offline=settings.offline if self.offline is None else self.offline,
            default_remote=self.remote or settings.default_remote,
            progress=settings.progress if self.progress is None else self.progress,
            transfer=self._transfer(settings.transfer),
        )

    def _transfer(self, transfer: TransferSettings) -> TransferSettings:
        limit = transfer.limit_bytes_per_second if self.limit_rate is None else self.limit_rate or None
        return replace(
            transfer,
            jobs=self.jobs or transfer.jobs,
            memory_bytes=self.memory or transfer.memory_bytes,
            limit_bytes_per_second=limit,
        )

    @cached_property
    def store(self) -> Store:
        """The local store."""
        from bentosync.store.store import Store

        return Store(self.settings.home, state_dir=self.settings.state_dir)

    @property
    def elsewhere(self) -> bool:
        """Whether `--remote` was given: for commands that work on the store or on a remote."""
        return self.remote is not None

    def chosen_remote(self, ref: str | None = None) -> RemoteSettings:
        """The remote meant by `ref`, `--remote` or the settings; see `settings.choose_remote`."""
        return choose_remote(self.settings, ref)

    @property
    def resume_command(self) -> str:
        """This invocation as a line for the shell."""
        import shlex

        return shlex.join(["bentosync", *self.argv])

    @property
    def colorful(self) -> bool | None:
        """Click's three values: always, never, or (None) where the stream is a terminal."""
        if self.color in ("always", "never"):
            return self.color == "always"
        environment = terminal()
        if environment.no_color or environment.dumb:
            return False
        return True if environment.force_color else None

    def start(self, context: click.Context) -> None:
        """Make colour and logging follow the flags; called before a command runs."""
        context.color = self.colorful
        self.lines_are_json = self.settings.progress == "json"
        level = LEVELS[self.settings.log] if not self.verbosity else LEVELS["info" if self.verbosity == 1 else "debug"]
        logger = logging.getLogger("bentosync")
        logger.handlers[:] = [_StderrHandler()]
        logger.setLevel(level)

    def say(self, text: str = "") -> None:
        """A line for the person at the terminal."""
        if not self.quiet and not self.lines_are_json:
            click.echo(without_secrets(text), err=True)

    def interrupted(self, status: int, paused_at: str | None = None, *, resumable: bool = False) -> None:
        """The last words of an operation that a signal stopped: prose, or for a program one more `error` event."""
        resume = self.resume_command if resumable else None
        if self.json or self.lines_are_json:
            message = f"stopped at {paused_at}" if paused_at else "stopped"
            event = {"v": 1, "event": "error", "code": "INTERRUPTED", "message": message,
                     "try": [resume] if resume else [], "exit": status}  # fmt: skip
            click.echo(without_secrets(json.dumps(event, ensure_ascii=False)), err=True)
        elif resume is None:
            self.say("Interrupted.")
        else:
            at = f" at {paused_at}" if paused_at else ""
            self.say(f"Paused{at}. Resume: {resume}")

    def result(self, text: str) -> None:
        """A line of the result."""
        click.echo(text)

    def document(self, value: Any) -> None:
        """The result as one JSON document."""
        click.echo(json.dumps(value, indent=2, default=_plain))


class _StderrHandler(logging.Handler):
    """Writes to whatever `sys.stderr` is at the moment; a handler that keeps the stream outlives a redirection."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(without_secrets(f"{record.levelname.lower()}: {record.getMessage()}"), file=sys.stderr)


def session_of(context: click.Context) -> Session:
    """The session of this invocation."""
    return context.find_root().ensure_object(Session)


pass_session = click.make_pass_decorator(Session, ensure=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
