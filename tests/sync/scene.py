"""A publisher, a remote and a consumer: two stores and what lies between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from bentosync import aio, events
from bentosync.remote.contract import Remote
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, Settings, TransferSettings
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.sync.pull import Verify
from tests.blocks import content

Result = TypeVar("Result")

TRANSFER = TransferSettings(retry_base_seconds=0.001, retry_cap_seconds=0.01, connect_seconds=2.0, stall_seconds=5.0)
FILES = {
    "model.bin": content(1, (34 << 20) + 12_345),
    "sub/second.bin": content(2, 9 << 20),
    "small.txt": b"small " * 100,
    "empty.txt": b"",
}


@dataclass
class Scene:
    """`publisher` and `consumer` are homes of two stores; `remote` is where they meet."""

    root: Path
    remote: RemoteSettings
    seen: list[events.Event] = field(default_factory=list)

    def settings(self, home: str) -> Settings:
        return Settings(
            home=self.root / home, remotes={"r": replace(self.remote, name="r")}, default_remote="r", transfer=TRANSFER,
            lock_seconds=30.0, cache_dir=self.root / "cache",
        )  # fmt: skip

    def store(self, home: str) -> Store:
        return Store(self.root / home)

    def create(self, tag: str, files: Mapping[str, bytes] = FILES, home: str = "publisher") -> Model:
        with self.store(home).create(tag, labels={"stage": "dev"}) as model:
            for path, data in files.items():
                target = Path(model.path, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            Path(model.path, "bin").mkdir()
            script = Path(model.path, "run.sh")
            script.write_text("#!/bin/sh\n")
            script.chmod(0o755)
        return model

    def push(self, tag: str, *, home: str = "publisher", force: bool = False, as_is: bool = False,
             single_writer: bool | None = None,
             on_event: Callable[[events.Event], None] | None = None) -> events.Finished:  # fmt: skip
        return asyncio.run(
            aio.push(
                tag, force=force, as_is=as_is, single_writer=single_writer, settings=self.settings(home),
                on_event=on_event or self.seen.append,
            )
        )  # fmt: skip

    def pull(self, tag: str, *, home: str = "consumer", force: bool = False, verify: Verify = "auto",
             on_event: Callable[[events.Event], None] | None = None) -> Model:  # fmt: skip
        return asyncio.run(
            aio.pull(
                tag, force=force, verify=verify, settings=self.settings(home), on_event=on_event or self.seen.append
            )
        )

    def keys(self, prefix: str) -> list[str]:
        """Every key on the remote below `prefix`."""

        async def listed(remote: Remote) -> list[str]:
            return [stat.key async for stat in remote.list(prefix)]

        return self._on_remote(listed)

    def read_object(self, key: str) -> bytes:
        """A whole object."""

        async def read(remote: Remote) -> bytes:
            return (await remote.read(key, bytes_max=1 << 30)).data

        return self._on_remote(read)

    def write_object(self, key: str, data: bytes) -> None:
        """Put other bytes in an object's place."""
        self._on_remote(lambda remote: remote.write(key, data))

    def delete_object(self, key: str) -> None:
        """Take an object away."""
        self._on_remote(lambda remote: remote.delete(key))

    def _on_remote(self, action: Callable[[Remote], Awaitable[Result]]) -> Result:
        async def main() -> Result:
            remote = open_remote(self.remote, TRANSFER)
            try:
                return await action(remote)
            finally:
                await remote.aclose()

        return asyncio.run(main())

    def finished(self) -> events.Finished:
        """What the last operation said at its end."""
        return next(event for event in reversed(self.seen) if isinstance(event, events.Finished))


def tree_of(model: Model) -> dict[str, tuple[bytes, bool] | None]:
    """Path to (bytes, executable); None for a folder."""
    root = Path(model.path)
    return {
        path.relative_to(root).as_posix(): None
        if path.is_dir()
        else (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in sorted(root.rglob("*"))
    }
