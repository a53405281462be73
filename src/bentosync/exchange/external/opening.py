"""From a location to its storage: the one place where libraries are imported, connected and given their options."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from bentosync import settings as configuration
from bentosync.errors import AuthError, InvalidArgument, MissingExtra
from bentosync.events import Observer, ignore
from bentosync.exchange.external import dialects, faults, schemes
from bentosync.exchange.external.contract import Storage
from bentosync.exchange.external.filesystem import Dialect, FileSystemStorage
from bentosync.exchange.external.location import Location
from bentosync.exchange.external.patience import Patience
from bentosync.redaction import guard_log
from bentosync.remote.retrying import RetryPolicy
from bentosync.settings import RemoteSettings, Settings

_HEADERS = {"cache-control": "cache-control", "storage_class": "x-amz-storage-class"}
_RATE_LIMITED_TRIES = 8
_GOOGLE_METHODS = ("anon", "cache", "cloud", "google_default")


@contextlib.contextmanager
def opened(at: Location, settings: Settings, observer: Observer = ignore) -> Iterator[Storage]:
    """The storage of a location, closed at the end of the block.

    Raises:
        InvalidArgument: The settings say offline, or an option has no such value.
        MissingExtra: Its library is not installed; the hint installs it.
        AuthError: There are no credentials, or they are refused.
        NetworkError: It cannot be reached.
    """
    if settings.offline:
        raise InvalidArgument(
            f"{at.shown} needs the network, and offline is set",
            hint="leave out --offline, or unset BENTOSYNC_OFFLINE",
        )
    guard_log()
    require(at)
    storage = _storage(at, settings, observer)
    try:
        yield storage
    finally:
        storage.close()


def require(at: Location) -> None:
    """Import what the location needs.

    Raises:
        MissingExtra: It is not installed.
    """
    if not at.scheme.module:
        return
    try:
        importlib.import_module(at.scheme.module)
        if at.scheme.name != "dropbox":
            importlib.import_module("fsspec")
    except ImportError as error:
        missing = (error.name or at.scheme.module).partition(".")[0]
        raise MissingExtra(
            f"{at.scheme.name}:// needs {missing}, which is not installed", hint=at.scheme.hint
        ) from error


def _storage(at: Location, settings: Settings, observer: Observer) -> Storage:
    if at.scheme.name == "s3":
        return _bucket(at, settings, observer)
    transfer = settings.transfer
    policy = RetryPolicy(transfer.attempts, transfer.retry_base_seconds, transfer.retry_cap_seconds)
    patience = Patience(policy, observer)
    if at.scheme.name == "dropbox":
        return _dropbox(at, settings, patience)
    make, dialect = _FILE_SYSTEMS[at.scheme.name]
    options = schemes.typed(at.scheme, at.options)
    with faults.translated(at):
        return FileSystemStorage(make(at, dict(options), settings), dialect, at, patience)


def _bucket(at: Location, settings: Settings, observer: Observer) -> Storage:
    from bentosync.exchange.external.bucket import BucketStorage
    from bentosync.exchange.external.loop import LoopThread
    from bentosync.remote.open import open_exchange

    configuration.parse_url(f"s3://{at.host}")
    options = schemes.typed(at.scheme, at.options)
    headers = {_HEADERS[name]: str(options.pop(name)) for name in _HEADERS if name in options}
    if (at.user is None) != (at.password is None):
        raise InvalidArgument(
            f"{at.shown}: an access key and a secret key belong together", hint="give user and passwd"
        )
    keys = None if at.user is None or at.password is None else (at.user, at.password)
    chosen = replace(_settings_of(at.host, settings), url=f"s3://{at.host}", **cast(Any, options))
    remote = open_exchange(
        chosen, settings.transfer, keys=keys, headers=headers, observer=observer, native=settings.native
    )
    return BucketStorage(remote, LoopThread(), settings.transfer.memory_bytes)


def _settings_of(bucket: str, settings: Settings) -> RemoteSettings:
    """How a configured remote in the same bucket is reached: the default one's way, if there are several."""
    there = [
        (name != settings.default_remote, name)
        for name, remote in settings.remotes.items()
        if remote.url == f"s3://{bucket}" or remote.url.startswith(f"s3://{bucket}/")
    ]
    return settings.remotes[min(there)[1]] if there else RemoteSettings(url=f"s3://{bucket}")


def _dropbox(at: Location, settings: Settings, patience: Patience) -> Storage:
    import dropbox

    from bentosync.exchange.external.dropbox_storage import DropboxStorage

    known = {**configuration.dropbox(), **at.options}
    token = at.password or known.get("access_token")
    if token is None and not (known.get("refresh_token") and known.get("app_key")):
        raise AuthError("dropbox:// has no credentials", hint=faults.hint(at))
    with faults.translated(at):
        client = dropbox.Dropbox(
            oauth2_access_token=token,
            oauth2_refresh_token=known.get("refresh_token"),
            app_key=known.get("app_key"),
            app_secret=known.get("app_secret"),
            max_retries_on_rate_limit=_RATE_LIMITED_TRIES,
            timeout=settings.transfer.stall_seconds,
        )
    return DropboxStorage(client, at, patience)


def _session(settings: Settings) -> dict[str, Any]:
    """How aiohttp's sessions are made: with our timeouts, and through the proxies of the environment."""
    from bentosync.wire.pooled import client_timeout

    return {"timeout": client_timeout(settings.transfer), "trust_env": True}


def _gcs(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    # Not the class at gcsfs's door: that one asks by gRPC what kind a bucket is, and may wait a minute for the answer.
    from gcsfs.core import GCSFileSystem
    from google.oauth2.credentials import Credentials

    token = at.password or options.pop("token", None)
    if token is not None and token not in _GOOGLE_METHODS and not Path(token).is_file():
        # An access token. gcsfs would ask Google about it, in the query of a URL.
        token = Credentials(token)
    return GCSFileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        session_kwargs=_session(settings),
        token=token,
        **options,
    )


def _azure(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    import adlfs

    if at.password is not None:
        options |= {"account_name": at.user, "account_key": at.password}
    return adlfs.AzureBlobFileSystem(
        skip_instance_cache=True, use_listings_cache=False,
        connection_timeout=int(settings.transfer.connect_seconds), read_timeout=int(settings.transfer.stall_seconds),
        **options,
    )  # fmt: skip


def _ftp(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    from fsspec.implementations.ftp import FTPFileSystem

    options.setdefault("timeout", settings.transfer.stall_seconds)
    if at.scheme.name == "ftps":
        options["tls"] = True
    return FTPFileSystem(
        dialects.host_of(at), port=dialects.port_of(at) or 21, username=at.user, password=at.password,
        skip_instance_cache=True, use_listings_cache=False, **options,
    )  # fmt: skip


def _sftp(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    from sshfs import SSHFileSystem

    # asyncssh reads ~/.ssh/known_hosts by itself; sshfs would switch that off.
    options.setdefault("known_hosts", ())
    if at.password is not None:
        options["password"] = at.password
    for name in ("client_keys", "config"):
        if name in options:
            options[name] = [options[name]]
    return SSHFileSystem(
        dialects.host_of(at), port=dialects.port_of(at) or 22, username=at.user or (),
        connect_timeout=settings.transfer.connect_seconds, login_timeout=settings.transfer.stall_seconds,
        keepalive_interval=settings.transfer.stall_seconds / 3, keepalive_count_max=3,
        skip_instance_cache=True, **options,
    )  # fmt: skip


def _webdav(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    from webdav4.fsspec import WebdavFileSystem

    options.setdefault("timeout", settings.transfer.stall_seconds)
    scheme = "https" if at.scheme.name == "webdavs" else "http"
    auth = None if at.user is None else (at.user, at.password or "")
    return WebdavFileSystem(f"{scheme}://{at.host}", auth=auth, skip_instance_cache=True, **options)


def _web(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    from fsspec.implementations.http import HTTPFileSystem

    headers = {"Accept-Encoding": "identity"}
    if at.user is not None:
        import base64

        pair = base64.b64encode(f"{at.user}:{at.password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    return HTTPFileSystem(
        skip_instance_cache=True, use_listings_cache=False, headers=headers,
        client_kwargs=_session(settings), **options,
    )  # fmt: skip


def _hub(at: Location, options: dict[str, Any], settings: Settings) -> Any:
    from huggingface_hub import HfFileSystem

    del settings  # the library has timeouts of its own
    token = at.password or options.get("token")
    return HfFileSystem(
        skip_instance_cache=True, use_listings_cache=False, token=token, endpoint=options.get("endpoint")
    )


_FILE_SYSTEMS: dict[str, tuple[Callable[[Location, dict[str, Any], Settings], Any], Dialect]] = {
    "gs": (_gcs, dialects.Objects()),
    "az": (_azure, dialects.Objects()),
    "ftp": (_ftp, dialects.Ftp()),
    "ftps": (_ftp, dialects.Ftp()),
    "sftp": (_sftp, dialects.Sftp()),
    "webdav": (_webdav, dialects.WebDav()),
    "webdavs": (_webdav, dialects.WebDav()),
    "http": (_web, dialects.Web()),
    "https": (_web, dialects.Web()),
    "hf": (_hub, dialects.Hub()),
}
