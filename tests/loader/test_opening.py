from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from bentosync.errors import IntegrityError
from bentosync.events import Warned
from bentosync.loader.opening import Opening, open_model
from bentosync.loader.options import Options
from bentosync.loader.resolve import Resolved
from bentosync.manifest.values import Card, Manifest
from bentosync.store.record import Record, Stamp
from tests.loader.test_proof import entry
from tests.loader.weights import write

FILE = "model.safetensors"


@pytest.fixture
def known(tmp_path: Path) -> Resolved:
    """A directory whose record holds, stamps and all."""
    data = write(tmp_path / FILE, {"a": ("F32", (1000,))}).read_bytes()
    card = Card("m", "v1", "b3:" + "0" * 64, len(data), 1, "2026-11-22T00:00:00+00:00", "")
    record = Record(
        Manifest(card, (entry(data, FILE),), (), "0" * 64), {FILE: Stamp.of(os.stat(tmp_path / FILE))}, None
    )
    return Resolved("m:v1", tmp_path, tmp_path, record)


def opened(resolved: Resolved, events: list[Any] | None = None, **kwargs: Any) -> Opening:
    return open_model(resolved, Options("cpu", on_event=None if events is None else events.append, **kwargs))


def stamps(resolved: Resolved, stamps: dict[str, Stamp]) -> Resolved:
    assert resolved.record is not None
    return replace(resolved, record=structs.replace(resolved.record, stamps=stamps))


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_a_stamp_that_holds_is_trusted(known: Resolved, staging: str) -> None:
    opening = opened(known, staging=staging)
    assert (opening.verified, opening.proofs) == ("trusted", {})


def test_a_stamp_that_does_not_hold_is_proven_when_staged_and_warned_about_once_when_mapped(known: Resolved) -> None:
    os.utime(known.path / FILE, ns=(1, 1))
    assert opened(known, staging="force").verified == "full"
    events: list[Any] = []
    opening = opened(known, events)
    assert (opening.mapped, opening.verified) == (True, "off")
    assert [type(event) for event in events] == [Warned]
    assert "m:v1 changed" in events[0].message


def test_a_stamp_too_young_to_be_remembered_is_no_reason_to_warn(known: Resolved) -> None:
    young = stamps(known, {})
    events: list[Any] = []
    assert opened(young, events).verified == "off"
    assert events == []
    assert opened(young, staging="force").verified == "full"


def test_verify_off_asks_nothing(known: Resolved) -> None:
    assert opened(stamps(known, {}), staging="force", verify="off").verified == "off"


@pytest.mark.parametrize("verify", ["full", "strong"])
def test_full_and_strong_stage_and_prove_even_what_a_stamp_vouches_for(known: Resolved, verify: str) -> None:
    opening = opened(known, verify=verify)
    assert (opening.mapped, opening.verified, list(opening.proofs)) == (False, verify, [0])


def test_a_weight_file_the_record_does_not_know_is_refused(known: Resolved) -> None:
    (known.path / FILE).rename(known.path / "other.safetensors")
    with pytest.raises(IntegrityError, match="not part of m:v1"):
        opened(known, verify="full")


def test_the_size_of_reads_follows_the_digest(known: Resolved) -> None:
    assert opened(known, verify="strong").sizing(direct=False).unit_bytes == 8 << 20
    assert opened(known, verify="full").sizing(direct=True).unit_bytes == 1 << 20
