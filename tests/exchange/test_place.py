"""BentoML's arguments name the place they seem to name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentosync.errors import InvalidArgument, Unsupported
from bentosync.exchange import place
from bentosync.tag import Tag

TAG = Tag("m", "v1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    return tmp_path


# (path, format asked for) -> (path below the working directory, format)
TARGETS = {
    (".", None): ("m-v1.bentomodel", "bentomodel"),
    ("", None): ("m-v1.bentomodel", "bentomodel"),
    ("there", None): ("there/m-v1.bentomodel", "bentomodel"),
    ("there/", "gz"): ("there/m-v1.gz", "gz"),
    ("there/..", "tar"): ("m-v1.tar", "tar"),
    ("new/", None): ("new/m-v1.bentomodel", "bentomodel"),
    ("x", None): ("x.bentomodel", "bentomodel"),
    ("./x.tar", None): ("x.tar", "tar"),
    ("x.zip", None): ("x.zip", "zip"),
    ("x.tar.gz", None): ("x.tar.gz", "gz"),
    ("x.tgz", None): ("x.tgz", "gz"),
    ("x.foo", None): ("x.foo.bentomodel", "bentomodel"),
    ("x.bentomodel", None): ("x.bentomodel", "bentomodel"),
    ("x.zip", "tar"): ("x.zip", "tar"),
    ("x", "gz"): ("x", "gz"),
    ("x.zip", "bentomodel"): ("x.zip.bentomodel", "bentomodel"),
    ("there", "folder"): ("there/m-v1", "folder"),
    ("x", "folder"): ("x", "folder"),
    ("x/", "folder"): ("x", "folder"),
}


@pytest.mark.parametrize(("path", "asked"), TARGETS)
def test_an_export_goes_where_its_path_says(here: Path, path: str, asked: str | None) -> None:
    expected, chosen = TARGETS[path, asked]
    assert place.target(place.local(path), TAG, asked) == place.Target(here / expected, chosen)  # type: ignore[arg-type]


def test_file_urls_and_bentomls_arguments_are_paths(here: Path) -> None:
    assert place.local(f"file://{here}/a%20b") == f"{here}/a b"
    assert place.local(f"osfs://{here}/x/") == f"{here}/x/"
    assert place.local("there", protocol="file", subpath="/x.tar") == f"{here}/there/x.tar"
    assert place.local(Path("there")) == f"{here}/there"


@pytest.mark.parametrize("path", ["s3://bucket/x", "gs://b", "ftp://u:secret@h/x", "hf://o/m", "nonsense://x"])
def test_remote_storage_is_refused_in_one_sentence(path: str) -> None:
    with pytest.raises(Unsupported, match="remote storage comes") as caught:
        place.local(path)
    assert isinstance(caught.value, InvalidArgument | ValueError)
    assert "secret" not in caught.value.message


def test_bentomls_ways_to_contradict_oneself_are_refused() -> None:
    with pytest.raises(ValueError, match="URL"):
        place.local("file:///x", user="me")
    with pytest.raises(InvalidArgument, match="remote storage"):
        place.local("bucket/x", protocol="s3")
    with pytest.raises(InvalidArgument, match="local path"):
        place.local("x", passwd="p")
    with pytest.raises(InvalidArgument, match="three slashes"):
        place.local("file://x/y")
    with pytest.raises(ValueError, match=r"^Unsupported format bogus$"):
        place.target("/x", TAG, "bogus")
