"""Copies that the store makes by itself, or says that it made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from msgspec import structs

from bentosync import aio, events
from bentosync.settings import Settings
from tests.faults.bench import SMALL, Bench
from tests.servers.faulty import operations
from tests.servers.faulty.actions import Action, Answer, ErrorInside
from tests.servers.faulty.call import Call, Reply
from tests.servers.faulty.objects import Bucket


@dataclass(frozen=True)
class TakenForPut(Action):
    """What a store does that has never heard of CopyObject: it stores an empty object, and reports success."""

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        return operations.execute(replace(call, operation="PutObject"), bucket, page=page)


def mirrored(bench: Bench) -> Settings:
    """The consumer's settings, with a mirror in the same bucket."""
    settings = bench.settings("consumer")
    mirror = structs.replace(settings.remotes["r"], url=f"{settings.remotes['r'].url}mirror/", name="mirror")
    return structs.replace(settings, remotes={**settings.remotes, "mirror": mirror})


def copied(bench: Bench) -> tuple[events.Finished, events.Finished]:
    """What a copy said at its end, and what a pull from the mirror said, which proves every byte."""
    settings, seen = mirrored(bench), []
    asyncio.run(aio.copy(SMALL, source="r", target="mirror", settings=settings, on_event=seen.append))
    asyncio.run(aio.pull(SMALL, remote="mirror", settings=settings, verify="strong", on_event=seen.append))
    done, pulled = (event for event in seen if isinstance(event, events.Finished))
    return done, pulled


def test_a_copy_in_one_store_sends_no_weights(bench: Bench) -> None:
    done, pulled = copied(bench)
    assert done.digest == pulled.digest
    made = {call.operation for call in bench.server.calls if "/mirror/files/" in call.key and "model.bin" in call.key}
    assert made == {"CopyObject", "GetObject"}


@pytest.mark.parametrize(
    "fault",
    [TakenForPut(), Answer(501, "NotImplemented"), Answer(403, "AccessDenied"), ErrorInside("InternalError")],
    ids=["taken for a put", "not implemented", "forbidden", "an error inside a success"],
)
def test_a_store_that_does_not_copy_gets_the_bytes_carried(bench: Bench, fault: Action) -> None:
    rule = bench.server.inject("CopyObject", fault, times=None)
    done, pulled = copied(bench)
    assert rule.fired
    assert done.digest == pulled.digest
