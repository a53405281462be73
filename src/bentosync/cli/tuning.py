"""Options of the commands that move models over a network: how much at once, how fast, with how much memory.

They are flags over the settings of the same meaning, and go into the session as the global options do. `--stats-file`
is written when all models are through.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import to_builtins

from bentosync.cli import exits
from bentosync.cli.session import Session, session_of
from bentosync.errors import BatchFailed, InvalidArgument, from_os_error
from bentosync.events import Finished
from bentosync.settings import keys

F = TypeVar("F", bound=Callable[..., Any])

_VERSION = 1


class _Amount(click.ParamType[int]):
    """A value that a settings parser understands."""

    def __init__(self, name: str, parse: keys.Parser) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value, keys.Place("", Path(), {}, textual=True)) or 0
        except ValueError as error:
            self.fail(str(error), param, ctx)


def transfer_options(command: F) -> F:
    """Add `--jobs`, `--limit-rate`, `--memory` and `--stats-file`."""
    for option in reversed(
        [
            click.option("--jobs", metavar="N", type=click.IntRange(1), expose_value=False, callback=_remember,
                         help="The most requests in flight; fewer where more would bring nothing."),
            click.option("--limit-rate", metavar="RATE", type=_Amount("rate", keys.rate), expose_value=False,
                         callback=_remember, help='The most that passes over the network: "50MiB/s".'),
            click.option("--memory", metavar="SIZE", type=_Amount("size", keys.size), expose_value=False,
                         callback=_remember, help='Bound of all transfer buffers together: "256MiB".'),
            click.option("--stats-file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
                         expose_value=False, callback=_remember,
                         help="Leave a JSON document about how it went (docs/formats/stats-file.md)."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        setattr(session_of(context), str(parameter.name), value)


@contextmanager
def stats_file(session: Session, command: str, target: str | None = None) -> Iterator[None]:
    """Write `--stats-file`, if it was given, when the block has ended, whether it failed or not.

    Args:
        session: Remembers what finished in the block.
        command: What was asked for.
        target: What a failure that names nothing was about.

    Raises:
        InvalidArgument: Its folder does not exist; before the block.
        LocalIOError: It cannot be written.
    """
    path = session.stats_file
    if path is None:
        yield
        return
    if not path.absolute().parent.is_dir():
        raise InvalidArgument(f"--stats-file {path}: there is no folder {path.parent}")
    began = time.monotonic()

    def write(failures: Sequence[tuple[str, Exception]] = ()) -> None:
        _write(path, command, session.finished, failures, time.monotonic() - began)

    try:
        yield
    except BatchFailed as error:
        write(error.failures)
        raise
    except Exception as error:
        write([(target or command, error)])
        raise
    write()


def _write(
    path: Path, command: str, finished: Sequence[Finished], failures: Sequence[tuple[str, Exception]], seconds: float
) -> None:
    from importlib import metadata  # 10 ms, wanted only where a file is written

    document = {
        "v": _VERSION,
        "bentosync": metadata.version("bentosync"),
        "command": command,
        "seconds": round(seconds, 3),
        "operations": [to_builtins(end) for end in finished],
        "errors": [_failure(what, error) for what, error in failures],
    }
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error


def _failure(what: str, error: Exception) -> dict[str, Any]:
    failure = exits.diagnose(error)
    hints = failure.hint.splitlines() if failure.hint else []
    return {"what": what, "code": failure.code, "message": failure.message, "try": hints, "exit": failure.status}
