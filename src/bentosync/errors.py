"""Every error bentosync raises on purpose: a few families, each with data instead of prose to act on.

A message says what happened, to which object, and what was expected; `hint` says what to do next. `code` is a
stable word that scripts may match. `retryable` is read by exactly one place, `remote.retrying`. Exit codes and
HTTP statuses are tables over these classes in `cli` and `hub`; they do not live here.

`BentoMLException`, `NotFound` and `InvalidArgument` carry BentoML's names so that code written against
`bentoml.exceptions` keeps its shape after the import is changed.
"""

from __future__ import annotations

import errno
from http import HTTPStatus


class BentoMLException(Exception):
    """Base of every error raised on purpose.

    Args:
        message: What happened, to which object.
        error_code: HTTP status, accepted and kept because BentoML's constructor takes it.
        hint: What the user can do next, as a command or a short sentence.
    """

    code = "ERROR"
    retryable = False
    error_code = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, *, error_code: HTTPStatus | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if error_code is not None:
            self.error_code = error_code


class InvalidArgument(BentoMLException):
    """The caller's input cannot be used as given."""

    code = "USAGE"
    error_code = HTTPStatus.BAD_REQUEST


class InvalidTag(InvalidArgument, ValueError):
    """A tag outside the grammar. Also a `ValueError`, because BentoML raises one for half of these cases."""

    code = "TAG"


class InvalidModel(InvalidArgument, ValueError):
    """Labels, metadata or files that a model cannot have. Also a `ValueError`, because BentoML raises one for them."""

    code = "MODEL"


class Unsupported(InvalidArgument, ValueError):
    """A format or protocol that is not there. Also a `ValueError`, because BentoML raises one."""

    code = "UNSUPPORTED"


class NotFound(BentoMLException):
    """The named model, version, remote or object does not exist."""

    code = "NOT-FOUND"
    error_code = HTTPStatus.NOT_FOUND


class Conflict(BentoMLException):
    """The name is taken by other content, or somebody else changed it first."""

    code = "CONFLICT"
    error_code = HTTPStatus.CONFLICT


class IntegrityError(BentoMLException):
    """Bytes differ from what their digest promises.

    `retryable` is set on the instance when the bytes came over a network and may arrive whole next time.
    """

    code = "INTEGRITY"

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class UnsafeInput(IntegrityError):
    """A document (manifest, header, archive, path) that is malformed or hostile. Never retried."""

    code = "UNSAFE"


class AuthError(BentoMLException):
    """Credentials are missing, refused, or lack a permission."""

    code = "AUTH"
    error_code = HTTPStatus.FORBIDDEN


class NetworkError(BentoMLException):
    """The remote could not be reached, or the connection broke. Another try may succeed."""

    code = "NETWORK"
    retryable = True
    error_code = HTTPStatus.BAD_GATEWAY


class UnknownHost(NetworkError):
    """No such name. A wrong endpoint, unless it was reached a moment ago."""


class RemoteError(NetworkError):
    """The remote answered, but not with what its protocol promises (5xx, a bad range, a broken document)."""

    code = "REMOTE"


class Throttled(RemoteError):
    """The remote asked to slow down. `retry_after_seconds` is its own figure, if it gave one."""

    code = "THROTTLED"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class LocalIOError(BentoMLException):
    """The local disk refused: read-only, I/O error, permission."""

    code = "LOCAL-IO"


class NoSpace(LocalIOError):
    """The local disk, its inodes or a quota is full."""

    code = "NO-SPACE"


class OutOfMemory(BentoMLException):
    """A device has too little free memory; whatever was allocated for the operation is free again."""

    code = "NO-MEMORY"


class Busy(BentoMLException):
    """Another process holds the lock and did not let go in time."""

    code = "BUSY"


class MissingExtra(BentoMLException):
    """An optional dependency is not installed; the hint is the exact command that installs it."""

    code = "EXTRA"


class BatchFailed(BentoMLException):
    """Part of a batch failed; the rest is done. `failures` holds (what, error) pairs."""

    code = "BATCH"

    def __init__(self, message: str, failures: tuple[tuple[str, Exception], ...], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.failures = failures


FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def from_os_error(error: OSError, doing: str) -> LocalIOError:
    """The typed error for a refusal of the local disk while `doing` something; the caller raises it from `error`."""
    where = f" ({error.filename})" if error.filename else ""
    message = f"{doing}: {error.strerror or error}{where}"
    if error.errno in _FULL:
        return NoSpace(message, hint="free some space (inodes and quota count too) and run the same command again")
    forbidden = error.errno in FORBIDDEN
    return LocalIOError(message, hint="check owner, mode and mount options" if forbidden else None)
