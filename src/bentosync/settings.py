"""Settings: frozen values, read once. This module is the only reader of environment variables and config files.

Units are in the names. Precedence: explicit argument, environment, `bentosync.toml` (or `[tool.bentosync]` of
`pyproject.toml`) of the working directory, the user's config file, default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Addressing = Literal["auto", "path", "virtual"]


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """One remote: `file:///path` or `s3://bucket/prefix`, and how to reach it. Holds no secrets."""

    url: str
    name: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Addressing = "auto"
    anonymous: bool = False
    single_writer: bool = False
    ca_bundle: str | None = None


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How bytes move. `jobs` is the number of requests in flight, `memory_bytes` bounds the buffers they use."""

    jobs: int = 16
    memory_bytes: int = 128 << 20
    connect_seconds: float = 10.0
    stall_seconds: float = 15.0
    attempts: int = 8
    retry_base_seconds: float = 0.1
    retry_cap_seconds: float = 20.0
    range_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operation needs to know from outside."""

    home: Path
    state_dir: Path | None = None
    cache_dir: Path | None = None
    default_remote: str | None = None
    remotes: Mapping[str, RemoteSettings] = field(default_factory=lambda: MappingProxyType({}))
    transfer: TransferSettings = field(default_factory=TransferSettings)
    offline: bool = False
    lock_seconds: float = 3600.0
