"""What `remote test` and `doctor` do to a remote.

The test writes, reads, compares and deletes one small object under a random key; the doctor only asks for a listing.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any

from bentosync.errors import AuthError, IntegrityError
from bentosync.events import ignore
from bentosync.remote.contract import Remote
from bentosync.settings import RemoteSettings, Settings
from bentosync.sync.session import opened_remote

PROBE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Probed:
    """A remote that works: what was used to reach it, and how it did. Rates are bytes per second."""

    name: str | None
    url: str
    facts: tuple[tuple[str, str], ...]
    conditional: bool
    round_trip_seconds: float
    write_rate: float
    read_rate: float

    def as_document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"facts": dict(self.facts), "ok": True}


async def probe(chosen: RemoteSettings, settings: Settings) -> Probed:
    """Write, read and delete a 1 MiB object.

    Raises:
        IntegrityError: What was read is not what was written.
        InvalidArgument: It is behind a network and the settings say offline.
        AuthError, NetworkError, NotFound: As the remote raises them.
    """
    async with opened_remote(chosen, settings, ignore) as remote:
        return await _probe(remote, chosen)


async def reach(chosen: RemoteSettings, settings: Settings) -> None:
    """Ask the remote for one key and nothing else: enough to know that address and credentials are right."""
    async with opened_remote(chosen, settings, ignore) as remote:
        async for _ in remote.list("models/"):
            break


async def facts(chosen: RemoteSettings) -> tuple[tuple[str, str], ...]:
    """What is used to reach the remote; of credentials only the name of the place they come from."""
    if not chosen.url.startswith("s3:"):
        return ()
    from bentosync.remote.s3.credentials import Chain

    chain = Chain(chosen.profile)
    try:
        around = await chain.surroundings()
        source = "none (anonymous)" if chosen.anonymous else (await chain.credentials()).source
    except AuthError as error:
        return (("credentials", error.message),)
    return (
        ("endpoint", chosen.endpoint_url or around.endpoint_url or "AWS"),
        ("region", chosen.region or around.region or "not set"),
        ("addressing", chosen.addressing),
        ("credentials", source),
    )


async def _probe(remote: Remote, chosen: RemoteSettings) -> Probed:
    key = f"probes/{secrets.token_hex(10)}"
    data = secrets.token_bytes(PROBE_BYTES)
    began = time.monotonic()
    await remote.write(key, data)
    written = time.monotonic()
    try:
        entity = await remote.read(key, bytes_max=PROBE_BYTES)
        read = time.monotonic()
        if entity.data != data:
            raise IntegrityError(f"{remote.properties.url} returned other bytes than were written to {key}")
        await remote.stat(key)
        answered = time.monotonic()
    finally:
        await remote.delete(key)
    return Probed(
        name=chosen.name,
        url=remote.properties.url,
        facts=await facts(chosen),
        conditional=await remote.conditional_writes(),
        round_trip_seconds=answered - read,
        write_rate=PROBE_BYTES / (written - began),
        read_rate=PROBE_BYTES / (read - written),
    )
