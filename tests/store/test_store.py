"""Create, get, list, delete: BentoML's semantics on one store."""

from __future__ import annotations

import logging
import os
import pickle
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from bentosync.errors import (
    BentoMLException,
    Conflict,
    IntegrityError,
    InvalidTag,
    LocalIOError,
    MissingExtra,
    NotFound,
    UnsafeInput,
)
from bentosync.formats import model_yaml
from bentosync.store.model import Model
from bentosync.store.record import Origin
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.store.trees import create, listing, pattern, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def leftovers(store: Store) -> list[Path]:
    return [*store.layout.staging.iterdir(), *store.layout.trash.iterdir()]


# --- create -----------------------------------------------------------------------------------------------------------


def test_nothing_is_visible_before_the_block_ends_and_everything_after(store: Store) -> None:
    with store.create("m:v1", labels={"stage": "dev"}, metadata={"acc": 0.9}) as model:
        staged = Path(model.path)
        assert store.list() == []
        write(staged, {"a.bin": pattern(100), "deep/er/b.bin": b""})
        (staged / "empty").mkdir()
    assert model.path == str(store.layout.models / "m" / "v1")
    assert store.get("m:v1") == model
    assert store.get("m").info.labels == {"stage": "dev"}
    found = listing(Path(model.path))
    found.pop("model.yaml")
    assert found == {"a.bin": pattern(100), "deep": None, "deep/er": None, "deep/er/b.bin": b"", "empty": None}
    assert leftovers(store) == []


def test_staging_is_outside_models_and_on_its_file_system(store: Store) -> None:
    with store.create("m") as model:
        staged = Path(model.path)
        assert not staged.is_relative_to(store.layout.models)
        assert staged.stat().st_dev == store.layout.models.stat().st_dev
        inode = staged.stat().st_ino
    assert Path(model.path).stat().st_ino == inode, "publishing copied the tree"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_in_the_block_leaves_nothing_and_goes_through(store: Store, error: type[BaseException]) -> None:
    with pytest.raises(error), store.create("m:v1") as model:
        write(Path(model.path), {"a": b"x"})
        raise error
    assert store.list() == []
    assert leftovers(store) == []
    assert not (store.layout.models / "m").exists()


def test_invalid_labels_and_metadata_are_refused_before_anything_is_staged(store: Store, tmp_path: Path) -> None:
    for values in ({"labels": {1: "x"}}, {"metadata": {"x": None}}, {"metadata": {"x": 1j}}):
        with pytest.raises(ValueError), store.create("m", **values):  # type: ignore[arg-type]
            raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_tag_is_refused_with_bentomls_words(store: Store) -> None:
    create(store, "m:v1")
    with pytest.raises(Conflict) as caught, store.create("m:v1"):
        raise AssertionError("the block must not run")
    assert str(caught.value) == f"Item 'm:v1' already exists in the store {store.layout.models}"


def test_the_loser_of_a_race_for_one_tag_is_refused_and_changes_nothing(store: Store) -> None:
    with pytest.raises(Conflict), store.create("m:v1") as late:
        write(Path(late.path), {"late": b""})
        create(store, "m:v1", {"first": b""})
    assert "first" in listing(store.layout.models / "m/v1")
    assert leftovers(store) == []


def test_an_automatic_version_is_given_when_none_is_named(store: Store) -> None:
    first, second = create(store, "m"), create(store, "m")
    assert first.tag != second.tag
    assert store.get("m") == second


def test_the_version_latest_cannot_be_created(store: Store) -> None:
    with pytest.raises(InvalidTag, match="'latest' is the pointer"), store.create("m:latest"):
        raise AssertionError


def test_custom_objects_are_unpickled_on_access_and_never_before(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    with store.create("m:v1", custom_objects={"f": lambda x: x + 1}):
        pass
    assert store.get("m:v1").custom_objects["f"](1) == 2
    assert create(store, "m:v2").custom_objects == {}

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    with store.create("m:v3") as model:
        write(Path(model.path), {"custom_objects.pkl": pickle.dumps({"x": Trap()})})
    store.get("m:v3"), store.list(), store.summaries(), store.describe(model)
    assert not (tmp_path / "sprung").exists()
    _ = store.get("m:v3").custom_objects
    assert (tmp_path / "sprung").exists()


def test_external_modules_are_pickled_with_their_code_and_forgotten_afterwards(store: Store) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    module = types.ModuleType("no_such_module")
    exec("def double(x): return 2 * x", vars(module))
    sys.modules["no_such_module"] = module
    try:
        with store.create("m:v1", custom_objects={"f": module.double}, external_modules=[module]):
            assert "no_such_module" in cloudpickle.list_registry_pickle_by_value()
        assert "no_such_module" not in cloudpickle.list_registry_pickle_by_value()
    finally:
        del sys.modules["no_such_module"]
    assert store.get("m:v1").custom_objects["f"](21) == 42


def test_without_cloudpickle_custom_objects_are_refused_before_the_block(tmp_path: Path) -> None:
    script = f"""
import sys; sys.modules["cloudpickle"] = None
from pathlib import Path; from bentosync.store.store import Store; from bentosync.errors import MissingExtra
try:
    with Store(Path({str(tmp_path)!r})).create("m", custom_objects={{"a": 1}}): raise AssertionError
except MissingExtra as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "pip install cloudpickle", done.stderr
    assert MissingExtra.code == "EXTRA"


def test_a_model_yaml_written_by_the_user_is_replaced_even_if_it_is_a_link(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with store.create("m:v1") as model:
        (Path(model.path) / "model.yaml").symlink_to(victim)
    assert victim.read_text() == "mine"
    assert not Path(model.path_of("model.yaml")).is_symlink()
    assert store.get("m:v1").tag == Tag("m", "v1")


def test_files_no_manifest_can_describe_are_kept_with_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="bentosync"):
        model = create(store, "m:v1", {"a:b": b"x"})
    assert "cannot be pushed" in caplog.text
    assert Path(model.path_of("a:b")).read_bytes() == b"x"
    with pytest.raises(UnsafeInput):
        store.describe(model)


def test_modes_are_those_of_new_files_plus_execute_and_never_set_user_id(store: Store) -> None:
    old = os.umask(0o027)
    try:
        with store.create("m:v1") as model:
            write(Path(model.path), {"tool": b"#!", "secret": b"", "suid": b""})
            os.chmod(model.path_of("tool"), 0o700)
            os.chmod(model.path_of("secret"), 0o400)
            os.chmod(model.path_of("suid"), 0o4755)
            os.mkdir(model.path_of("closed"), 0o000)
    finally:
        os.umask(old)
    modes = {
        name: stat.S_IMODE(os.stat(model.path_of(name)).st_mode) for name in ("tool", "secret", "suid", "closed", "")
    }
    assert modes == {"tool": 0o750, "secret": 0o640, "suid": 0o750, "closed": 0o750, "": 0o750}


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o022, 0o755), (0o002, 0o775)])
def test_the_state_folder_is_as_open_as_the_models(store: Store, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        create(store, "m:v1")
    finally:
        os.umask(before)
    folders = (store.layout.models, store.layout.state, store.layout.staging, store.layout.trash, store.layout.locks)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {mode}


# --- get, list, latest ------------------------------------------------------------------------------------------------


def test_get_takes_a_unique_prefix_and_refuses_an_ambiguous_one(store: Store) -> None:
    create(store, "m:abc1"), create(store, "m:abd1")
    assert store.get("m:abc").tag == Tag("m", "abc1")
    with pytest.raises(BentoMLException, match=r"^Multiple m versions found: abc1, abd1$"):
        store.get("m:ab")


def test_get_leaves_the_callers_tag_alone(store: Store) -> None:
    create(store, "m:v1")
    tag = Tag("m")
    assert store.get(tag).tag == Tag("m", "v1")
    assert tag.version is None


def test_what_is_not_there_is_said_in_bentomls_words(store: Store) -> None:
    create(store, "m:v1")
    models = store.layout.models
    cases = [
        (lambda: store.get("nope"), f"no Models with name 'nope' exist in BentoML store {models}"),
        (lambda: store.get("nope:latest"), f"no Models with name 'nope' exist in BentoML store {models}"),
        (
            lambda: store.get("nope:1"),
            f"Model 'nope:1' is not found in BentoML store {models}, you may need to run `bentoml models pull` first",
        ),
        (lambda: store.list("nope"), "no Models with name 'nope' found"),
        (lambda: store.delete("m:zz"), "Model 'm:zz' not found"),
        (lambda: store.delete("nope"), "Model 'nope' not found"),
    ]
    for call, message in cases:
        with pytest.raises(NotFound) as caught:
            call()
        assert str(caught.value) == message


def test_list_resolves_no_latest_and_sorts_by_name_and_version(store: Store) -> None:
    for tag in ("b:v1", "a:v2", "a:v10", "a:v1"):
        create(store, tag)
    assert [str(model.tag) for model in store.list()] == ["a:v1", "a:v10", "a:v2", "b:v1"]
    assert [str(model.tag) for model in store.list("a")] == ["a:v1", "a:v10", "a:v2"]
    assert store.list("a:latest") == []
    assert store.list("a:v9") == []
    assert [model.tag for model in store.list("a:v1")] == [Tag("a", "v1")]


def test_an_empty_or_missing_store_lists_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").list() == []
    assert Store(tmp_path / "nowhere").summaries() == []
    assert not (tmp_path / "nowhere").exists()


def test_one_bad_folder_never_hides_the_others_and_is_warned_about_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    create(store, "m:good")
    models = store.layout.models
    (models / "m" / "half").mkdir()
    (models / "m" / "garbage").mkdir()
    (models / "m" / "garbage" / "model.yaml").write_text("[")
    (models / "m" / ".cache").mkdir()
    (models / ".tmp").mkdir()
    (models / "empty").mkdir()
    (models / "m" / "copied").mkdir()
    (models / "m" / "copied" / "model.yaml").write_bytes((models / "m" / "good" / "model.yaml").read_bytes())
    for read in (store.list, store.summaries):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="bentosync"):
            assert [found.tag for found in read()] == [Tag("m", "good")]
        assert len(caplog.records) == 5
    with pytest.raises(
        BentoMLException, match=r"^Failed to load bento model because it does not contain a 'model\.yaml'$"
    ):
        store.get("m:half")
    with pytest.raises(BentoMLException, match=r"^malformed model\.yaml"):
        store.get("m:garbage")
    with pytest.raises(BentoMLException, match="holds m:good"):
        store.get("m:copied")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"gone", b"../../etc", b"\xff" * 300, b"latest"])
def test_a_broken_latest_is_read_around_and_mended(store: Store, content: bytes | None) -> None:
    create(store, "m:v1"), create(store, "m:v2")
    pointer = store.layout.latest("m")
    pointer.unlink()
    if content is not None:
        pointer.write_bytes(content)
    assert store.get("m").tag == Tag("m", "v2")
    assert pointer.read_bytes() == b"v2"


def test_a_trailing_line_feed_in_latest_is_tolerated(store: Store) -> None:
    create(store, "m:v1"), create(store, "m:v2")
    store.layout.latest("m").write_bytes(b"v1\n")
    assert store.get("m").tag == Tag("m", "v1")


def test_a_pipe_in_the_place_of_latest_or_model_yaml_does_not_hang(store: Store) -> None:
    create(store, "m:v1"), create(store, "m:v2")
    store.layout.latest("m").unlink()
    os.mkfifo(store.layout.latest("m"))
    assert store.get("m").tag == Tag("m", "v2")
    (store.layout.models / "m/v1/model.yaml").unlink()
    os.mkfifo(store.layout.models / "m/v1/model.yaml")
    assert [model.tag for model in store.list()] == [Tag("m", "v2")]
    assert [summary.tag for summary in store.summaries()] == [Tag("m", "v2")]


def test_a_folder_called_latest_as_bentoml_leaves_it_breaks_nothing(store: Store) -> None:
    create(store, "m:v1")
    store.layout.latest("m").unlink()
    store.layout.latest("m").mkdir()
    create(store, "m:v2")
    assert store.get("m").tag == Tag("m", "v2")
    assert [str(model.tag) for model in store.list()] == ["m:v1", "m:v2"]


def test_latest_moves_only_to_a_newer_creation_time(store: Store) -> None:
    old = create(store, "m:old")
    create(store, "m:new")
    manifest, info = store.describe(old), store.get("m:old").info
    store.delete("m:old")
    staged = store.staging()
    write(staged, {"weights.bin": pattern(1000), "model.yaml": model_yaml.dumps(info)})
    store.publish(staged, manifest)
    assert store.get("m").tag == Tag("m", "new")
    assert [str(model.tag) for model in store.list()] == ["m:new", "m:old"]


# --- delete -----------------------------------------------------------------------------------------------------------


def test_delete_repoints_latest_to_the_newest_left_and_removes_the_last_folder(store: Store) -> None:
    for version in ("z1", "a2", "m3"):
        create(store, f"m:{version}")
    store.delete("m:m3")
    assert store.layout.latest("m").read_text() == "a2"
    store.delete("m:latest")
    assert store.get("m").tag == Tag("m", "z1")
    store.delete("m:z1")
    assert not (store.layout.models / "m").exists()
    assert leftovers(store) == []


def test_delete_of_a_name_removes_every_version(store: Store) -> None:
    create(store, "m:v1"), create(store, "m:v2"), create(store, "other:v1")
    store.delete("m")
    assert [str(model.tag) for model in store.list()] == ["other:v1"]
    assert store.record(Tag("m", "v1")) is None


def test_delete_does_not_take_prefixes(store: Store) -> None:
    create(store, "m:abc1")
    with pytest.raises(NotFound):
        store.delete("m:abc")
    store.delete("nope:latest")


def test_delete_removes_a_damaged_version_and_leaves_damaged_siblings(store: Store) -> None:
    create(store, "m:v1"), create(store, "m:v2")
    (store.layout.models / "m/v1/model.yaml").unlink()
    store.delete("m:v2")
    assert (store.layout.models / "m/v1").is_dir()
    assert not store.layout.latest("m").exists()
    store.delete("m:v1")
    assert not (store.layout.models / "m").exists()


def test_deleting_a_version_that_is_a_link_removes_the_link_and_nothing_else(store: Store, tmp_path: Path) -> None:
    create(store, "m:v1"), create(store, "m:v2")
    elsewhere = tmp_path / "elsewhere"
    (store.layout.models / "m/v1").rename(elsewhere)
    elsewhere.chmod(0o755)
    (store.layout.models / "m/v1").symlink_to(elsewhere)
    assert [str(model.tag) for model in store.list()] == ["m:v1", "m:v2"]
    store.delete("m:v1")
    assert [str(model.tag) for model in store.list()] == ["m:v2"]
    assert (elsewhere / "weights.bin").read_bytes() == pattern(1000)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert leftovers(store) == []


# --- publish ----------------------------------------------------------------------------------------------------------


def staged_twin(store: Store, model: Model, extra: dict[str, bytes] | None = None) -> Path:
    staged = store.staging()
    for path, data in listing(Path(model.path)).items():
        write(staged, {path: data} if data is not None else {})
    write(staged, extra or {})
    return staged


def test_publish_remembers_the_manifest_and_where_it_came_from(store: Store) -> None:
    model = create(store, "m:v1")
    manifest, staged = store.describe(model), staged_twin(store, model)
    store.delete("m:v1")
    published = store.publish(staged, manifest, origin=Origin("file:///x", "2026-11-22T10:00:00+00:00"))
    assert published.path == model.path
    record = store.record(Tag("m", "v1"))
    assert record is not None
    assert (record.manifest, record.origin) == (manifest, Origin("file:///x", "2026-11-22T10:00:00+00:00"))
    store.drop_staging(staged)
    assert leftovers(store) == []


def test_publish_never_replaces_unless_told_to(store: Store) -> None:
    model = create(store, "m:v1")
    with pytest.raises(Conflict):
        store.publish(staged_twin(store, model), store.describe(model))


def test_replacing_puts_the_new_tree_in_place_and_removes_the_old(store: Store) -> None:
    model = create(store, "m:v1", {"old": b"1"})
    other = Store(store.layout.home.parent / "other")
    twin = create(other, "m:v1", {"new": b"2"})
    staged = staged_twin(store, twin)
    store.publish(staged, other.describe(twin), replace=True)
    assert set(listing(Path(model.path))) == {"new", "model.yaml"}
    store.drop_staging(staged)
    assert leftovers(store) == []


def test_a_tree_that_is_not_its_manifests_is_refused(store: Store) -> None:
    model = create(store, "m:v1")
    manifest = store.describe(model)
    staged = staged_twin(store, model, {"extra": b""})
    store.delete("m:v1")
    with pytest.raises(IntegrityError, match="extra"):
        store.publish(staged, manifest)
    assert store.list() == []


# --- where it runs ----------------------------------------------------------------------------------------------------


def test_a_state_folder_on_another_file_system_is_refused_with_both_remedies(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    store = Store(tmp_path, state_dir=shm / f"bentosync-test-{os.getpid()}")
    try:
        with pytest.raises(LocalIOError, match="different file systems") as caught, store.create("m"):
            raise AssertionError
    finally:
        store.layout.state.rmdir()
    assert "mount the folder" in str(caught.value.hint)
    assert "state_dir" in str(caught.value.hint)


def test_a_state_folder_of_its_own_is_used(tmp_path: Path) -> None:
    store = Store(tmp_path / "home", state_dir=tmp_path / "state")
    create(store, "m:v1")
    assert not (tmp_path / "home" / ".bentosync").exists()
    assert (tmp_path / "state").is_dir()


def test_a_read_only_home_lists_and_gets_and_refuses_to_write(tmp_path: Path) -> None:
    create(Store(tmp_path), "m:v1")
    (tmp_path / "models/m/latest").unlink()
    script = f"""
import os, ctypes
from pathlib import Path
from bentosync.store.store import Store; from bentosync.errors import LocalIOError
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x00020000) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0
home = {str(tmp_path)!r}
assert libc.mount(home.encode(), home.encode(), None, 4096, None) == 0
assert libc.mount(None, home.encode(), None, 4096 | 32 | 1, None) == 0
store = Store(Path(home))
model = store.get("m")
print(model.tag, [str(m.tag) for m in store.list()], store.describe(model).card.files, len(store.summaries()))
for write in (lambda: store.create("m:v2").__enter__(), lambda: store.delete("m:v1")):
    try:
        write()
        print("written")
    except LocalIOError as error:
        print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if "AssertionError" in done.stderr and "unshare" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.stdout.splitlines() == ["m:v1 ['m:v1'] 2 1", "refused", "refused"], done.stderr


def test_two_threads_creating_different_models_do_not_disturb_each_other(store: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                create(store, f"m{number % 2}:v{number}-{turn}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert errors == []
    assert len(store.list()) == 20
    newest = max(store.list("m0"), key=lambda model: model.creation_time)
    assert store.get("m0").creation_time == newest.creation_time


# --- a version that goes away, or becomes another one, while it is read -----------------------------------------------

_INTERRUPTED = """
import os, sys
from pathlib import Path
from bentosync.errors import NotFound
from bentosync.store.store import Store

root, happening, asked = sys.argv[1:]
store, version = Store(Path(root)), Path(root) / "models/m/v1"
calls = []

def at_its_folder(event, arguments):
    if event == "open" and str(arguments[0]) == str(version) and not calls:
        calls.append(event)
        version.rename(Path(root, "gone"))
        if happening == "replaced":
            Path(root, "other").rename(version)

sys.addaudithook(at_its_folder)
try:
    print(store.get(asked).info.labels)
except NotFound:
    print("not found")
assert calls
"""


@pytest.mark.parametrize("asked", ["m:v1", "m"])
@pytest.mark.parametrize(("happening", "answer"), [("deleted", "not found"), ("replaced", "{'which': 'new'}")])
def test_a_version_deleted_or_replaced_while_it_is_read_is_not_damaged(
    store: Store, tmp_path: Path, happening: str, answer: str, asked: str
) -> None:
    for which in ("new", "old"):
        with store.create("m:v1", labels={"which": which}) as model:
            write(Path(model.path), {"a.bin": b"a"})
        if which == "new":
            Path(model.path).rename(tmp_path / "other")
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(tmp_path), happening, asked], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, answer), done.stderr
