"""Paths: what is portable is accepted, everything else is refused with its rule."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import UnsafeInput
from bentosync.manifest import decode, paths
from tests.manifest.drafts import draft, small

GOOD = [
    "a", "model.safetensors", "a/b/c", ".hidden", ".config/.x", "a b", " a", "-rf", "~", "~/x", "$HOME", "a..b", "...a",
    "a.b.c", "con-figuration", "console", "null", "com", "com10", "lpt", "aux1", "x.con", "100%", "%", "%zz", "a%20b",
    "a%2fb", "%2e%2eb", "a@b", "a=b", "a&b", "a;b", "a'b", "(a)", "[a]", "{a}", "a,b", "a#b", "a!b", "`id`",
    "über/Ünïcode", "e\u0301", "日本語/模型", "👩‍💻", "model-00001-of-00004.safetensors",
    "a" * 255, "ä" * 127, "/".join(["a" * 204] * 5), "/".join("a" * 512),
]  # fmt: skip

BAD = {
    "": "is empty",
    "/": "empty component",
    "/etc/passwd": "is absolute",
    "//host/share": "is absolute",
    "a/": "ends with a slash",
    "a//b": "empty component",
    ".": "component '.'",
    "..": r"component '\.\.'",
    "../x": r"component '\.\.'",
    "a/../b": r"component '\.\.'",
    "a/..": r"component '\.\.'",
    "./a": "component '.'",
    "a/./b": "component '.'",
    "...": "ends with a dot",
    "a.": "ends with a dot",
    "a./b": "ends with a dot",
    "a ": "ends with a dot or a space",
    "a /b": "ends with a dot or a space",
    " ": "ends with a dot or a space",
    "..%2f": "percent-decodes",
    "%2E.": "percent-decodes|ends with a dot",
    "%2e": "percent-decodes",
    "%2e%2e": "percent-decodes",
    "%2e%2e/x": "percent-decodes",
    "a/%2E%2e/b": "percent-decodes",
    ".%2e": "percent-decodes",
    "%252e%252e": "percent-decodes",
    "%25252e%2525252e": "percent-decodes",
    "..%2f..%2fetc": "percent-decodes",
    "a%2f..%5cb": "percent-decodes",
    "..%5c..": "percent-decodes|ends with",
    "C:": "character ':'",
    "C:\\x": "character ':'",
    "a:b": "character ':'",
    "a:$DATA": "character ':'",
    "file:///etc/passwd": "character ':'",
    "\\\\host\\share": r"character '\\\\",
    "..\\x": r"character '\\\\",
    "a\\b": r"character '\\\\",
    "a<b": "character '<'",
    "a>b": "character '>'",
    'a"b': "character '\"'",
    "a|b": r"character '\|'",
    "a?b": r"character '\?'",
    "a*b": r"character '\*'",
    "a\0b": r"character '\\x00'",
    "a\nb": r"character '\\n'",
    "a\r\nb": r"character '\\r'",
    "a\tb": r"character '\\t'",
    "a\x1b[31mb": r"character '\\x1b'",
    "a\x7fb": r"character '\\x7f'",
    "a\x85b": r"character '\\x85'",
    "a\u2028b": r"character '\\u2028'",
    "a\u2029b": r"character '\\u2029'",
    "a\u202eb": r"character '\\u202e'",
    "a\u2066b": r"character '\\u2066'",
    "a\u200fb": r"character '\\u200f'",
    "a\u061cb": r"character '\\u061c'",
    "\ufeffa": r"character '\\ufeff'",
    "a\ud800": r"character '\\ud800'",
    "con": "device name",
    "CON": "device name",
    "a/nul": "device name",
    "nul.txt": "device name",
    "NUL.tar.gz": "device name",
    "nul .txt": "device name",
    "prn/x": "device name",
    "aux": "device name",
    "com1": "device name",
    "COM9.log": "device name",
    "lpt0": "device name",
    "com\u00b9": "device name",
    "CONIN$": "device name",
    "a" * 256: "component longer than 255",
    "ä" * 128: "component longer than 255",
    "/".join(["a" * 205] * 5): "longer than 1024",
    "/".join("a" * 513): "longer than 1024",
}


@pytest.mark.parametrize("path", GOOD)
def test_a_portable_path_is_accepted(path: str) -> None:
    paths.check(path)


@pytest.mark.parametrize(("path", "rule"), BAD.items(), ids=ascii)
def test_a_path_that_is_not_portable_is_refused_by_its_rule(path: str, rule: str) -> None:
    with pytest.raises(UnsafeInput, match=rule) as caught:
        paths.check(path)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("path", BAD, ids=ascii)
def test_a_manifest_with_such_a_path_is_refused(path: str) -> None:
    written = draft()
    written.add(small(path, b"x"))
    with pytest.raises(UnsafeInput):
        decode.document(written.document())


def test_portable_paths_make_a_tree_together() -> None:
    distinct = set(GOOD) - {"a", "~", "a/b/c", "/".join("a" * 512)}  # those that lie at or below each other
    paths.check_all(distinct, ["a/b/c"])


def test_order_does_not_matter_to_the_check() -> None:
    paths.check_all(["b", "a/c", "a/b"], ["e", "d"])
    with pytest.raises(UnsafeInput, match="lies below"):
        paths.check_all(["a/b/c", "b", "a"], [])


component = st.text(st.sampled_from("aAbBäÄß\u1e9e\u017fsSkK\u212a\u0301\u0308éE-."), min_size=1, max_size=3)
trees = st.lists(st.lists(component, min_size=1, max_size=4).map("/".join), max_size=8)


@given(trees)
def test_a_tree_is_accepted_exactly_if_no_careless_file_system_would_merge_two_names(files: list[str]) -> None:
    def same(path: str) -> str:
        return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())

    claims: dict[str, set[tuple[str, bool]]] = {}
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            claims.setdefault(same(prefix), set()).add((prefix, depth == len(parts)))
    merged = len(set(files)) < len(files) or any(len(claim) > 1 for claim in claims.values())
    portable = all(_portable(path) for path in files)
    if portable and not merged:
        paths.check_all(files, [])
    else:
        with pytest.raises(UnsafeInput):
            paths.check_all(files, [])


@given(st.text(max_size=30))
def test_any_text_is_a_path_or_unsafe_input(text: str) -> None:
    if _portable(text):
        assert text.encode()
        assert not set(text.split("/")) & {"", ".", ".."}


def _portable(path: str) -> bool:
    try:
        paths.check(path)
    except UnsafeInput:
        return False
    return True
