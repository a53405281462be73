"""The real BentoML 1.4.39 and bentosync on one folder: each uses what the other made, and both say the same things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bentosync import models
from bentosync.errors import BentoMLException, InvalidArgument, NotFound
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests import real_bentoml
from tests.store.trees import listing, pattern, write


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


_LOOK = """
import bentoml, os
def seen(model):
    files = {}
    for folder, _, names in os.walk(model.path):
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, model.path)] = open(path, 'rb').read().hex()
    info = model.info.to_dict()
    return dict(tag=str(model.tag), size=model.file_size, files=files, labels=info['labels'],
                created=info['creation_time'], metadata=info['metadata'], text=str(model),
                objects=sorted(model.custom_objects))
"""

_MAKE = """
import bentoml, os
for tag in argument:
    with bentoml.models.create(tag, labels={'stage': 'dev'}, metadata={'acc': 0.9, 'dims': (1, 2)},
                               custom_objects={'vocabulary': {'a': 1}}, signatures={'p': {'batchable': True}}) as model:
        os.makedirs(model.path_of('empty/folder'))
        with open(model.path_of('weights.bin'), 'wb') as file:
            file.write(bytes(range(256)) * 100)
        os.symlink('weights.bin', model.path_of('alias.bin'))
"""


def test_bentoml_lists_gets_and_uses_what_bentosync_created(store: Store, home: Path) -> None:
    pytest.importorskip("cloudpickle")
    values: dict[str, Any] = {"labels": {"stage": "prod"}, "metadata": {"acc": 0.5}, "custom_objects": {"key": [1, 2]}}
    for tag in ("m:v1", "m:v2", "n"):
        with store.create(tag, **values) as model:
            write(Path(model.path), {"weights.bin": pattern(5000), "d/x": b"x"})
    seen = real_bentoml.run(
        _LOOK + "result = dict(all=[seen(m) for m in bentoml.models.list()], latest=seen(bentoml.models.get('m')),"
        "prefix=seen(bentoml.models.get('n:' + argument[:6])))", str(model.tag.version), home=home,
    )  # fmt: skip
    ours = store.list()
    assert [found["tag"] for found in seen["all"]] == [str(found.tag) for found in ours]
    assert (seen["latest"]["tag"], seen["prefix"]["tag"]) == ("m:v2", str(model.tag))
    for theirs, mine in zip(seen["all"], ours, strict=True):
        files = {path: data.hex() for path, data in listing(Path(mine.path)).items() if data is not None}
        assert theirs["files"] == files
        assert theirs["size"] == mine.file_size
        assert (theirs["labels"], theirs["metadata"]) == (values["labels"], values["metadata"])
        assert theirs["created"] == mine.creation_time.isoformat()
        assert (theirs["text"], theirs["objects"]) == (str(mine), ["key"])


def test_bentosync_lists_gets_describes_and_deletes_what_bentoml_created(store: Store, home: Path) -> None:
    seen = real_bentoml.run(
        _LOOK + _MAKE + "result = [seen(m) for m in bentoml.models.list()]", ["m:v1", "m:v2", "n"], home=home
    )
    mine = store.list()
    assert [str(model.tag) for model in mine] == [found["tag"] for found in seen]
    assert [str(found.tag) for found in store.summaries()] == [found["tag"] for found in seen]
    assert store.get("m").tag == Tag("m", "v2")
    for theirs, model in zip(seen, mine, strict=True):
        files = {path: data.hex() for path, data in listing(Path(model.path)).items() if data is not None}
        assert files == theirs["files"]
        assert model.info.metadata == {"acc": 0.9, "dims": [1, 2]}
        assert model.custom_objects == {"vocabulary": {"a": 1}}
        manifest = store.describe(model)
        assert manifest.directories == ("empty/folder",)
        assert store.check(model, strength="strong") == []
    assert [found.size_bytes for found in store.summaries()] == [found["size"] for found in seen]
    store.delete("m:v2")
    after = real_bentoml.run(
        _LOOK + "result = [str(bentoml.models.get('m').tag)] + [str(m.tag) for m in bentoml.models.list()]", home=home
    )
    assert after == ["m:v1", "m:v1", seen[-1]["tag"]]


def test_each_deletes_and_adds_beside_the_other_and_latest_stays_right(store: Store, home: Path) -> None:
    with store.create("m:ours"):
        pass
    real_bentoml.run(_MAKE + "result = None", ["m:theirs"], home=home)
    assert store.get("m").tag == Tag("m", "theirs")
    with store.create("m:newest"):
        pass
    assert (
        real_bentoml.run(
            "import bentoml\nbentoml.models.delete('m:newest')\nresult = str(bentoml.models.get('m').tag)", home=home
        )
        == "m:theirs"
    )
    assert [str(model.tag) for model in store.list()] == ["m:ours", "m:theirs"]


def test_functions_take_a_store_and_settings_name_the_default(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(home))
    monkeypatch.delenv("HOME", raising=False)
    with models.create("m:v1", labels={"a": "b"}) as model:
        write(Path(model.path), {"w": b"w"})
    assert model.path == str(home / "models/m/v1")
    other = Store(tmp_path / "other")
    with models.create("m:v9", _model_store=other):
        pass
    assert [str(found.tag) for found in models.list(_model_store=other)] == ["m:v9"]
    assert models.get("m").tag == Tag("m", "v1")
    models.delete("m:v1")
    with pytest.raises(NotFound):
        models.get("m")


def test_bentoml_does_not_have_to_be_imported_or_installed(home: Path) -> None:
    import subprocess
    import sys

    script = f"""
import sys; sys.modules["bentoml"] = None
from pathlib import Path; from bentosync.store.store import Store
store = Store(Path({str(home)!r}))
with store.create("m:v1"): pass
print(store.get("m").info.context.bentoml_version, store.describe(store.get("m")).card.files)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1.4.39", "1"], done.stderr


def test_a_module_of_the_users_own_gets_the_model(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(
        tmp_path / "lib", {"my_framework.py": b"def load_model(model, scale=1): return (model.path_of('w'), scale)\n"}
    )
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    store = Store(home)
    with store.create("m:v1", module="my_framework") as model:
        pass
    assert store.get("m").load_model(scale=2) == (model.path_of("w"), 2)
    with pytest.raises(BentoMLException, match="BentoML's own Model"):
        model.to_runner()
    assert isinstance(model, models.Model)
    assert not issubclass(NotFound, InvalidArgument)
