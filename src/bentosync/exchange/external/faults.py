"""What the libraries behind fsspec raise, turned into our families in one place.

Each has exceptions of its own, which are not imported here, because none of the libraries need be installed: they are
told by the built-in exceptions they derive from, by the HTTP status they carry, or by the module of their class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bentosync.errors import AuthError, BentoMLException, NetworkError, NotFound, RemoteError, Throttled
from bentosync.exchange.external.location import Location

_TEXT_MAX = 200
_REFUSED = ("PermissionDenied", "AuthError", "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError",
            "InvalidCredentials", "HostKeyNotVerifiable", "GatedRepoError")  # fmt: skip
_ABSENT = ("NoSuchFile", "ResourceNotFound", "RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError")
_BROKEN = ("ConnectionLost", "DisconnectError", "TransportError", "ConnectError", "ReadTimeout", "ConnectTimeout",
           "ReadError", "WriteError", "RemoteProtocolError", "ClientConnectionError", "ServerDisconnectedError",
           "ClientPayloadError", "ServiceRequestError", "ServiceResponseError", "ConnectionError", "Timeout",
           "ChunkedEncodingError")  # fmt: skip


@contextlib.contextmanager
def translated(at: Location) -> Iterator[None]:
    """Errors of a library about the file at `at` as ours; ours pass."""
    try:
        yield
    except BentoMLException:
        raise
    except Exception as error:
        raise fault(error, at) from error


def fault(error: Exception, at: Location) -> BentoMLException:
    """The error of ours for one of a library's."""
    error = _behind(error)
    said = at.hidden(str(error))[:_TEXT_MAX] or type(error).__name__
    names = {kind.__name__ for kind in type(error).__mro__}
    status = _status(error)
    if _dropbox_absent(error):
        return NotFound(f"{at.shown}: there is no such file or folder")
    if said.startswith("Forbidden"):
        status = 403  # gcsfs says it in words only
    if status in (401, 403) or isinstance(error, PermissionError) or names.intersection(_REFUSED):
        return AuthError(f"{at.shown}: refused: {said}", hint=hint(at))
    if type(error).__module__ == "ftplib" and said.startswith(("430", "530", "532")):
        return AuthError(f"{at.shown}: refused: {said}", hint=hint(at))
    if status in (404, 410) or isinstance(error, FileNotFoundError) or names.intersection(_ABSENT):
        return NotFound(f"{at.shown}: there is no such file or folder")
    if status == 429:
        return Throttled(f"{at.shown}: the server asks to slow down")
    if status is not None:
        failed = RemoteError(f"{at.shown}: the server answered {status}: {said}")
        failed.retryable = status >= 500 or status == 408
        return failed
    if "error_perm" in names:
        refused = RemoteError(f"{at.shown}: the server answered {said}")
        refused.retryable = False
        return refused
    if isinstance(error, OSError | EOFError | TimeoutError) or names.intersection({*_BROKEN, "error_temp"}):
        return NetworkError(f"{at.shown}: {said}")
    unknown = RemoteError(f"{at.shown}: {type(error).__name__}: {said}")
    unknown.retryable = False
    return unknown


def _dropbox_absent(error: Exception) -> bool:
    """Dropbox answers 409 to everything; what it says is in a union of unions."""
    said = getattr(error, "error", None)
    for name in ("path", "path_lookup"):
        if getattr(said, f"is_{name}", lambda: False)():
            inner = getattr(said, f"get_{name}")()
            return bool(getattr(inner, "is_not_found", lambda: False)())
    return False


def _behind(error: Exception) -> Exception:
    """The real reason: fsspec says of whatever goes wrong when it looks for a web address that it is not there."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    names = {kind.__name__ for kind in type(cause).__mro__}
    broken = isinstance(cause, ConnectionError | TimeoutError) or names.intersection(_BROKEN)
    return cause if broken or _status(cause) not in (None, 404, 410) else error


def _status(error: Exception) -> int | None:
    """The HTTP status that an error carries, wherever its library keeps it."""
    holders = (error, getattr(error, "response", None))
    for holder in holders:
        for name in ("status_code", "status", "code"):
            found = getattr(holder, name, None)
            if isinstance(found, str) and found.isascii() and found.isdigit():
                found = int(found)
            if isinstance(found, int) and 400 <= found < 600:
                return found
    return None


def hint(at: Location) -> str:
    """What to do where credentials are refused."""
    return _HINTS.get(at.scheme.name, f"check user and password: {at.scheme.name}://USER:PASSWORD@HOST/…")


_HINTS = {
    "gs": "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=key.json",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or ?connection_string=…",
    "dropbox": "set DROPBOX_ACCESS_TOKEN, or DROPBOX_REFRESH_TOKEN, DROPBOX_APP_KEY and DROPBOX_APP_SECRET",
    "hf": "hf auth login, or HF_TOKEN",
    "http": "is it a link that has expired?",
    "https": "is it a link that has expired?",
}
