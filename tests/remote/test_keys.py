from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import InvalidArgument
from bentosync.remote import keys
from bentosync.tag import Tag

WORDS = st.from_regex(r"[a-z0-9]([-._a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(name=WORDS, version=WORDS, path=st.text(min_size=1))
def test_every_key_leads_back_to_what_it_names(name: str, version: str, path: str) -> None:
    tag, push = Tag(name, version), keys.new_push_id()
    assert keys.parse_manifest(keys.manifest_key(tag)) == tag
    assert keys.parse_push_record(keys.push_record_key(tag, push)) == keys.PushKey(tag, push)
    assert keys.parse_file(keys.file_key(tag, push, path)) == keys.FileKey(tag, push, path)
    assert keys.parse_alias(keys.alias_key(name, version)) == (name, version)


@given(name=WORDS, version=WORDS)
def test_no_key_is_taken_for_one_of_another_kind(name: str, version: str) -> None:
    tag, push = Tag(name, version), "abcdefgh27"
    made = {
        keys.parse_manifest: keys.manifest_key(tag),
        keys.parse_push_record: keys.push_record_key(tag, push),
        keys.parse_file: keys.file_key(tag, push, "path"),
        keys.parse_alias: keys.alias_key(name, version),
        None: keys.latest_key(name),
    }
    for parse in filter(None, made):
        assert [other for other, key in made.items() if parse(key) is not None] == [parse]


def test_the_layout_is_the_documented_one() -> None:
    tag = Tag("m", "v-1")
    assert keys.manifest_key(tag) == "models/m/v-1.jsonl"
    assert keys.latest_key("m") == "models/m/latest"
    assert keys.alias_key("m", "prod") == "models/m/aliases/prod"
    assert keys.push_record_key(tag, "q3k7wzx2ab") == "models/m/pushes/v-1-q3k7wzx2ab.json"
    assert keys.file_key(tag, "q3k7wzx2ab", "a/b") == "files/m/v-1-q3k7wzx2ab/a/b"
    assert keys.FORMAT_MARKER == "bentosync.json"


@pytest.mark.parametrize(
    "key",
    ["", "models/m/.jsonl", "models/M/v.jsonl", "models/m/v.jsonl\n", "models/m/x/v.jsonl", "models/m/v.json",
     "models//v.jsonl", "models/m/v.jsonl/x", f"models/m/{'v' * 64}.jsonl"],
)  # fmt: skip
def test_strange_keys_are_no_manifests(key: str) -> None:
    assert keys.parse_manifest(key) is None


def test_a_tag_without_a_version_has_no_manifest() -> None:
    with pytest.raises(InvalidArgument):
        keys.manifest_key(Tag("m"))


def test_push_ids_differ() -> None:
    assert len({keys.new_push_id() for _ in range(1000)}) == 1000
