"""What the process's exit status means, and which one an exception gets. The only place where errors become numbers.

| status | meaning |
|---|---|
| 0 | done |
| 1 | any other error |
| 2 | the command line or a setting cannot be used |
| 3 | model or remote not found |
| 4 | credentials missing or refused, or no permission |
| 5 | network; retries are spent, the same command resumes |
| 6 | integrity: bytes or documents are not what they must be |
| 7 | conflict: the name holds other content |
| 8 | no space left on the local disk |
| 9 | another process holds the lock |
| 10 | part of a batch failed |
| 130, 143 | stopped by Ctrl-C or SIGTERM; state is saved |
| 141 | the reader of stdout went away |
"""

from __future__ import annotations

import errno

import click
from msgspec import Struct

from bentosync import errors

OK = 0
FAILED = 1
USAGE = 2
INTEGRITY = 6
BATCH = 10
BROKEN_PIPE = 141

# The first class that matches decides, so families come after their members.
EXITS: tuple[tuple[type[errors.BentoMLException], int], ...] = (
    (errors.BatchFailed, BATCH),
    (errors.Busy, 9),
    (errors.NoSpace, 8),
    (errors.Conflict, 7),
    (errors.IntegrityError, INTEGRITY),
    (errors.NetworkError, 5),
    (errors.AuthError, 4),
    (errors.NotFound, 3),
    (errors.InvalidArgument, USAGE),
    (errors.BentoMLException, FAILED),
)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Failure(Struct, frozen=True):
    """An error as the user meets it: a stable word, a sentence, what to try, and the exit status."""

    code: str
    message: str
    hint: str | None
    status: int


def diagnose(error: BaseException) -> Failure:
    """What to tell the user about `error`, whatever it is."""
    if isinstance(error, BaseExceptionGroup):
        # A TaskGroup wraps even a single failure; the first one is the one the others followed from.
        return diagnose(error.exceptions[0])
    if isinstance(error, errors.BentoMLException):
        return Failure(error.code, error.message, error.hint, _status(error))
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "bentosync"
        return Failure("USAGE", error.format_message(), f"{command} --help", USAGE)
    if isinstance(error, click.ClickException):
        return Failure("ERROR", error.format_message(), None, FAILED)
    if isinstance(error, OSError):
        return _os_failure(error)
    if isinstance(error, ValueError):
        return Failure("ERROR", str(error), None, FAILED)
    return Failure("INTERNAL", f"{type(error).__name__}: {error}", "the same command with -vv shows where", FAILED)


def _status(error: errors.BentoMLException) -> int:
    cause = error.__cause__
    if isinstance(error, errors.LocalIOError) and isinstance(cause, OSError) and cause.errno in errors.FORBIDDEN:
        return 4
    return next(status for family, status in EXITS if isinstance(error, family))


def _os_failure(error: OSError) -> Failure:
    what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
    if error.errno in FULL:
        return Failure("NO-SPACE", what, "free space, or another disk: --store DIR", 8)
    if error.errno in errors.FORBIDDEN:
        return Failure("LOCAL-IO", what, "check owner and mode, or use another store: --store DIR", 4)
    return Failure("LOCAL-IO", what, None, FAILED)
