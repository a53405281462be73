"""Settings as frozen values. Units are in the names; what fills them is `settings.load`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from msgspec import Struct, field

Addressing = Literal["auto", "path", "virtual"]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]
RequestPayer = Literal["requester"]
ProgressMode = Literal["auto", "bar", "plain", "json", "none"]
LogLevel = Literal["error", "warning", "info", "debug"]
NativeMode = Literal["auto", "off", "on"]

_BLOCK_BYTES = 1 << 20


class RemoteSettings(Struct, frozen=True):
    """One remote: `file:///path` or `s3://bucket/prefix`, and how to reach it. Holds no secrets.

    What a None means is up to the store: its own default encryption, ACL and storage class.
    """

    url: str
    name: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Addressing = "auto"
    anonymous: bool = False
    single_writer: bool = False
    ca_bundle: str | None = None
    allow_http: bool = False
    sse: Encryption | None = None
    sse_kms_key_id: str | None = None
    acl: str | None = None
    storage_class: str | None = None
    request_payer: RequestPayer | None = None
    expected_bucket_owner: str | None = None


class TransferSettings(Struct, frozen=True):
    """How bytes move.

    `jobs` is the most requests in flight; how many there are follows what the source gives. `memory_bytes` bounds all
    buffers, `limit_bytes_per_second` what passes over the network; None is no limit. All three hold for the process:
    operations at the same time that were given the same bound share it. Experiments switch `seeking` off: then there
    are `jobs` requests in flight from start to end, whatever they bring.
    """

    jobs: int = 64
    memory_bytes: int = 128 << 20
    limit_bytes_per_second: int | None = None
    connect_seconds: float = 10.0
    stall_seconds: float = 15.0
    attempts: int = 8
    retry_base_seconds: float = 0.1
    retry_cap_seconds: float = 20.0
    range_bytes: int = 32 << 20
    seeking: bool = True

    @property
    def streams_max(self) -> int:
        """The most requests in flight: so few under a limit that each moves a block a second."""
        if self.limit_bytes_per_second is None:
            return self.jobs
        return max(1, min(self.jobs, self.limit_bytes_per_second // _BLOCK_BYTES))


class Settings(Struct, frozen=True):
    """Everything an operation needs to know from outside."""

    home: Path
    state_dir: Path | None = None
    cache_dir: Path | None = None
    default_remote: str | None = None
    remotes: Mapping[str, RemoteSettings] = field(default_factory=lambda: MappingProxyType({}))
    transfer: TransferSettings = field(default_factory=TransferSettings)
    offline: bool = False
    lock_seconds: float = 3600.0
    progress: ProgressMode = "auto"
    log: LogLevel = "warning"
    native: NativeMode = "auto"


class TerminalSettings(Struct, frozen=True):
    """What the environment says about the terminal, by the conventions other tools follow."""

    no_color: bool = False
    force_color: bool = False
    dumb: bool = False
    ci: bool = False
