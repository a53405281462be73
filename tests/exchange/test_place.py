"""BentoML's arguments name the place they seem to name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bentosync.errors import InvalidArgument
from bentosync.exchange import place
from bentosync.exchange.external.location import Location
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
    assert place.target(place.of(path), TAG, asked) == place.Target(here / expected, chosen)  # type: ignore[arg-type]


def test_file_urls_and_bentomls_arguments_are_paths(here: Path) -> None:
    assert place.of(f"file://{here}/a%20b") == f"{here}/a b"
    assert place.of(f"osfs://{here}/x/") == f"{here}/x/"
    assert place.of("there", protocol="file", subpath="/x.tar") == f"{here}/there/x.tar"
    assert place.of(Path("there")) == f"{here}/there"


# (URL or BentoML's arguments, format asked for) -> (where an export goes, format)
DISTANT: list[tuple[tuple[Any, str | None], tuple[str, str]]] = [
    (("s3://b", None), ("s3://b/m-v1.bentomodel", "bentomodel")),
    (("s3://b/", "gz"), ("s3://b/m-v1.gz", "gz")),
    (("s3://b/pre/", None), ("s3://b/pre/m-v1.bentomodel", "bentomodel")),
    (("s3://b/there", None), ("s3://b/there/m-v1.bentomodel", "bentomodel")),
    (("s3://b/there", "folder"), ("s3://b/there/m-v1", "folder")),
    (("s3://b/x", None), ("s3://b/x.bentomodel", "bentomodel")),
    (("s3://b/x.tar.gz", None), ("s3://b/x.tar.gz", "gz")),
    (("s3://b/x.tar.zst", None), ("s3://b/x.tar.zst", "zst")),
    (("s3://b/x", "folder"), ("s3://b/x", "folder")),
    (("s3://b/x/", "folder"), ("s3://b/x", "folder")),
    (("gs://b/a%20b.zip", None), ("gs://b/a%20b.zip", "zip")),
    (("gcs://b/x.tar", None), ("gs://b/x.tar", "tar")),
    (("ftp://u:p%40@h:2121/d/x.tar?tls=true", None), ("ftp://u:p%40@h:2121/d/x.tar?tls=true", "tar")),
    (("dropbox://models/x.tar", None), ("dropbox:///models/x.tar", "tar")),
    (("dropbox:///models/", None), ("dropbox:///models/m-v1.bentomodel", "bentomodel")),
    (("dropbox://dropbox.com/x.tar", None), ("dropbox:///x.tar", "tar")),
    ((("b/pre/x.zip", {"protocol": "s3"}), None), ("s3://b/pre/x.zip", "zip")),
    ((("b", {"protocol": "s3", "subpath": "pre/"}), None), ("s3://b/pre/m-v1.bentomodel", "bentomodel")),
    ((("b/pre", {"protocol": "s3", "subpath": "/x.tar"}), None), ("s3://b/pre/x.tar", "tar")),
    ((("b/x.tar", {"protocol": "s3", "user": "AK", "passwd": "s/k", "params": {"acl": "private"}}), None), (
        "s3://AK:s%2Fk@b/x.tar?acl=private", "tar",
    )),
    ((("h:21", {"protocol": "ftp", "user": "me", "passwd": "p", "subpath": "a b"}), "zip"), (
        "ftp://me:p@h:21/a%20b", "zip",
    )),
    ((("m/x.tar", {"protocol": "dropbox"}), None), ("dropbox:///m/x.tar", "tar")),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(DISTANT)))
def test_an_export_to_other_storage_goes_where_url_or_arguments_say(case: int) -> None:
    (given, asked), (expected, chosen) = DISTANT[case]
    path, more = (given, {}) if isinstance(given, str) else given
    at = place.of(path, **more)
    assert isinstance(at, Location)
    target, found = place.distant(at, TAG, asked, lambda path: path == "there")
    assert (target.url, found) == (expected, chosen)
    assert place.of(target.url) == target, "what an export returns is what an import takes"


def test_nothing_that_is_shown_of_a_place_is_secret() -> None:
    for url in (
        "ftp://me:hush@h/x?encoding=hush", "az://c/x?account_key=hush", "dropbox:///x?access_token=hush",
        "https://h/x?X-Amz-Signature=hush", "s3://AK:hush@b/x", "gs://b/x?token=hush",
    ):  # fmt: skip
        at = place.of(url)
        assert isinstance(at, Location)
        assert "hush" not in f"{at!r} {at} {at.shown}"
        assert "hush" in at.url
    assert "hush" not in at.hidden("GET https://h/x?token=hush failed: hush")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nonsense://x", "^Unknown or unsupported protocol nonsense. Some supported protocols are 'ftp', 's3', and"),
        ("ftp://u:hush@h/x#y", "'#' names no file"),
        ("s3:///x", "names no bucket"),
        ("s3://b/../x", "no '.' and no '..'"),
        ("s3://b/x?endpiont_url=hush", "there is no option 'endpiont_url'"),
        ("ftp://u:hush@h:port/x", "is no URL"),
        ("http://u:hush@[::1/x", "is no URL"),
    ],
)
def test_a_place_that_cannot_be_is_refused_in_one_sentence(url: str, word: str) -> None:
    with pytest.raises(InvalidArgument, match=word) as caught:
        place.of(url)
    assert "hush" not in f"{caught.value.message} {caught.value.hint}"


def test_bentomls_ways_to_contradict_oneself_are_refused() -> None:
    with pytest.raises(ValueError, match="URL"):
        place.of("file:///x", user="me")
    with pytest.raises(ValueError, match="URL"):
        place.of("s3://b/x", user="me")
    with pytest.raises(ValueError, match="unsupported protocol nonsense"):
        place.of("bucket/x", protocol="nonsense")
    with pytest.raises(InvalidArgument, match="local path"):
        place.of("x", passwd="p")
    with pytest.raises(InvalidArgument, match="three slashes"):
        place.of("file://x/y")
    with pytest.raises(ValueError, match=r"^Unsupported format bogus$"):
        place.target("/x", TAG, "bogus")
