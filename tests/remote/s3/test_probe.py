from __future__ import annotations

from pathlib import Path

import pytest

from bentosync.remote.directory import DirectoryRemote
from bentosync.remote.s3.probe import REMEMBERED_SECONDS, Probe


class Counting(DirectoryRemote):
    """A folder that counts writes."""

    writes = 0

    async def write(self, *args: object, **named: object) -> str:  # type: ignore[override]
        self.writes += 1
        return await super().write(*args, **named)  # type: ignore[arg-type]


async def test_an_answer_is_remembered_for_a_week_per_endpoint(tmp_path: Path) -> None:
    remote = Counting(tmp_path / "remote")
    now = 1e9

    async def ask(endpoint: str) -> None:
        assert await Probe(tmp_path / "cache", now=lambda: now).honoured(remote, endpoint=endpoint)

    await ask("one")
    await ask("one")
    assert remote.writes == 3
    await ask("two")
    assert remote.writes == 6
    now += REMEMBERED_SECONDS - 1
    await ask("one")
    assert remote.writes == 6
    now += 2
    await ask("one")
    assert remote.writes == 9
    assert [found async for found in remote.list("")] == []


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"honoured": 1, "probed_at": 1e9}', '{"honoured": true, "probed_at": 2e9}', "\0"]
)
async def test_a_note_that_makes_no_sense_is_asked_again(tmp_path: Path, text: str) -> None:
    remote = Counting(tmp_path / "remote")
    await Probe(tmp_path, now=lambda: 1e9).honoured(remote, endpoint="e")
    (note,) = (tmp_path / "conditional-writes").iterdir()
    note.write_text(text)
    assert await Probe(tmp_path, now=lambda: 1e9).honoured(remote, endpoint="e")
    assert remote.writes == 6


async def test_without_a_place_to_remember_the_answer_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remote = Counting(tmp_path / "remote")
    assert await Probe(tmp_path / "file").honoured(remote, endpoint="e")
    assert await Probe(None).honoured(remote, endpoint="e")
