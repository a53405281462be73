"""Hostile manifests, each one lie away from a valid one: every lie is refused, and for its own reason."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from bentosync.errors import UnsafeInput
from bentosync.manifest import decode
from tests.manifest.drafts import MIB, Draft, draft, large, noise, packed, row, small, spelled

Lie = Callable[[Draft], object]


def refused(data: bytes, reason: str) -> None:
    """Refused as a whole, byte by byte, and always as unsafe input."""
    with pytest.raises(UnsafeInput, match=reason):
        decode.document(data)
    parser = decode.Parser()
    with pytest.raises(UnsafeInput, match=reason):
        for at in range(0, len(data), 4096):
            parser.feed(data[at : at + 4096])
        parser.finish()


# --- the document as bytes -------------------------------------------------------------------------------------------

VALID = draft().document()
LINES = VALID.splitlines(keepends=True)
NOT_MANIFESTS = {
    "nothing": (b"", "ends before its card"),
    "a line feed": (b"\n", "not a JSON object"),
    "an envelope alone": (LINES[0], "ends before its card"),
    "a body without envelope": (b"".join(LINES[1:]), "not the envelope"),
    "a card without files": (b"".join(LINES[:2]), "no model.yaml"),
    "two envelopes": (LINES[0] + VALID, "name is missing"),
    "two cards": (b"".join([*LINES[:2], *LINES[1:]]), "not the line of a file"),
    "a card at the end": (b"".join([LINES[0], *LINES[2:], LINES[1]]), "name is missing"),
    "no last line feed": (VALID[:-1], "does not end with a line feed"),
    "a blank line at the end": (VALID + b"\n", "a file after a directory|not the line"),
    "a blank line inside": (b"".join([*LINES[:3], b"\n", *LINES[3:]]), "not the line of a file"),
    "trailing junk": (VALID + b"junk", "does not end"),
    "a trailing NUL": (VALID + b"\0", "does not end"),
    "a second manifest behind": (VALID + VALID, "a file after a directory"),
    "a file after a directory": (b"".join([*LINES[:7], LINES[8], LINES[7], LINES[9]]), "a file after a directory"),
    "carriage returns": (VALID.replace(b"\n", b"\r\n"), "not in canonical form"),
    "only carriage returns": (VALID.replace(b"\n", b"\r"), "does not end|head line"),
    "a byte order mark": (b"\xef\xbb\xbf" + VALID, "not a JSON object"),
    "UTF-16": (VALID.decode().encode("utf-16"), "not a JSON object"),
    "UTF-32": (VALID.decode().encode("utf-32-le"), "not a JSON object"),
    "a leading space": (b" " + VALID, "not in canonical form"),
    "gzip": (gzip.compress(VALID, mtime=0) + b"\n", "not a JSON object|line feed"),
    "a pickle": (pickle.dumps({"format": 1}) + b"\n", "not a JSON object"),
    "YAML": (b"format: 1\nkind: bentosync-manifest\n", "not a JSON object"),
    "HTML": (b"<!doctype html>\n<title>Sign in</title>\n", "not a JSON object"),
    "an S3 error": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>\n', "not a JSON object"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "not a JSON object"),
    "a JSON array": (b"[1]\n", "not a JSON object"),
    "a JSON string": (b'"bentosync-manifest"\n', "not a JSON object"),
    "deep nesting in the envelope": (b"[" * 8000 + b"\n", "not a JSON object"),
    "deep nesting of objects": (b'{"a":' * 1500 + b"\n", "not a JSON object"),
    "an integer of 5000 digits": (b'{"format":' + b"9" * 5000 + b"}\n", "not a JSON object"),
    "an OCI manifest": (b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}\n', "envelope"),
}


@pytest.mark.parametrize(("data", "reason"), NOT_MANIFESTS.values(), ids=NOT_MANIFESTS.keys())
def test_what_is_not_a_manifest_is_refused(data: bytes, reason: str) -> None:
    refused(data, reason)


@pytest.mark.parametrize("kept", range(1, len(LINES)))
def test_a_manifest_cut_at_a_line_is_refused(kept: int) -> None:
    refused(b"".join(LINES[:kept]), "ends before its card|no model.yaml|totals|content id")


# --- spelling: the same meaning in other bytes -----------------------------------------------------------------------

FINGERPRINT = draft().rows[0][5].encode()
SPELLINGS = {
    "a space after a comma": (b'"files":6,', b'"files":6, '),
    "a space after a colon": (b'"push":', b'"push": '),
    "a space before the end": (b'"version":"v1"}', b'"version":"v1" }'),
    "a tab in a file line": (b',"size":300', b',\t"size":300'),
    "members out of order": (b'"files":6,"labels":{"owner":"\xc3\x84nne","stage":"dev"}',
                             b'"labels":{"owner":"\xc3\x84nne","stage":"dev"},"files":6'),
    "labels out of order": (b'{"owner":"\xc3\x84nne","stage":"dev"}', b'{"stage":"dev","owner":"\xc3\x84nne"}'),
    "file members out of order": (b'"path":"config.json","size":300', b'"size":300,"path":"config.json"'),
    "a duplicate member in the envelope": (b'"push":', b'"push":"aaaaaaaaaa","push":'),
    "a duplicate member in the card": (b'"name":"m"', b'"name":"x","name":"m"'),
    "a duplicate label": (b'"stage":"dev"', b'"stage":"x","stage":"dev"'),
    "a duplicate member of a file": (b'"path":"config.json"', b'"path":"x","path":"config.json"'),
    "a duplicate directory": (b'{"directory":"empty/one"}', b'{"directory":"x","directory":"empty/one"}'),
    "an unknown member of the envelope": (b'"push":', b'"pull":1,"push":'),
    "an unknown member of the card": (b'"name":', b'"mood":1,"name":'),
    "an unknown member of a file": (b',"size":300', b',"size":300,"x":1'),
    "an unknown member of a table": (b'{"data":1000', b'{"align":8,"data":1000'),
    "an unknown member of a directory": (b'"empty/one"}', b'"empty/one","mode":7}'),
    "executable false": (b',"leaves"', b',"executable":false,"leaves"'),
    "executable 1": (b'"executable":true', b'"executable":1'),
    "executable as a string": (b'"executable":true', b'"executable":"true"'),
    "inline null": (b',"leaves"', b',"inline":null,"leaves"'),
    "inline empty": (b'{"blocks":"","leaves"', b'{"blocks":"","inline":"","leaves"'),
    "tensors null": (b',"size":300', b',"size":300,"tensors":null'),
    "labels empty": (b'{"owner":"\xc3\x84nne","stage":"dev"}', b"{}"),
    "labels null": (b'{"owner":"\xc3\x84nne","stage":"dev"}', b"null"),
    "requires empty": (b'"push":"q3k7wzx2ab"', b'"push":"q3k7wzx2ab","requires":[]'),
    "requires null": (b'"push":"q3k7wzx2ab"', b'"push":"q3k7wzx2ab","requires":null'),
    "size as a float": (b'"size":300', b'"size":300.0'),
    "size with an exponent": (b'"size":300', b'"size":3e2'),
    "size with a leading zero": (b'"size":300', b'"size":0300'),
    "size with a plus": (b'"size":300', b'"size":+300'),
    "size minus zero": (b'"size":0', b'"size":-0'),
    "size as a string": (b'"size":300', b'"size":"300"'),
    "size true": (b'"size":300', b'"size":true'),
    "size NaN": (b'"size":300', b'"size":NaN'),
    "size Infinity": (b'"size":300', b'"size":Infinity'),
    "size 1e400": (b'"size":300', b'"size":1e400'),
    "size of 20 digits": (b'"size":300', b'"size":10000000000000000000'),
    "size of 5000 digits": (b'"size":300', b'"size":3' + b"0" * 5000),
    "card files as a float": (b'"files":6', b'"files":6.0'),
    "card files true": (b'"files":6', b'"files":true'),
    "card files NaN": (b'"files":6', b'"files":NaN'),
    "card size minus zero": (b'"files":6', b'"files":-0'),
    "format as a float": (b'"format":1', b'"format":1.0'),
    "format as a string": (b'"format":1', b'"format":"1"'),
    "format true": (b'"format":1', b'"format":true'),
    "format zero": (b'"format":1', b'"format":0'),
    "format negative": (b'"format":1', b'"format":-1'),
    "an escaped letter": (b'"path":"config', b'"path":"\\u0063onfig'),
    "an escaped slash": (b'"path":"dir/run', b'"path":"dir\\/run'),
    "an escaped letter in a label": (b'"dev"', b'"\\u0064ev"'),
    "an escaped umlaut": (b"\xc3\x84nne", b"\\u00c4nne"),
    "an escaped tensor name": (b"embed.weight", b"\\u0065mbed.weight"),
    "an escaped directory": (b"empty/one", b"\\u0065mpty/one"),
    "an unknown escape": (b"embed.weight", b"\\xembed.weight"),
    "half a surrogate pair in a path": (b"config.json", b"\\ud800.json"),
    "half a surrogate pair in a label": (b"\xc3\x84nne", b"\\ud800nne"),
    "half a surrogate pair in a tensor name": (b"embed.weight", b"\\udfff.weight"),
    "half a surrogate pair in a directory": (b"empty/one", b"empty/\\udfff"),
    "half a surrogate pair in the host": (b'"box"', b'"\\ud800"'),
    "half a surrogate pair in the module": (b"bentoml.transformers", b"\\ud800"),
    "half a surrogate pair in a time": (b"2026-11-22T09", b"\\ud800-11-22T09"),
    "invalid UTF-8 in a path": (b"config.json", b"c\xffnfig.json"),
    "overlong UTF-8 in a path": (b"config.json", b"c\xc0\xaffig.json"),
    "a surrogate in UTF-8": (b"config.json", b"c\xed\xa0\x80ig.json"),
    "invalid UTF-8 in a label": (b"\xc3\x84nne", b"\xc3nne"),
    "a raw control character in a path": (b"config.json", b"c\x01fig.json"),
    "a raw NUL in a path": (b"config.json", b"c\x00fig.json"),
    "a raw tab in a label": (b'"dev"', b'"d\tv"'),
    "base64 without padding": (b"=", b""),
    "base64 with too much padding": (b"=", b"=="),
    "base64 of URLs": (b'"blocks":"', b'"blocks":"-_'),
    "base64 with white space": (b'"leaves":"', b'"leaves":" '),
    "base64 with padding inside": (b'"leaves":"', b'"leaves":"AA=='),
    "an upper-case fingerprint": (FINGERPRINT, FINGERPRINT.upper()),
    "a comment": (b'"push":', b'/* hello */"push":'),
    "a trailing comma": (b'"version":"v1"}', b'"version":"v1",}'),
    "a trailing comma in a table": (b"]]}}", b"],]}}"),
    "single quotes": (b'"name":"m"', b"\"name\":'m'"),
}  # fmt: skip


@pytest.mark.parametrize(("spelling", "other"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_another_spelling_is_refused(spelling: bytes, other: bytes) -> None:
    assert spelling in VALID
    # Not because the totals or the content id no longer fit: that would be luck.
    refused(VALID.replace(spelling, other, 1), "^(?!.*(totals|content id))")


def test_stray_bits_behind_base64_are_refused() -> None:
    # 17 bytes or one block digest end in a character of which some bits are not used.
    block = draft().file("config.json")["blocks"].encode()
    assert block.endswith(b"=")
    other = block[:-2] + bytes([block[-2] + 1]) + b"="
    refused(VALID.replace(block, other, 1), "not in canonical form")


# --- lies, spelled well ----------------------------------------------------------------------------------------------


def sets(part: str, **members: Any) -> Lie:
    return lambda written: getattr(written, part).update(members)


def lacks(part: str, member: str) -> Lie:
    return lambda written: getattr(written, part).pop(member)


def file_sets(path: str, /, **members: Any) -> Lie:
    return lambda written: written.file(path).update(members)


def file_lacks(path: str, member: str) -> Lie:
    return lambda written: written.file(path).pop(member)


def adds(*lines: dict[str, Any]) -> Lie:
    return lambda written: [written.add(line) for line in lines]


def directories(*paths: Any) -> Lie:
    return lambda written: setattr(written, "directories", [{"directory": path} for path in paths])


def tensors(*rows: list[Any], data: Any = 1000) -> Lie:
    """Another table for the file of 201,000 bytes."""
    return file_sets("model.safetensors", tensors={"data": data, "table": list(rows)})


def yaml_of(size: int) -> Lie:
    def lie(written: Draft) -> None:
        written.files.remove(written.file("model.yaml"))
        written.add(small("model.yaml", noise(7, size)))

    return lie


LIES: dict[str, tuple[Lie, str]] = {
    # the envelope
    **{f"the envelope lacks {member}": (lacks("envelope", member), "missing|not the envelope")
       for member in ("format", "kind", "push", "pushed_at", "pushed_by", "pushed_host", "write")},
    "another kind": (sets("envelope", kind="bentosync-record"), "not the envelope"),
    "kind null": (sets("envelope", kind=None), "not the envelope"),
    "a push id of 9 characters": (sets("envelope", push="q3k7wzx2a"), "push id"),
    "a push id of 11 characters": (sets("envelope", push="q3k7wzx2abc"), "push id"),
    "a push id in upper case": (sets("envelope", push="Q3K7WZX2AB"), "push id"),
    "a push id that leaves its folder": (sets("envelope", push="../../../a"), "push id"),
    "a push id with a line feed": (sets("envelope", push="q3k7wzx2ab\n"), "push id"),
    "a push id of other digits": (sets("envelope", push="٣٣٣٣٣٣٣٣٣٣"), "push id"),
    "a push id that is a number": (sets("envelope", push=2222222222), "not a text"),
    "a write id in upper case": (sets("envelope", write="A" * 32), "write id"),
    "a write id of 31 digits": (sets("envelope", write="0" * 31), "write id"),
    "a write id of 33 digits": (sets("envelope", write="0" * 33), "write id"),
    "pushed at no time": (sets("envelope", pushed_at="yesterday"), "pushed_at"),
    "pushed at a time of no zone": (sets("envelope", pushed_at="2026-11-22T10:00:00"), "pushed_at"),
    "pushed in another zone": (sets("envelope", pushed_at="2026-11-22T10:00:00+01:00"), "pushed_at"),
    "pushed at a time in Z": (sets("envelope", pushed_at="2026-11-22T10:00:00Z"), "pushed_at"),
    "pushed on 30 February": (sets("envelope", pushed_at="2026-02-30T10:00:00+00:00"), "pushed_at"),
    "a host with a line feed": (sets("envelope", pushed_host="box\nINFO all is well"), "control character"),
    "a host that paints the terminal": (sets("envelope", pushed_host="\x1b[31mbox"), "control character"),
    "a user that turns the text around": (sets("envelope", pushed_by="ann\u202etxt"), "control character"),
    "a user of 257 bytes": (sets("envelope", pushed_by="a" * 257), "longer than 256"),
    "a user that is a list": (sets("envelope", pushed_by=["ann"]), "not a text"),
    "an envelope over 8 KiB": (sets("envelope", pushed_by="a" * 8192), "head line"),
    # the card
    **{f"the card lacks {member}": (lacks("card", member), f"{member} is missing")
       for member in ("name", "version", "content", "size", "files", "created", "module")},
    "a name in upper case": (sets("card", name="M"), "not the tag"),
    "an empty name": (sets("card", name=""), "not the tag"),
    "a name that leaves its folder": (sets("card", name="../m"), "not the tag"),
    "a name of dots": (sets("card", name=".."), "not the tag"),
    "a name with a slash": (sets("card", name="a/b"), "not the tag"),
    "a name with a line feed": (sets("card", name="m\n"), "not the tag"),
    "a name of 64 characters": (sets("card", name="m" * 64), "not the tag"),
    "a name with a colon": (sets("card", name="m:v"), "not the tag"),
    "a name that is a number": (sets("card", name=1), "not a text"),
    "a name of fullwidth letters": (sets("card", name="\uff4d"), "not the tag"),
    "the version latest": (sets("card", version="latest"), "not the tag"),
    "an empty version": (sets("card", version=""), "not the tag"),
    "a version of dots": (sets("card", version=".."), "not the tag"),
    "a version that leaves its folder": (sets("card", version="v/../.."), "not the tag"),
    "a version null": (sets("card", version=None), "not a text"),
    "a content id without b3:": (sets("card", content="0" * 64), "content id"),
    "a content id of 63 digits": (sets("card", content="b3:" + "0" * 63), "content id"),
    "a content id in upper case": (sets("card", content="b3:" + "A" * 64), "content id"),
    "a content id of another algorithm": (sets("card", content="sha256:" + "0" * 64), "content id"),
    "a content id that is a path": (sets("card", content="b3:../../etc/passwd"), "content id"),
    "a content id with a line feed": (sets("card", content="b3:" + "0" * 64 + "\n"), "content id"),
    "another tree's content id": (sets("card", content="b3:" + "0" * 64), "content id is not that"),
    "a size too small": (sets("card", size=1), "totals"),
    "a size too large": (sets("card", size=1 << 52), "totals"),
    "a size of 2^53": (sets("card", size=1 << 53), "out of range"),
    "a negative size": (sets("card", size=-1), "out of range"),
    "a file too many": (sets("card", files=7), "totals"),
    "a file too few": (sets("card", files=5), "totals"),
    "a negative number of files": (sets("card", files=-6), "out of range"),
    "created at no time": (sets("card", created=""), "created"),
    "created at a time of no zone": (sets("card", created="2026-11-22T09:59:00.123456"), "created"),
    "created in the year 99999": (sets("card", created="99999-11-22T09:59:00+00:00"), "created"),
    "created in other digits": (sets("card", created="٢٠٢٦-11-22T09:59:00+00:00"), "created"),
    "created in milliseconds": (sets("card", created="2026-11-22T09:59:00.123+00:00"), "created"),
    "created with a space": (sets("card", created="2026-11-22 09:59:00+00:00"), "created"),
    "created at a number": (sets("card", created=1763805540), "not a text"),
    "a module of 1025 bytes": (sets("card", module="m" * 1025), "module is longer"),
    "a module null": (sets("card", module=None), "not a text"),
    "labels of 4097 bytes": (sets("card", labels={"key": "v" * (4097 - 10)}), "labels take more|head line"),
    "labels of escapes over 4 KiB": (sets("card", labels={"key": "\x01" * 800}), "labels take more"),
    "a label that is a number": (sets("card", labels={"a": 1}), "labels are not texts"),
    "a label that is nested": (sets("card", labels={"a": {"b": "c"}}), "labels are not texts"),
    "a label that is null": (sets("card", labels={"a": None}), "labels are not texts"),
    "labels as a list": (sets("card", labels=["a"]), "labels are not texts"),
    "a card over 8 KiB": (sets("card", module="\x01" * 1400), "head line"),
    # files
    **{f"a file lacks {member}": (file_lacks("config.json", member), "not the line of a file|goes wrong")
       for member in ("path", "size", "leaves", "blocks")},
    "a path that is a number": (lambda written: written.files.append(small(7, b"x")), "not the line of a file"),
    "a path that is a list": (lambda written: written.files.append(small(["a"], b"x")), "not the line of a file"),
    "a file of 2^53 bytes": (adds(large("h", 5) | {"size": 1 << 53}), "out of range"),
    "a negative file": (adds(large("h", 5) | {"size": -5}), "not the line"),
    "a block digest too few": (file_sets("big.bin", blocks=packed(noise(2, 8 * 17))), "block digests do not fit"),
    "a block digest too many": (file_sets("big.bin", blocks=packed(noise(2, 8 * 19))), "block digests do not fit"),
    "a block digest cut": (file_sets("big.bin", blocks=packed(noise(2, 8 * 18 - 1))), "block digests do not fit"),
    "no block digests": (file_sets("big.bin", blocks=""), "block digests do not fit"),
    "a leaf digest too few": (file_sets("big.bin", leaves=packed(noise(2, 64))), "leaf digests do not fit"),
    "a leaf digest too many": (file_sets("big.bin", leaves=packed(noise(2, 128))), "leaf digests do not fit"),
    "a leaf digest cut": (file_sets("big.bin", leaves=packed(noise(2, 95))), "leaf digests do not fit"),
    "an empty file with digests": (file_sets("dir/void", blocks=packed(b"8 bytes.")), "block digests do not fit"),
    "digests that are a list": (file_sets("big.bin", blocks=[]), "not the line of a file"),
    "inline bytes too few": (file_sets("config.json", inline=packed(noise(3, 299))), "inline bytes, size 300"),
    "inline bytes too many": (file_sets("config.json", inline=packed(noise(3, 301))), "inline bytes, size 300"),
    "inline bytes of another file": (file_sets("config.json", inline=packed(noise(9, 300))), "differ from their"),
    "inline bytes with other blocks": (file_sets("config.json", blocks=packed(b"8 bytes.")), "differ from their"),
    "inline bytes with other leaves": (file_sets("config.json", leaves=packed(b"4" * 32)), "differ from their"),
    "a small file that is not inline": (file_lacks("config.json", "inline"), "must be inline"),
    "a model.yaml that is not inline": (file_lacks("model.yaml", "inline"), "must be inline"),
    "an inline file over 64 KiB": (adds(small("h", noise(5, 65_537))), "must not be inline"),
    "an inline file over the budget": (
        lambda written: [yaml_of(MIB - 299)(written)], "must not be inline"),
    "a model.yaml over 1 MiB": (yaml_of(MIB + 1), "over 1048576"),
    "no model.yaml": (lambda written: written.files.remove(written.file("model.yaml")), "no model.yaml"),
    "a model.yaml in a folder only": (file_sets("model.yaml", path="models/model.yaml"), "no model.yaml"),
    "a Model.yaml": (
        lambda written: (file_sets("model.yaml", path="Model.yaml")(written),
                         written.files.sort(key=lambda line: line["path"])), "no model.yaml"),
    # order and collisions
    "files not sorted": (lambda written: written.files.reverse(), "not sorted"),
    "two files swapped": (lambda written: written.files.insert(0, written.files.pop(1)), "not sorted"),
    "files sorted without case": (
        lambda written: written.files.insert(1, small("Cc", b"x")), "not sorted"),
    "files sorted by UTF-16": (
        lambda written: written.files.extend([small("x\U0001f600", b"x"), small("x\ufb01", b"x")]), "not sorted"),
    "a path twice": (adds(small("h", b"x"), small("h", b"x")), "appears twice"),
    "a path twice with two sizes": (adds(small("h", b"x"), small("h", b"xy")), "appears twice"),
    "a file that is also a folder": (adds(small("h", b"x"), small("h/i", b"x")), "lies below"),
    "a file that is also a deep folder": (
        adds(small("h", b"x"), small("h-1", b"x"), small("h/i/j", b"x")), "lies below"),
    "a file that is a folder in other case": (adds(small("H", b"x"), small("h/i", b"x")), "collides"),
    "paths that differ by case": (adds(small("H.bin", b"x"), small("h.bin", b"y")), "collides"),
    "folders that differ by case": (adds(small("H/a", b"x"), small("h/b", b"y")), "collides"),
    "deep folders that differ by case": (adds(small("h/I/j/a", b"x"), small("h/i/j/b", b"y")), "collides"),
    "paths that differ by Unicode form": (adds(small("\u00e4", b"x"), small("a\u0308", b"y")), "collides"),
    "folders that differ by Unicode form": (adds(small("\u00e4/1", b"x"), small("a\u0308/2", b"y")), "collides"),
    "paths that differ by sharp s": (adds(small("stra\u00dfe", b"x"), small("STRASSE", b"y")), "collides"),
    "paths that differ by kelvin sign": (adds(small("k", b"x"), small("\u212a", b"y")), "collides"),
    "paths that differ by final sigma": (adds(small("\u03c3", b"x"), small("\u03c2", b"y")), "collides"),
    "paths that differ by the order of marks": (
        adds(small("a\u0323\u0307", b"x"), small("a\u0307\u0323", b"y")), "collides"),
    # directories
    "directories not sorted": (directories("empty/two", "empty/one"), "not sorted"),
    "a directory twice": (directories("empty", "empty"), "appears twice"),
    "a directory that has a file": (directories("dir"), "lies below|appears"),
    "a directory that has a directory": (directories("empty", "empty/one"), "lies below"),
    "a directory that is a file": (directories("config.json"), "appears twice"),
    "a directory below a file": (directories("config.json/x"), "lies below"),
    "a directory in another case than a file": (directories("Config.json"), "collides"),
    "directories that differ by case": (directories("E", "e"), "collides"),
    "a directory that is a number": (directories(7), "not the line of a directory"),
    "a directory that is a list": (directories(["a"]), "not the line of a directory"),
    "the root as a directory": (directories(""), "is empty"),
    "a directory that leaves the tree": (directories("../x"), "component"),
    # tensors
    "tensors of a file that is not safetensors": (
        adds(large("h.bin", 100_000, tensors={"data": 10, "table": [row("a", "U8", [99_990], 0, 99_990)]})), "not \\*"),
    "a data section within the length": (tensors(row("a", "U8", [200_993], 0, 200_993), data=7), "data section at"),
    "a data section within the shortest header": (tensors(row("a", "U8", [200_991], 0, 200_991), data=9), "data sec"),
    "a data section behind the end": (tensors(data=201_001), "data section at"),
    "a data section behind the longest header": (
        adds(large("h.safetensors", 100_000_009, tensors={"data": 100_000_009, "table": []})), "data section at"),
    "no tensors and a data section": (tensors(), "tensors end at byte 0"),
    "a tensor beyond the end": (tensors(row("a", "U8", [200_001], 0, 200_001)), "ends at byte"),
    "a tensor short of the end": (tensors(row("a", "U8", [199_999], 0, 199_999)), "tensors end at"),
    "a tensor that begins late": (tensors(row("a", "U8", [199_999], 1, 200_000)), "begins at byte 1"),
    "a hole": (tensors(row("a", "U8", [9], 0, 9), row("b", "U8", [199_990], 10, 200_000)), "begins at byte 10"),
    "an overlap": (tensors(row("a", "U8", [11], 0, 11), row("b", "U8", [199_990], 10, 200_000)), "begins at byte 10"),
    "the same bytes twice": (
        tensors(row("a", "U8", [200_000], 0, 200_000), row("b", "U8", [200_000], 0, 200_000)), "begins at byte 0"),
    "a tensor inside another": (
        tensors(row("a", "U8", [200_000], 0, 200_000), row("b", "U8", [4], 8, 12)), "begins at byte 8"),
    "tensors out of order": (
        tensors(row("b", "U8", [199_990], 10, 200_000), row("a", "U8", [10], 0, 10)), "begins at byte 10"),
    "empty tensors out of order": (
        tensors(row("b", "U8", [0], 0, 0), row("a", "U8", [0], 0, 0), row("c", "U8", [200_000], 0, 200_000)), "order"),
    "an empty tensor in the middle of another": (
        tensors(row("a", "U8", [200_000], 0, 200_000), row("b", "U8", [0], 8, 8)), "begins at byte 8"),
    "a tensor name twice": (
        tensors(row("a", "U8", [10], 0, 10), row("a", "U8", [199_990], 10, 200_000)), "appears twice"),
    "a tensor without name": (tensors(row("", "U8", [200_000], 0, 200_000)), "no name"),
    "a tensor named __metadata__": (tensors(row("__metadata__", "U8", [200_000], 0, 200_000)), "reserved"),
    "a tensor name with NUL": (tensors(row("a\0", "U8", [200_000], 0, 200_000)), "control"),
    "a tensor name that paints the terminal": (tensors(row("\x1b[2J", "U8", [200_000], 0, 200_000)), "control"),
    "a tensor name of 4097 bytes": (tensors(row("n" * 4097, "U8", [200_000], 0, 200_000)), "4096"),
    "a tensor name of 2049 umlauts": (tensors(row("ä" * 2049, "U8", [200_000], 0, 200_000)), "4096"),
    "an unknown dtype": (tensors(row("a", "F7", [200_000], 0, 200_000)), "unknown dtype"),
    "a lower-case dtype": (tensors(row("a", "u8", [200_000], 0, 200_000)), "goes wrong"),
    "a dtype that is a number": (tensors(row("a", 8, [200_000], 0, 200_000)), "goes wrong"),
    "a dtype too small": (tensors(row("a", "U8", [100_000], 0, 200_000)), "need 100000"),
    "a dtype too large": (tensors(row("a", "F64", [200_000], 0, 200_000)), "need 1600000"),
    "a tensor that ends within a byte": (tensors(row("a", "F4", [399_999], 0, 200_000)), "within a byte"),
    "a scalar as long as the file": (tensors(row("a", "U8", [], 0, 200_000)), "need 1"),
    "a shape that overflows": (tensors(row("a", "U8", [1 << 50, 1 << 50], 0, 200_000)), "overflows"),
    "an empty shape that overflows": (tensors(row("a", "U8", [0, 1 << 50, 1 << 50], 0, 0)), "overflows"),
    "a shape of 2^64": (tensors(row("a", "U8", [1 << 64], 0, 200_000)), "goes wrong"),
    "a negative dimension": (tensors(row("a", "U8", [-200_000], 0, 200_000)), "goes wrong"),
    "a dimension that is a float": (tensors(row("a", "U8", [2e5], 0, 200_000)), "goes wrong"),
    "a dimension that is a list": (tensors(row("a", "U8", [[200_000]], 0, 200_000)), "goes wrong"),
    "a shape that is a number": (tensors(row("a", "U8", 200_000, 0, 200_000)), "goes wrong"),
    "a shape that is null": (tensors(row("a", "U8", None, 0, 200_000)), "goes wrong"),
    "a rank of 65": (tensors(row("a", "U8", [1] * 64 + [200_000], 0, 200_000)), "rank 65"),
    "a rank of 100,000": (tensors(row("a", "U8", [1] * 100_000, 0, 200_000)), "rank 100000"),
    "offsets reversed": (tensors(row("a", "U8", [200_000], 200_000, 0)), "begins at byte 200000|spans"),
    "a tensor of negative length": (
        tensors(row("a", "U8", [8], 0, 8), row("b", "U8", [0], 8, 4), row("c", "U8", [199_996], 4, 200_000)), "spans"),
    "a negative offset": (tensors(row("a", "U8", [200_000], -1, 199_999)), "goes wrong"),
    "an offset of 2^64": (tensors(row("a", "U8", [200_000], 0, 1 << 64)), "goes wrong"),
    "an offset that is a string": (tensors(row("a", "U8", [200_000], "0", 200_000)), "goes wrong"),
    "a row too short": (tensors(row("a", "U8", [200_000], 0, 200_000)[:5]), "goes wrong"),
    "a row too long": (tensors([*row("a", "U8", [200_000], 0, 200_000), 1]), "goes wrong"),
    "a row that is an object": (tensors({"name": "a"}), "goes wrong"),  # type: ignore[arg-type]
    "a fingerprint of 31 digits": (tensors([*row("a", "U8", [200_000], 0, 200_000)[:5], "0" * 31]), "goes wrong"),
    "a fingerprint in upper case": (tensors([*row("a", "U8", [200_000], 0, 200_000)[:5], "A" * 32]), "goes wrong"),
    "a table that is null": (file_sets("model.safetensors", tensors={"data": 1000, "table": None}), "goes wrong"),
    "a table without rows": (file_sets("model.safetensors", tensors={"data": 1000}), "goes wrong"),
    "rows without a data section": (file_sets("model.safetensors", tensors={"table": []}), "goes wrong"),
    "a table that is a list": (file_sets("model.safetensors", tensors=[]), "goes wrong"),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "reason"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused(lie: Lie, reason: str) -> None:
    written = draft()
    lie(written)
    refused(written.document(), reason)


NEWER: dict[str, Lie] = {
    "format 2": sets("envelope", format=2),
    "format 2 of another shape": lambda written: setattr(
        written, "envelope", {"format": 2, "kind": "bentosync-manifest", "sealed": [1.5, None]}
    ),
    "format of 40 digits": sets("envelope", format=10**39),
    "a feature": sets("envelope", requires=["sparse-files"]),
    "two features": sets("envelope", requires=["compressed", "sparse-files"]),
}


@pytest.mark.parametrize("lie", NEWER.values(), ids=NEWER.keys())
def test_a_manifest_of_the_future_asks_for_a_newer_bentosync(lie: Lie) -> None:
    written = draft()
    lie(written)
    with pytest.raises(UnsafeInput, match="needs a newer bentosync") as caught:
        decode.document(written.document())
    assert caught.value.hint == "pip install --upgrade bentosync"
    with pytest.raises(UnsafeInput, match="needs a newer bentosync"):
        decode.card(written.document())


def test_a_future_manifest_is_read_no_further_than_its_envelope() -> None:
    parser = decode.Parser()
    with pytest.raises(UnsafeInput, match="needs a newer bentosync"):
        parser.feed(spelled({"format": 2, "kind": "bentosync-manifest"}) + b"\n\xff not even text")


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(NOT_MANIFESTS) + len(SPELLINGS) + len(LIES) + len(NEWER) >= 250


def test_the_valid_manifest_beside_every_lie_is_accepted() -> None:
    assert decode.document(VALID)
