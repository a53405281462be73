"""From a URL to a working remote: the one place where implementations and decorators are put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from bentosync.errors import InvalidArgument
from bentosync.events import Observer, ignore
from bentosync.native import receiving, volleys
from bentosync.remote.contract import Remote
from bentosync.remote.directory import DirectoryRemote
from bentosync.remote.retrying import Clock, RetryingRemote, RetryPolicy
from bentosync.remote.tracing import TracingRemote
from bentosync.settings import NativeMode, RemoteSettings, TransferSettings, aws
from bentosync.wire.exchange import Wire
from bentosync.wire.rate import shared_limiter

SCHEMES = ("file", "s3")


class Exchange(Struct, frozen=True):
    """What an export or import says about a bucket that no remote's settings do."""

    keys: tuple[str, str] | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Exchange(headers={self.headers!r})"


def open_remote(
    remote: RemoteSettings,
    transfer: TransferSettings,
    *,
    observer: Observer = ignore,
    cache_dir: Path | None = None,
    native: NativeMode = "auto",
    clock: Clock | None = None,
) -> Remote:
    """The remote that `remote.url` names, retrying and traced. Opens no connection yet; call `aclose()` at the end.

    Args:
        remote: Where it is and how to reach it.
        transfer: Timeouts, connections and the retry policy.
        observer: Told about every retry, and about plain http to another machine.
        cache_dir: Where the answer of the conditional-write probe is remembered; None remembers nothing.
        native: Whether the compiled core may be used.
        clock: The time between tries, injected by tests.

    Raises:
        InvalidArgument: The URL cannot be used; the message lists the supported schemes.
    """
    match urlsplit(remote.url).scheme:
        case "file":
            limiter = shared_limiter(transfer.limit_bytes_per_second)
            inner: Remote = DirectoryRemote(folder_of(remote.url), native=native, limiter=limiter)
        case "s3":
            inner = _bucket(remote, transfer, observer, cache_dir, native)
        case _:
            raise InvalidArgument(
                f"Remote URL {remote.url!r} is not supported",
                hint="use " + " or ".join(f"{scheme}://…" for scheme in SCHEMES),
            )
    return _patient(inner, transfer, observer, clock)


def open_exchange(
    remote: RemoteSettings,
    transfer: TransferSettings,
    *,
    keys: tuple[str, str] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    observer: Observer = ignore,
    native: NativeMode = "auto",
    clock: Clock | None = None,
) -> Remote:
    """The bucket of `remote.url` for exports and imports: as `open_remote`, but completed uploads replace objects.

    Args:
        remote: The bucket and how to reach it.
        transfer: As above.
        keys: Access key and secret key, where the caller was given them; else AWS's chain is asked.
        headers: What goes with every object that is made.
        observer: As above.
        native: As above.
        clock: As above.
    """
    inner = _bucket(remote, transfer, observer, None, native, Exchange(keys, headers))
    return _patient(inner, transfer, observer, clock)


def _patient(inner: Remote, transfer: TransferSettings, observer: Observer, clock: Clock | None) -> Remote:
    policy = RetryPolicy(transfer.attempts, transfer.retry_base_seconds, transfer.retry_cap_seconds)
    return RetryingRemote(TracingRemote(inner), policy, observer=observer, clock=clock)


def folder_of(url: str) -> Path:
    """The absolute folder that a `file://` URL names. Raises `InvalidArgument` if it names none."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or not path.startswith("/")
        or "\0" in path
        or parts.query
        or parts.fragment
    ):
        raise InvalidArgument(f"Remote URL {url!r} names no folder of this machine", hint="write file:///absolute/path")
    return Path(os.path.normpath(path))


def _bucket(
    remote: RemoteSettings,
    transfer: TransferSettings,
    observer: Observer,
    cache_dir: Path | None,
    native: NativeMode,
    exchange: Exchange | None = None,
) -> Remote:
    # Imported here: a folder needs no HTTP client, whose import takes longer than many a command.
    from bentosync.remote.s3.address import parse_bucket
    from bentosync.remote.s3.client import Client
    from bentosync.remote.s3.credentials import Given
    from bentosync.remote.s3.probe import Probe
    from bentosync.remote.s3.s3 import S3Remote
    from bentosync.remote.s3.terms import Terms

    bucket = parse_bucket(remote.url)
    wire = _wire(remote, transfer, native)
    chain = Given(*exchange.keys) if exchange is not None and exchange.keys is not None else None
    terms = Terms(remote) if exchange is None else Terms(remote, exchange.headers)
    client = Client(remote, wire, bucket=bucket.name, observer=observer, chain=chain)
    return S3Remote(bucket, client, wire, Probe(cache_dir), terms, native=native, replacing=exchange is not None)


def _wire(remote: RemoteSettings, transfer: TransferSettings, native: NativeMode) -> Wire:
    """The fastest there is for what it can do, in front of the next (docs/adr/0007)."""
    authorities = remote.ca_bundle or aws().get("AWS_CA_BUNDLE") or None
    if transfer.limit_bytes_per_second is not None:
        # Who asks for less than the line gives needs no fast path, and only this one waits between pieces.
        from bentosync.wire.pooled import PooledWire

        return PooledWire(transfer, ca_bundle=authorities)
    from bentosync.wire.direct import DirectWire
    from bentosync.wire.late import LateWire

    def full() -> Wire:
        # aiohttp takes a quarter of a second to import, and only what goes through a proxy needs it.
        from bentosync.wire.pooled import PooledWire

        return PooledWire(transfer, ca_bundle=authorities)

    direct = DirectWire(transfer, behind=LateWire(full), ca_bundle=authorities, core=volleys.volley(native))
    if receiving.openssl_version(native) is None:
        return direct
    from bentosync.wire.native import NativeWire

    return NativeWire(transfer, behind=direct, ca_bundle=authorities)
