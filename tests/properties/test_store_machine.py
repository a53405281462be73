"""A store does what a dictionary does, also when processes die in the middle of changing it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bentosync.errors import Conflict, NotFound
from bentosync.store.disk import Disk
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.store.test_crash import dies_at
from tests.store.trees import create, listing, pattern, write
from tests.tally import LONG, Count

pytestmark = pytest.mark.timeout(120 * LONG)

EXAMPLES, STEPS = 25, 25
CALLS_MAX = 40
"""An operation makes fewer calls than this; a death at a later one is none."""

Files = dict[str, bytes | None]
tags = st.sampled_from([f"{name}:{version}" for name in "ab" for version in ("v1", "v2", "v3")])
contents = st.builds(
    lambda size, seed: {"weights.bin": pattern(size, seed), f"sub/{seed}": b"x"}, st.integers(0, 300), st.integers(0, 9)
)


class StoreMachine(RuleBasedStateMachine):
    """`truth` is what the store must hold: by tag, every path with its bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.store = Store(self.root / "home")
        self.truth: dict[str, Files] = {}
        self.behind: set[str] = set()
        """Names whose pointer a death may have left behind."""

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    # --- acts ---------------------------------------------------------------------------------------------------------

    @rule(tag=tags, files=contents)
    def create(self, tag: str, files: dict[str, bytes]) -> None:
        try:
            model = create(self.store, tag, files)
        except Conflict:
            assert tag in self.truth
            return
        assert tag not in self.truth
        self._now_holds(tag, listing(Path(model.path)))

    @rule(tag=tags, files=contents)
    def replace(self, tag: str, files: dict[str, bytes]) -> None:
        new = self._twin(tag, files)
        self._publish(self.store, tag)
        self._now_holds(tag, new)

    @rule(tag=tags)
    def delete(self, tag: str) -> None:
        try:
            self.store.delete(tag)
        except NotFound:
            assert tag not in self.truth
            return
        del self.truth[tag]
        self.behind.discard(tag[0])

    @rule(name=st.sampled_from("ab"))
    def delete_name(self, name: str) -> None:
        held = [tag for tag in self.truth if tag.startswith(name)]
        try:
            self.store.delete(name)
        except NotFound:
            assert not held
        for tag in held:
            del self.truth[tag]
        self.behind.discard(name)

    @rule()
    def another_process_takes_over(self) -> None:
        self.store = Store(self.root / "home")

    @rule(tag=tags, files=contents, nth=st.integers(1, CALLS_MAX))
    def die_creating(self, tag: str, files: dict[str, bytes], nth: int) -> None:
        whole = self.truth.get(tag, {**files, "sub": None, "model.yaml": b""})
        self._die(nth, lambda disk: create(Store(self.root / "home", disk=disk), tag, files), tag, whole)

    @rule(tag=tags, files=contents, nth=st.integers(1, CALLS_MAX))
    def die_replacing(self, tag: str, files: dict[str, bytes], nth: int) -> None:
        new = self._twin(tag, files)
        self._die(nth, lambda disk: self._publish(Store(self.root / "home", disk=disk), tag), tag, new)

    @rule(tag=tags, nth=st.integers(1, CALLS_MAX))
    def die_deleting(self, tag: str, nth: int) -> None:
        if tag in self.truth:
            self._die(nth, lambda disk: Store(self.root / "home", disk=disk).delete(tag), tag, None)

    # --- looks --------------------------------------------------------------------------------------------------------

    @invariant()
    def it_lists_what_it_holds(self) -> None:
        assert [str(model.tag) for model in self.store.list()] == sorted(self.truth)
        for tag, files in self.truth.items():
            assert listing(Path(self.store.get(tag).path)) == files

    @invariant()
    def latest_is_the_newest(self) -> None:
        for name in "ab":
            held = [self.store.get(tag) for tag in self.truth if tag.startswith(name)]
            try:
                latest = self.store.get(name)
            except NotFound:
                assert not held
                continue
            newest = max(held, key=lambda model: model.creation_time)
            assert latest.tag == newest.tag or (name in self.behind and str(latest.tag) in self.truth)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _now_holds(self, tag: str, files: Files) -> None:
        self.truth[tag] = files
        self.behind.discard(tag[0])

    def _twin(self, tag: str, files: dict[str, bytes]) -> Files:
        """Make the version in another store, to be published from there."""
        shutil.rmtree(self.root / "twin", ignore_errors=True)
        return listing(Path(create(Store(self.root / "twin"), tag, files).path))

    def _publish(self, store: Store, tag: str) -> None:
        twin = Store(self.root / "twin")
        model = twin.get(tag)
        staged = store.staging()
        write(staged, {path: data for path, data in listing(Path(model.path)).items() if data is not None})
        store.publish(staged, twin.describe(model), replace=True)
        store.drop_staging(staged)

    def _die(self, nth: int, act: Callable[[Disk], object], tag: str, whole: Files | None) -> None:
        """Whatever the death left must be the old life or the new one, whole."""
        if whole is not None and tag in self.truth and whole == self.truth[tag]:
            return
        dies_at(nth, lambda disk: void(act(disk)))
        found = Store(self.root / "home").find(Tag.from_str(tag)) if self._healed() else None
        now = None if found is None else listing(Path(found.path))
        if now != self.truth.get(tag):
            assert same(now, whole), f"{tag} holds {now}"
            if now is None:
                del self.truth[tag]
            else:
                self.truth[tag] = now
        self.behind.add(tag[0])

    def _healed(self) -> bool:
        self.store = Store(self.root / "home")
        self.store.list()
        return True


def same(one: Files | None, other: Files | None) -> bool:
    """Equal but for when model.yaml says it was made."""
    if one is None or other is None:
        return one is other
    return {**one, "model.yaml": b""} == {**other, "model.yaml": b""}


def void(_: object) -> None: ...


def test_a_store_is_a_dictionary_of_versions(seed: int, count: Count) -> None:
    began = time.monotonic()
    run_state_machine_as_test(
        hypothesis.seed(seed)(StoreMachine),
        settings=settings(
            max_examples=EXAMPLES * LONG, stateful_step_count=STEPS, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    count("store machine", histories=EXAMPLES * LONG, steps=STEPS, seed=seed, seconds=time.monotonic() - began)
