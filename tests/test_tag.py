"""The grammar of tags and references."""

from __future__ import annotations

import logging
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import BentoMLException, InvalidTag
from bentosync.tag import Reference, Tag, parse_reference
from tests import real_bentoml

NAMES = st.from_regex(re.compile(r"[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?"), fullmatch=True)
PIN = "b3:" + "0123456789abcdef" * 4
GRAMMAR = "a tag's name or version must consist of lowercase alphanumeric characters, '_', '-', or '.', "
BAD_TAGS = [
    "", " ", ":", "m:", "a/b", "m:v/1", "m:a:b", "-m", "m-", ".", "..", "m:..", "m\n", "m:v1\n", "ż", "a b",
    "m:-1", "_",
    "a" * 64, "m:" + "a" * 64, "a" * 70 + "/", "m:v\x00", "\x00", "m:Ż", "m::latest",
]  # fmt: skip

_BENTOML_TAGS = """
from bentoml import Tag
result = []
for text in argument:
    try:
        tag = Tag.from_str(text)
        result.append([tag.name, tag.version])
    except Exception as error:
        result.append(type(error).__name__ + '|' + str(error))
"""


@given(NAMES, st.none() | NAMES)
def test_a_tag_of_the_grammar_survives_its_own_text(name: str, version: str | None) -> None:
    tag = Tag(name, version)
    assert Tag.from_str(str(tag)) == tag == Tag.from_taglike(tag)
    assert hash(tag) == hash(Tag(name, version))
    assert (tag.name, tag.version) == (name, version)
    assert eval(repr(tag), {"Tag": Tag}) == tag


@given(st.text(max_size=70))
def test_any_text_is_a_tag_of_the_grammar_or_an_invalid_tag(text: str) -> None:
    try:
        tag = Tag.from_str(text)
    except InvalidTag as error:
        assert isinstance(error, ValueError)
        assert isinstance(error, BentoMLException)
        return
    assert str(tag) == text.lower()
    for part in (tag.name, tag.version):
        assert part is None or (
            0 < len(part) <= 63 and set(part) <= set(string.ascii_lowercase + string.digits + "-_.")
        )


@given(st.lists(st.tuples(NAMES, st.none() | NAMES), max_size=20))
def test_tags_sort_by_name_then_version_with_none_first(pairs: list[tuple[str, str | None]]) -> None:
    tags = sorted(Tag(*pair) for pair in pairs)
    assert [(tag.name, tag.version or "") for tag in tags] == sorted((name, version or "") for name, version in pairs)


def test_messages_and_verdicts_are_bentomls_except_where_bentoml_is_wrong() -> None:
    texts = [*BAD_TAGS, "m", "m:v1", "M:V1", "m:latest", "0:0", "a" * 63, "m.x_y-z:1.0"]
    for text, theirs in zip(texts, real_bentoml.run(_BENTOML_TAGS, texts), strict=True):
        if text.endswith("\n"):
            assert isinstance(theirs, list), "BentoML now rejects the line feed too: drop this line of the docs"
            with pytest.raises(InvalidTag):
                Tag.from_str(text)
        elif isinstance(theirs, list):
            assert [Tag.from_str(text).name, Tag.from_str(text).version] == theirs
        else:
            with pytest.raises(InvalidTag) as caught:
                Tag.from_str(text)
            assert str(caught.value) == theirs.partition("|")[2], text
            assert theirs.partition("|")[0] in ("ValueError", "BentoMLException")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/b", f"a/b is not a valid BentoML tag: {GRAMMAR}and must start and end with an alphanumeric character"),
        (
            "a" * 64,
            "a" * 64 + " is not a valid BentoML tag: a tag's name or version must be at most 63 characters in length",
        ),
        ("m:v/1", "Invalid Tag m:v/1"),
        ("m:a:b", "Invalid Tag m:a:b"),
        ("m:", "m: contains trailing ':'. Maybe you meant to use `m::latest`?"),
    ],
)
def test_the_messages_in_words(text: str, message: str) -> None:
    with pytest.raises(InvalidTag) as caught:
        Tag.from_str(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("m:", "write m or m:latest"),
        (f"m:v1@b3:{'0' * 64}", "a pin (@b3:…) or an alias (@prod) is for pull and load"),
        ("m@prod", "a pin (@b3:…) or an alias (@prod) is for pull and load"),
    ],
)
def test_what_to_write_instead_is_said(text: str, hint: str) -> None:
    with pytest.raises(InvalidTag) as caught:
        Tag.from_str(text)
    assert (caught.value.hint or "").startswith(hint)


def test_upper_case_is_lowered_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="bentosync"):
        assert Tag("M", "V1") == Tag("m", "v1")
    assert "Converting 'M' to lowercase: 'm'." in caplog.text


def test_a_new_version_is_sixteen_characters_of_base32_and_new_each_time() -> None:
    versions = {Tag("m").make_new_version().version for _ in range(100)}
    assert len(versions) == 100
    assert all(version is not None and re.fullmatch("[a-z2-7]{16}", version) for version in versions)
    with pytest.raises(InvalidTag, match="already has a version"):
        Tag("m", "v1").make_new_version()


def test_paths_are_relative_to_the_models_folder() -> None:
    assert (Tag("m", "v1").path(), Tag("m").path(), Tag("m", "v1").latest_path()) == ("m/v1", "m", "m/latest")


def test_a_tag_like_object_of_another_library_is_taken_by_name_and_version() -> None:
    class Foreign:
        name, version = "m", "v1"

    assert Tag.from_taglike(Foreign()) == Tag("m", "v1")
    for value in (None, 5, ["m"]):
        with pytest.raises(InvalidTag):
            Tag.from_taglike(value)


def test_a_version_that_is_no_string_is_an_invalid_tag() -> None:
    with pytest.raises(InvalidTag):
        Tag("m", 1)  # type: ignore[arg-type]


@given(NAMES, st.none() | NAMES, st.none() | NAMES, st.booleans())
def test_a_reference_survives_its_own_text(name: str, version: str | None, alias: str | None, pinned: bool) -> None:
    version, alias = (None if word == "latest" else word for word in (version, alias))
    reference = Reference(name, None if alias else version, PIN if pinned else None, alias)
    assert parse_reference(str(reference)) == reference


def test_latest_in_a_reference_means_no_version() -> None:
    assert parse_reference("m:latest") == parse_reference("m") == parse_reference(Tag("m", "latest")) == Reference("m")
    assert parse_reference(f"m@{PIN}") == Reference("m", None, PIN)
    assert parse_reference("m:v1").tag == Tag("m", "v1")


def test_an_alias_says_the_version_and_may_be_pinned() -> None:
    assert parse_reference("m@prod") == Reference("m", alias="prod")
    assert parse_reference(f"m@prod@{PIN}") == Reference("m", None, PIN, "prod")
    with pytest.raises(InvalidTag) as caught:
        parse_reference("m:v1@prod")
    assert caught.value.hint == "an alias says the version: m@prod"


@pytest.mark.parametrize("text", ["m@", "m@b3:", "m@b3:" + "a" * 63, "m@b3:" + "A" * 64, f"m@{PIN}\n", f"m@{PIN}@{PIN}",
                                  "m@latest", "m@Prod", "m@-", "m@a@b", "m@" + "a" * 64, f"m@{PIN}@prod",
                                  "m:latest@prod",
                                  f"@{PIN}", "m@sha256:" + "a" * 64, f"m:@{PIN}", f"m/x@{PIN}"])  # fmt: skip
def test_a_reference_outside_the_grammar_is_an_invalid_tag(text: str) -> None:
    with pytest.raises(InvalidTag):
        parse_reference(text)
