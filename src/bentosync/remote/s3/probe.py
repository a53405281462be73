"""Whether a store honours conditional writes: asked once per endpoint and bucket, remembered for a week.

Some gateways ignore `If-None-Match` and `If-Match`, or refuse them as not implemented. The probe writes one scratch key
three times: if absent, if absent again, if it matched something else; only a store that takes the first and refuses
the others can be trusted. That answer is kept in a local folder, never in the bucket. The other answer may come of a
reply that was lost or went astray, so it needs two probes in a row and is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bentosync.errors import Conflict, RemoteError
from bentosync.remote.contract import Condition, IfAbsent, IfMatch, Remote

REMEMBERED_SECONDS = 7 * 24 * 3600.0

_DOCUMENT_BYTES_MAX = 4096
_NO_ETAG = f'"{"0" * 32}"'


class Probe:
    """Remembers answers below `folder`; with None it asks every time it is made anew."""

    def __init__(self, folder: Path | None, *, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now
        self._answer: bool | None = None
        self._key = f".bentosync-probe-{secrets.token_hex(8)}"

    async def honoured(self, remote: Remote, *, endpoint: str) -> bool:
        """Whether `remote`, reached at `endpoint`, honours both conditions."""
        if self._answer is None:
            path = self._path(f"{endpoint} {remote.properties.url}")
            self._answer = self._recalled(path) or await self._find_out(remote, path)
        return self._answer

    async def _find_out(self, remote: Remote, path: Path | None) -> bool:
        answer = await _ask(remote, self._key) or await _ask(remote, self._key)
        if answer:
            self._remember(path)
        return answer

    def _path(self, subject: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / "conditional-writes" / f"{hashlib.sha256(subject.encode()).hexdigest()[:32]}.json"

    def _recalled(self, path: Path | None) -> bool:
        if path is None:
            return False
        try:
            with path.open("rb") as file:
                document = json.loads(file.read(_DOCUMENT_BYTES_MAX))
            age = self._now() - float(document["probed_at"])
            honoured = document["honoured"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return honoured is True and 0 <= age < REMEMBERED_SECONDS

    def _remember(self, path: Path | None) -> None:
        """Best effort: without a place to write, the next process asks again."""
        if path is None:
            return
        temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"honoured": True, "probed_at": self._now()}), encoding="utf-8")
            os.replace(temporary, path)


async def _ask(remote: Remote, key: str) -> bool:
    await remote.delete(key)  # A probe that failed half-way, and is tried again, left it there.
    outcomes = [await _outcome(remote, key, condition) for condition in (IfAbsent(), IfAbsent(), IfMatch(_NO_ETAG))]
    await remote.delete(key)
    return outcomes == ["stored", "refused", "refused"]


async def _outcome(remote: Remote, key: str, condition: Condition) -> Literal["stored", "refused", "unsupported"]:
    try:
        await remote.write(key, b"bentosync asks whether this store honours conditional writes\n", condition=condition)
    except Conflict:
        return "refused"
    except RemoteError as error:
        if error.retryable:
            raise
        return "unsupported"
    return "stored"
