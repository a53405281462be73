"""Inspect: is a version on a remote still whole, asked of the remote itself and without a byte of disk.

Its manifest says what every block should be; all of them are read, or a sample chosen at random. Files whose bytes also
lie in the manifest are read like the others: bentosync does not need them, whoever uses the bucket as plain files does.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from bentosync.errors import InvalidArgument
from bentosync.events import Finished, Warned
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.proof import Damage, Strength, check_strength
from bentosync.sync.resolve import Resolved, resolve
from bentosync.sync.watch import Watch
from bentosync.tag import Reference
from bentosync.transfer import inspection
from bentosync.transfer.inspection import Inspection, Task
from bentosync.transfer.meter import Meter
from bentosync.transfer.parts import Slice
from bentosync.transfer.unpack import misfits


class Inspected(Struct, frozen=True):
    """What was looked at, and what is wrong with it. `end.moved_bytes` were read, of `size_bytes`.

    `packs` are the keys of packs that do not hold their files' bytes: no damage, but pulls read them for nothing.
    """

    end: Finished
    size_bytes: int
    damage: tuple[Damage, ...]
    packs: tuple[str, ...]


async def inspect(
    remote: Remote,
    reference: Reference,
    *,
    settings: Settings,
    watch: Watch,
    share: float | None = None,
    strength: Strength = "full",
) -> Inspected:
    """Read a version where it lies, or `share` of each of its files, and prove it; nothing is changed.

    Args:
        remote: Where it lies.
        reference: Which version.
        settings: Streams, memory and limits.
        watch: Is told what happens.
        share: Over 0, at most 1: of every file so much, at least one unit; None for every byte.
        strength: `strong` proves BLAKE3 as well as XXH3.

    Raises:
        NotFound: There is no such version.
        IntegrityError, UnsafeInput: Its manifest is not the pinned one, or is none.
        AuthError, NetworkError: The remote cannot be read.
    """
    check_strength(strength)
    if share is not None and not 0 < share <= 1:
        raise InvalidArgument(f"share={share!r} is not over 0 and at most 1")
    watch.phase(reference.name, "resolve")
    found = await resolve(remote, reference)
    strong = strength == "strong"
    tasks = _tasks(found, share, strong=strong, choice=random.Random())
    total = sum(task.read_bytes for task in tasks)
    watch.start(str(found.tag), remote.properties.url, files=len(tasks), total_bytes=total, reused_bytes=0)
    watch.phase(str(found.tag), "transfer")
    sizes = {task.entry.path: task.read_bytes for task in tasks}
    watch.meter.limit_bytes_per_second = settings.transfer.limit_bytes_per_second
    looking = _inspection(
        remote, settings, watch.meter, strong=strong,
        on_read=lambda path, count: watch.advance(path, sizes[path], count),
    )  # fmt: skip
    damage = await looking.run(tasks)
    spoilt = await _spoilt_packs(remote, found, settings, strong=strong) if share is None else []
    if spoilt:
        which = ", ".join(spoilt[:3]) + (f" and {len(spoilt) - 3} more" if len(spoilt) > 3 else "")
        watch(
            Warned(
                f"{found.tag} is slow to pull: {which} should hold its small files once more, and does not",
                hint=f"bentosync push --resend {found.tag}",
            )
        )
    end = watch.finish("done", found.manifest.pin, moved=total, reused=0, refetched=looking.again_bytes)
    return Inspected(end, found.manifest.card.size, tuple(damage), tuple(spoilt))


async def _spoilt_packs(remote: Remote, found: Resolved, settings: Settings, *, strong: bool) -> list[str]:
    entries = {entry.path: entry for entry in found.manifest.files}
    jobs, memory_bytes = settings.transfer.streams_max, settings.transfer.memory_bytes
    return await misfits(remote, found.packs(), entries, jobs=jobs, memory_bytes=memory_bytes, strong=strong)


async def spot(remote: Remote, found: Resolved, *, files_max: int, settings: Settings) -> list[Damage]:
    """What one random block of each file shows; of more than `files_max` files, the largest are looked at."""
    tasks = _tasks(found, 0.0, strong=False, choice=random.Random())
    largest = sorted(tasks, key=lambda task: -task.entry.size)[:files_max]
    return await _inspection(remote, settings, Meter(), strong=False, on_read=lambda path, count: None).run(largest)


def _tasks(found: Resolved, share: float | None, *, strong: bool, choice: random.Random) -> list[Task]:
    def slices(size: int) -> tuple[Slice, ...]:
        if size == 0 or share is None:
            return inspection.everything(size)
        return inspection.sample(size, share, strong=strong, choice=choice)

    return [Task(entry, found.key(entry.path), slices(entry.size)) for entry in found.manifest.files]


def _inspection(
    remote: Remote, settings: Settings, meter: Meter, *, strong: bool, on_read: Callable[[str, int], None]
) -> Inspection:
    return Inspection(
        remote,
        jobs=settings.transfer.streams_max,
        memory_bytes=settings.transfer.memory_bytes,
        strong=strong,
        meter=meter,
        on_read=on_read,
    )
