"""`BentoModel` by itself, without BentoML in the process: found in the store, else pulled, and nothing before that."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

import bentosync
from bentosync import models
from bentosync.errors import InvalidTag, NotFound
from bentosync.models import BentoModel
from bentosync.store.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with m:v1 and m:v2, both of them on the remote too."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "remote").mkdir()
    monkeypatch.setenv("BENTOSYNC_REMOTE", (tmp_path / "remote").as_uri())
    for tag in ("m:v1", "m:v2"):
        with models.create(tag) as model:
            Path(model.path_of("weights")).write_text(tag)
        models.push(tag)
    return tmp_path / "home"


class Holder:
    """What a service is to a descriptor."""

    pinned = BentoModel("m:v1")
    newest = BentoModel("m")


def test_it_is_the_reference_on_a_class_and_the_model_on_an_instance(home: Path) -> None:
    assert isinstance(Holder.pinned, bentosync.BentoModel)
    holder = Holder()
    assert (holder.pinned.tag.version, holder.newest.tag.version) == ("v1", "v2")
    assert holder.pinned is Holder().pinned


def test_what_the_store_lacks_is_pulled_once_it_is_asked_for(home: Path) -> None:
    models.delete("m")
    reference = BentoModel("m:v1")
    assert reference.stored is None
    assert reference.resolve().path == str(home / "models/m/v1")
    assert reference.stored is not None
    assert [str(model.tag) for model in models.list()] == ["m:v1"]
    assert str(BentoModel("m:latest").resolve().tag) == "m:v1"  # the store's latest, as BentoML's
    models.delete("m")
    assert str(BentoModel("m").resolve().tag) == "m:v2"


def test_a_reference_names_its_own_remote(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.delete("m")
    monkeypatch.delenv("BENTOSYNC_REMOTE")
    with pytest.raises(NotFound, match="there is no remote to pull it from") as caught:
        BentoModel("m:v1").resolve()
    assert "BENTOSYNC_REMOTE" in (caught.value.hint or "")
    assert str(BentoModel("m:v1", remote=(tmp_path / "remote").as_uri()).resolve().tag) == "m:v1"


def test_a_remote_behind_a_network_is_none_offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.delete("m")
    monkeypatch.setenv("BENTOSYNC_OFFLINE", "1")
    assert str(BentoModel("m:v1").resolve().tag) == "m:v1"
    models.delete("m")
    monkeypatch.setenv("BENTOSYNC_REMOTE", "s3://bucket/prefix")
    with pytest.raises(NotFound, match="no remote"):
        BentoModel("m:v1").resolve()


def test_making_one_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", "/nonexistent")
    reference = BentoModel("m:latest")
    assert (str(reference), reference, hash(reference)) == ("m:latest", BentoModel("m:latest"), hash(reference))
    assert reference != BentoModel("m:v1")
    with pytest.raises(InvalidTag):
        BentoModel("a/b")


def test_code_in_a_bento_gets_the_version_that_the_bento_names(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.delete("m")
    bento = tmp_path / "bentos/scorer/1"
    (bento / "src").mkdir(parents=True)
    (bento / "bento.yaml").write_text("services:\n- models:\n  - tag: m:v1\n  - tag: other:v1\n")
    module = ModuleType("in_a_bento")
    module.__file__ = str(bento / "src/in_a_bento.py")
    monkeypatch.setitem(sys.modules, "in_a_bento", module)
    service = type("Service", (), {"__module__": "in_a_bento", "ref": BentoModel("m:latest")})
    assert service.ref is service.ref  # type: ignore[attr-defined]
    assert [str(model.tag) for model in Store(home).list()] == ["m:v1"]
    with models.create("m:v3"):
        pass
    assert str(service().ref.tag) == "m:v1"  # type: ignore[attr-defined]


def test_huggingface_models_are_bentomls_own_and_need_it() -> None:
    from bentosync.errors import MissingExtra

    with pytest.raises(MissingExtra, match="BentoML is not installed"):
        _ = models.HuggingFaceModel
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = models.nonsense
