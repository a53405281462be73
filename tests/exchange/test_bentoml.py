"""The real BentoML 1.4.39 imports what we export, and we import what it exports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bentosync import models
from bentosync.errors import BentoMLException
from bentosync.store.store import Store
from tests import real_bentoml
from tests.store.trees import listing, pattern, write

FORMATS = ["bentomodel", "xz", "gz", "bz2", "tar", "zip", "folder"]
FILES = {"weights.bin": pattern(300_000), "d/e/x": b"x", "empty": b"", "naïve": b"wide", "n" * 150: b"long"}

_SEEN = """
import bentoml, os
def seen(model):
    found = {}
    for folder, names, files in os.walk(model.path):
        for name in files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, model.path)] = open(path, 'rb').read().hex()
        if not names and not files:
            found[os.path.relpath(folder, model.path)] = None
    return found
"""


def spelled(root: Path) -> dict[str, str | None]:
    return {
        path: None if data is None else data.hex()
        for path, data in listing(root).items()
        if data is not None or not any((root / path).iterdir())
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "home/models").mkdir(parents=True)
    return Store(tmp_path / "home")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "theirs/models").mkdir(parents=True)
    return tmp_path / "theirs"


def test_bentoml_imports_every_format_and_sees_only_the_models_files(
    store: Store, theirs: Path, tmp_path: Path
) -> None:
    archives = []
    for format in FORMATS:
        for compress in (False, True) if format not in ("tar", "folder") else (False,):
            tag = f"m:{format}{'-small' * compress}"
            with store.create(tag, labels={"a": "b"}) as model:
                write(Path(model.path), FILES)
                Path(model.path_of("hollow/inner")).mkdir(parents=True)
            path = tmp_path / f"{format}{compress}"
            archives.append([
                models.export_model(tag, str(path), format, compress=compress, _model_store=store), format, tag
            ])  # fmt: skip
    seen = real_bentoml.run(
        _SEEN + "result = {}\nfor path, format, tag in argument:\n"
        "    model = bentoml.models.import_model(path, input_format=format)\n"
        "    result[str(model.tag)] = seen(bentoml.models.get(tag))",
        archives, home=theirs,
    )  # fmt: skip
    assert len(seen) == 12
    for _, _, tag in archives:
        assert seen[tag] == spelled(Path(store.get(tag).path)), tag


def test_every_format_of_bentoml_is_imported_whatever_its_name(store: Store, theirs: Path, tmp_path: Path) -> None:
    done = real_bentoml.run(
        _SEEN + """
result = {}
for format in argument['formats']:
    with bentoml.models.create('m:' + format, labels={'a': 'b'}, metadata={'x': 1.5}) as model:
        os.makedirs(model.path_of('hollow/inner'))
        for path, data in argument['files'].items():
            os.makedirs(os.path.dirname(model.path_of(path)), exist_ok=True)
            open(model.path_of(path), 'wb').write(bytes.fromhex(data))
        os.chmod(model.path_of('d/e/x'), 0o755)
    path = bentoml.models.export_model('m:' + format, os.path.join(argument['base'], format + '-export'), format)
    result[format] = [path, seen(bentoml.models.get('m:' + format))]
""",
        {"formats": FORMATS, "files": {path: data.hex() for path, data in FILES.items()}, "base": str(tmp_path)},
        home=theirs,
    )  # fmt: skip
    for format, (path, files) in done.items():
        model = models.import_model(path.rstrip("/"), _model_store=store)
        assert spelled(Path(model.path)) == files, format
        # BentoML's archives know modes, its folders lose them.
        assert os.access(model.path_of("d/e/x"), os.X_OK) == (format != "folder"), format
        assert (model.info.labels, model.info.metadata) == ({"a": "b"}, {"x": 1.5})
        assert store.check(model, strength="strong") == []


def test_an_existing_tag_is_refused_in_bentomls_words(
    store: Store, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.create("m:v1"):
        pass
    path = models.export_model("m", str(tmp_path), _model_store=store)
    assert path == str(tmp_path / "m-v1.bentomodel")
    with pytest.raises(BentoMLException) as mine:
        models.import_model(path, _model_store=store)
    said = real_bentoml.run(
        "import bentoml\nbentoml.models.import_model(argument)\ntry:\n    bentoml.models.import_model(argument)\n"
        "except bentoml.exceptions.BentoMLException as error:\n    result = str(error)",
        path, home=theirs,
    )  # fmt: skip
    assert str(mine.value) == said.replace(str(theirs), str(tmp_path / "home"))


def test_relative_paths_are_relative_to_the_working_directory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with store.create("m:v1"):
        pass
    written = models.export_model("m:latest", ".", _model_store=store)
    assert written == str(tmp_path / "here/m-v1.bentomodel")
    assert models.import_model("./m-v1.bentomodel", _model_store=Store(tmp_path / "other")).tag.version == "v1"
    assert models.import_model("m-v1.bentomodel", existing="replace", _model_store=store).path == store.get("m").path


def test_wrong_formats_and_protocols_raise_what_bentoml_raises(store: Store, tmp_path: Path) -> None:
    with store.create("m:v1"):
        pass
    for bad in (
        lambda: models.export_model("m", str(tmp_path / "x"), "bogus", _model_store=store),
        lambda: models.export_model("m", "s3://bucket/x", user="me", _model_store=store),
        lambda: models.import_model("nonsense://x", _model_store=store),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(BentoMLException, match="does not export itself"):
        store.get("m").export("x")
