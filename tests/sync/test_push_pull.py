"""Push and pull between two stores, over every kind of remote."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from bentosync import events
from bentosync.errors import Conflict, IntegrityError, NotFound, UnsafeInput
from bentosync.tag import Tag
from tests.sync.scene import FILES, Scene, tree_of

TOTAL = sum(map(len, FILES.values()))


def test_a_pulled_version_equals_the_pushed_one(scene: Scene) -> None:
    pushed = scene.create("m:v1")
    scene.push("m:v1")
    pulled = scene.pull("m:v1")
    assert pulled.tag == pushed.tag
    assert tree_of(pulled) == tree_of(pushed)
    assert scene.store("consumer").get("m").tag == Tag("m", "v1")
    assert scene.store("consumer").check(pulled, strength="strong") == []


def test_the_report_adds_up(scene: Scene) -> None:
    scene.create("m:v1")
    pushed = scene.push("m:v1")
    assert (pushed.outcome, pushed.moved_bytes, pushed.reused_bytes) == ("done", pushed.total_bytes, 0)
    scene.pull("m:v1")
    pulled = scene.finished()
    assert (pulled.moved_bytes, pulled.reused_bytes, pulled.refetched_bytes) == (pulled.total_bytes, 0, 0)
    assert pulled.digest == pushed.digest
    assert pulled.total_bytes > TOTAL


def test_progress_never_goes_back_and_ends_at_the_total(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    scene.pull("m:v1")
    for operation in ("push", "pull"):
        steps = [e for e in scene.seen if isinstance(e, events.Progress) and e.operation == operation]
        done = [step.done_bytes for step in steps]
        assert done == sorted(done)
        assert done[-1] == steps[-1].total_bytes


def test_pushing_and_pulling_again_moves_nothing_and_says_so(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    scene.pull("m:v1")
    again = scene.push("m:v1")
    assert (again.outcome, again.moved_bytes) == ("up-to-date", 0)
    scene.pull("m:v1")
    assert (scene.finished().outcome, scene.finished().moved_bytes) == ("up-to-date", 0)


def test_a_name_alone_means_the_remotes_newest(scene: Scene) -> None:
    scene.create("m:older")
    scene.create("m:newer", {"a": b"newer"})
    scene.push("m:newer")
    scene.push("m:older")
    assert scene.pull("m").tag == Tag("m", "newer")
    assert scene.pull("m:latest").tag == Tag("m", "newer")


def test_latest_survives_a_lost_pointer(scene: Scene) -> None:
    scene.create("m:older")
    scene.create("m:newer", {"a": b"newer"})
    for version in ("older", "newer"):
        scene.push(f"m:{version}")
    scene.delete_object("models/m/latest")
    assert scene.pull("m").tag == Tag("m", "newer")


def test_pushing_again_heals_a_pointer_that_was_lost_or_broken(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    for damage in (scene.delete_object, lambda key: scene.write_object(key, b"{}")):
        damage("models/m/latest")
        assert scene.push("m:v1").outcome == "up-to-date"
        assert b'"version":"v1"' in scene.read_object("models/m/latest")


def test_a_lost_pointer_is_healed_to_the_newest_version_and_not_to_the_one_just_pushed(scene: Scene) -> None:
    scene.create("m:older", {"a": b"older"})
    scene.create("m:newer", {"a": b"newer"})
    scene.push("m:newer")
    scene.delete_object("models/m/latest")
    scene.push("m:older")
    assert b'"version":"newer"' in scene.read_object("models/m/latest")


def test_unknown_names_and_versions_are_not_found(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    with pytest.raises(NotFound, match="no Models with name 'other'"):
        scene.pull("other")
    with pytest.raises(NotFound, match="m:v2"):
        scene.pull("m:v2")
    with pytest.raises(NotFound):
        scene.push("m:v2")


def test_other_content_under_a_taken_name_is_a_conflict_both_ways(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    scene.create("m:v1", {"a": b"mine"}, home="consumer")
    with pytest.raises(Conflict, match="exists on"):
        scene.push("m:v1", home="consumer")
    with pytest.raises(Conflict, match="has other content"):
        scene.pull("m:v1")
    assert Path(scene.store("consumer").get("m:v1").path, "a").read_bytes() == b"mine"


def test_a_conflict_does_not_make_damage_the_truth(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    model = scene.pull("m:v1")
    with Path(model.path, "model.bin").open("r+b") as file:
        file.write(b"flipped")
    for act in (lambda: scene.push("m:v1", home="consumer"), lambda: scene.pull("m:v1")):
        with pytest.raises(Conflict):
            act()
        assert [found.path for found in scene.store("consumer").check(model, strength="full")] == ["model.bin"]
    published = scene.read_object("models/m/v1.jsonl")
    with pytest.raises(IntegrityError, match=r"is not what it was when it was recorded \(model\.bin differs\)"):
        scene.push("m:v1", home="consumer", force=True)
    assert scene.read_object("models/m/v1.jsonl") == published
    scene.push("m:v1", home="consumer", force=True, as_is=True)
    assert not scene.store("consumer").check(model, strength="full"), "what is published is the truth"


def test_a_path_that_is_not_portable_is_refused_before_anything_is_sent(scene: Scene) -> None:
    scene.create("m:v1", {"a.bin": b"a", "a:b": b"x"})
    with pytest.raises(UnsafeInput, match="a:b"):
        scene.push("m:v1")
    assert not scene.keys("")


def test_force_replaces_on_either_side(scene: Scene) -> None:
    pushed = scene.create("m:v1")
    scene.push("m:v1")
    scene.create("m:v1", {"a": b"mine"}, home="consumer")
    assert tree_of(scene.pull("m:v1", force=True)) == tree_of(pushed)
    shutil.rmtree(scene.root / "consumer")
    mine = scene.create("m:v1", {"a": b"mine"}, home="consumer")
    scene.push("m:v1", home="consumer", force=True)
    assert tree_of(scene.pull("m:v1", home="third")) == tree_of(mine)
    folders = {key.split("/")[2] for key in scene.keys("files/m/")}
    assert len(folders) == 1, "the folder of the replaced manifest is gone"


def test_a_manifest_that_changed_since_it_was_first_seen_is_a_conflict(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    scene.pull("m:v1")
    scene.store("consumer").delete("m:v1")
    scene.create("m:v1", {"a": b"other"}, home="evil")
    scene.push("m:v1", home="evil", force=True)
    with pytest.raises(Conflict, match="first saw"):
        scene.pull("m:v1")
    scene.pull("m:v1", force=True)


def test_a_version_restored_by_hand_is_whole_again_once_a_pull_has_seen_it(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    scene.create("m:v1", {"a": b"mine"}, home="consumer")
    mine = scene.store("consumer").get("m:v1")
    shutil.rmtree(mine.path)
    shutil.copytree(scene.store("publisher").get("m:v1").path, mine.path)
    assert scene.store("consumer").check(mine, strength="full") != []
    scene.pull("m:v1")
    assert scene.finished().outcome == "up-to-date"
    assert scene.store("consumer").check(mine, strength="full") == []


def test_a_pin_is_checked_against_the_manifest(scene: Scene) -> None:
    scene.create("m:v1")
    pin = scene.push("m:v1").digest
    scene.pull(f"m:v1@{pin}")
    wrong = pin[:-1] + ("0" if pin[-1] != "0" else "1")
    with pytest.raises(IntegrityError, match="was asked for"):
        scene.pull(f"m:v1@{wrong}", home="third")
    assert scene.store("third").find(Tag("m", "v1")) is None


def test_nothing_is_left_behind_on_either_side(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    scene.pull("m:v1")
    state = scene.root / "consumer" / ".bentosync"
    for folder in ("partial", "staging", "trash"):
        assert not list((state / folder).glob("*"))
    assert [key for key in scene.keys("models/") if "/pushes/" in key] == []


def test_files_lie_on_the_remote_under_their_own_names(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    names = {key.split("/", 3)[3] for key in scene.keys("files/m/")}
    assert names == {*FILES, "model.yaml", "run.sh"}
    line = scene.read_object("models/m/v1.jsonl").split(b"\n")[0]
    assert json.loads(line)["kind"] == "bentosync-manifest"


def test_a_damaged_object_is_named_and_nothing_is_published(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    key = next(key for key in scene.keys("files/m/") if key.endswith("model.bin"))
    data = bytearray(scene.read_object(key))
    data[20 << 20] ^= 1
    scene.write_object(key, bytes(data))
    with pytest.raises(IntegrityError, match=r"model\.bin"):
        scene.pull("m:v1")
    assert scene.store("consumer").find(Tag("m", "v1")) is None
    data[20 << 20] ^= 1
    scene.write_object(key, bytes(data))
    scene.pull("m:v1")
    assert scene.finished().reused_bytes > 0, "what was proven before the damage is kept"


def test_pushing_again_mends_a_version_whose_files_are_gone_from_the_remote(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    damaged = next(key for key in scene.keys("files/m/") if key.endswith("model.bin"))
    scene.delete_object(damaged)
    mended = scene.push("m:v1")
    assert mended.outcome == "done"
    assert tree_of(scene.pull("m:v1")) == tree_of(scene.store("publisher").get("m:v1"))
    assert len({key.split("/")[2] for key in scene.keys("files/m/")}) == 1


def test_a_swapped_or_broken_manifest_is_refused(scene: Scene) -> None:
    scene.create("m:v1")
    scene.create("n:v1", {"a": b"n"})
    scene.push("m:v1")
    scene.push("n:v1")
    manifest = scene.read_object("models/m/v1.jsonl")
    scene.write_object("models/n/v1.jsonl", manifest)
    with pytest.raises(IntegrityError):
        scene.pull("n:v1")
    scene.write_object("models/m/v1.jsonl", manifest[:-10])
    with pytest.raises(UnsafeInput):
        scene.pull("m:v1")
    assert not (scene.root / "consumer" / "models" / "m").exists()


def test_two_pushers_of_the_same_content_both_succeed(scene: Scene) -> None:
    scene.create("m:v1")
    shutil.copytree(scene.root / "publisher", scene.root / "twin")
    shutil.rmtree(scene.root / "twin" / ".bentosync")
    outcomes: list[object] = []

    def push(home: str) -> None:
        try:
            outcomes.append(scene.push("m:v1", home=home, on_event=lambda event: None))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=push, args=(home,)) for home in ("publisher", "twin")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(outcome, events.Finished) for outcome in outcomes), outcomes
    assert len({key.split("/")[2] for key in scene.keys("files/m/")}) == 1
    assert tree_of(scene.pull("m:v1")) == tree_of(scene.store("publisher").get("m:v1"))


def test_pulls_side_by_side_in_one_process_move_the_bytes_once(scene: Scene) -> None:
    scene.create("m:v1")
    scene.push("m:v1")
    finished: list[events.Finished] = []

    def keep(event: events.Event) -> None:
        if isinstance(event, events.Finished):
            finished.append(event)

    threads = [threading.Thread(target=scene.pull, args=("m:v1",), kwargs={"on_event": keep}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(finished) == 4
    assert sum(event.moved_bytes for event in finished) == finished[0].total_bytes
