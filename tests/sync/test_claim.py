from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from bentosync.errors import Conflict
from bentosync.remote.contract import Condition, Remote
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from bentosync.sync.claim import ABANDONED_SECONDS, ADOPTABLE_SECONDS, Claim, claim
from bentosync.tag import Tag

TAG = Tag("m", "v1")
FILES = (("model.safetensors", 100), ("model.yaml", 10))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def later(seconds: float) -> Callable[[], datetime]:
    return lambda: NOON + timedelta(seconds=seconds)


def on_directory(tmp_path: Path, scenario: Callable[[Remote], Awaitable[None]]) -> None:
    async def main() -> None:
        remote = open_remote(RemoteSettings(url=tmp_path.as_uri()), TransferSettings())
        try:
            await scenario(remote)
        finally:
            await remote.aclose()

    asyncio.run(main())


async def begin(
    remote: Remote, owner: str, at: float = 0.0, files: tuple[tuple[str, int], ...] = FILES, tag: Tag = TAG
) -> Claim:
    return await claim(remote, tag, files, owner=owner, exclusive=True, now=later(at))


def test_the_owner_adopts_its_own_interrupted_push_at_once(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        first = await begin(remote, "me")
        second = await begin(remote, "me", at=1)
        assert not first.adopted
        assert second.adopted
        assert second.push_id == first.push_id

    on_directory(tmp_path, scenario)


def test_a_living_push_of_another_store_is_left_alone(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        first = await begin(remote, "me")
        other = await begin(remote, "you", at=ABANDONED_SECONDS - 1)
        assert not other.adopted
        assert other.push_id != first.push_id
        await first.confirm()

    on_directory(tmp_path, scenario)


def test_an_abandoned_push_is_adopted_by_anybody_and_its_pusher_notices(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        first = await begin(remote, "me")
        other = await begin(remote, "you", at=ABANDONED_SECONDS + 1)
        assert other.adopted
        assert other.push_id == first.push_id
        with pytest.raises(Conflict, match="took over"):
            await first.confirm()
        with pytest.raises(Conflict, match="took over"):
            await first.touch()
        await other.confirm()

    on_directory(tmp_path, scenario)


def test_touching_keeps_a_push_from_being_adopted(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        first = await begin(remote, "me")
        first.now = later(ABANDONED_SECONDS)
        await first.touch()
        assert not (await begin(remote, "you", at=ABANDONED_SECONDS + 1)).adopted

    on_directory(tmp_path, scenario)


@pytest.mark.parametrize("at", [ADOPTABLE_SECONDS + 1, -ADOPTABLE_SECONDS - 1])
def test_a_record_of_another_day_is_never_adopted_whatever_the_clock_did(tmp_path: Path, at: float) -> None:
    async def scenario(remote: Remote) -> None:
        await begin(remote, "me")
        assert not (await begin(remote, "me", at=at)).adopted

    on_directory(tmp_path, scenario)


def test_other_sizes_or_another_version_that_starts_alike_are_not_adopted(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        await begin(remote, "me")
        assert not (await begin(remote, "me", files=(("model.safetensors", 101), ("model.yaml", 10)))).adopted
        assert not (await begin(remote, "me", tag=Tag("m", "v1-fine"))).adopted

    on_directory(tmp_path, scenario)


def test_a_touch_cancelled_on_its_way_may_have_arrived(tmp_path: Path) -> None:
    """The push ends, and its companion that touches the record is cancelled, while the reply is still awaited."""

    async def scenario(remote: Remote) -> None:
        claimed = await begin(remote, "me")
        silent = Unanswered(remote)
        claimed.remote = cast(Remote, silent)
        claimed.now = later(1)
        async with asyncio.timeout(5):
            touching = asyncio.create_task(claimed.touch())
            await silent.arrived.wait()
            touching.cancel()
            await claimed.confirm()

    on_directory(tmp_path, scenario)


class Unanswered:
    """A remote whose writes arrive, but whose replies never come."""

    def __init__(self, inner: Remote) -> None:
        self._inner = inner
        self.arrived = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def write(self, key: str, data: bytes, *, condition: Condition = None) -> str:
        await self._inner.write(key, data, condition=condition)
        self.arrived.set()
        await asyncio.Event().wait()
        raise AssertionError


def test_a_record_removed_by_clean_up_stops_the_push(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        first = await begin(remote, "me")
        await first.release()
        with pytest.raises(Conflict, match=r"nothing was published|took over"):
            await first.confirm()

    on_directory(tmp_path, scenario)


def test_a_damaged_record_is_passed_over(tmp_path: Path) -> None:
    async def scenario(remote: Remote) -> None:
        await remote.write("models/m/pushes/v1-aaaaaaaaaa.json", b"{not json")
        assert not (await begin(remote, "me")).adopted

    on_directory(tmp_path, scenario)
