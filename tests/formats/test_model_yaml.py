"""model.yaml against the real BentoML 1.4.39, and against documents nobody should send."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentosync.errors import BentoMLException, InvalidModel
from bentosync.formats import model_yaml
from bentosync.formats.model_yaml import ModelContext, ModelInfo, ModelOptions, ModelSignature
from bentosync.tag import Tag
from tests import real_bentoml

CREATED = "2026-11-22T06:48:03.729032+00:00"

# Every case is valid Python source that both sides evaluate with their own classes in scope.
CASES = [
    "dict()",
    "dict(labels={'stage': 'dev', 'team': 'nlp'})",
    "dict(labels={'b': 1, 'a': True, 'none': None, 'f': 1.5})",
    "dict(labels={'yes': 'no', 'n': 'null', 'd': '1', 'date': '2026-01-01', 'e': ''})",
    "dict(labels={'s': ' x ', 'c': 'a: b', 'h': '#x'})",
    "dict(labels={'uni': 'żółć 🚀', 'nl': 'a\\nb', 'tab': '\\t', 'q': \"'\\\"\", 'long': 'word ' * 60})",
    "dict(metadata={'acc': 0.9, 'n': 3, 'big': 2**70, 'neg': -1, 'e': 1e300})",
    "dict(metadata={'inf': float('inf'), 'nan': float('nan')})",
    "dict(metadata={'list': [1, [2, [3]]], 'tuple': (1, (2, 3)), 'dict': {'a': {'b': []}}, 'empty': {}, 'et': ()})",
    "dict(metadata={1: 'int key', 1.5: 'float key', True: 'bool key'})",
    "dict(metadata={'bytes': b'\\x00\\xff' * 40, 'when': datetime(2020, 1, 2, 3, 4, 5), 'day': date(2020, 1, 2)})",
    "dict(metadata={'same': [day, day], 'again': day})",
    "dict(metadata={'same': [shared, shared]})",
    "dict(metadata={'array': numpy.arange(6).reshape(2, 3), 'f': numpy.float32(0.5), 'b': numpy.bool_(True)})",
    "dict(metadata={'s': numpy.str_('x'), 'zero': numpy.array(5), 'dt': numpy.datetime64('2020-01-01', 'us')})",
    "dict(metadata={'text': 'x' * 300, 'multi': 'line one\\nline two\\n', 'trail': 'a \\n b'})",
    "dict(signatures={'predict': {'batchable': True, 'batch_dim': 0}})",
    "dict(signatures={'predict': {'batchable': True}, 'transform': {'batchable': True}})",
    "dict(signatures={'predict': {'batchable': False, 'batch_dim': (1, 0)}, '__call__': {}})",
    "dict(signatures={'predict': ModelSignature(batchable=True, batch_dim=(1, 0)), 'x': ModelSignature()})",
    "dict(signatures={'p': {'batchable': True, 'batch_dim': [0, 1], 'input_spec': {'a': 1}, 'output_spec': ['b']}})",
    "dict(module='bentoml.sklearn', api_version='v2')",
    "dict(context=ModelContext('torch', {'torch': '2.13.0', 'numpy': '2'}, '1.4.39', '3.11.7'))",
    "dict(options={'a': 1, 'b': [1, 2], 'when': datetime(2020, 1, 1)})",
    "dict(version='1')", "dict(version='1e3')", "dict(version='0x10')", "dict(version='no')",
    "dict(version='2026-01-01')",
    "dict(version='null')", "dict(version='1.5')", "dict(version='1_0')", "dict(name='y')", "dict(name='on')",
]  # fmt: skip

REFUSED = [
    "dict(labels=['a'])",
    "dict(labels={1: 'a'})",
    "dict(metadata=['a'])",
    "dict(metadata={'none': None})",
    "dict(metadata={'deep': [{'x': {1, 2}}]})",
    "dict(metadata={(1, 2): 'x'})",
    "dict(metadata={'c': 1j})",
    "dict(metadata={'d': timedelta(1)})",
    "dict(signatures={'p': {'batchable': True, 'batch_dim': (1, 2, 3)}})",
    "dict(options={'f': len})",
]

_SHARED_SCRIPT = """
from datetime import date, datetime, timedelta, timezone
import numpy
day, shared = date(2020, 1, 2), [1, 2]
def build(source, ModelInfo, ModelContext, ModelSignature, Tag):
    values = dict(name='m', version='v1', module='', labels={}, options={}, metadata={},
                  signatures={}, api_version='v1',
                  context=ModelContext('', {}, '1.4.39', '3.11.7'), creation_time=datetime.fromisoformat(created))
    values.update(eval(source, dict(globals(), ModelContext=ModelContext, ModelSignature=ModelSignature)))
    return ModelInfo(tag=Tag(values.pop('name'), values.pop('version')), **values)
"""

_BENTOML_DUMPS = """
created = argument['created']
""" + _SHARED_SCRIPT + """
from bentoml._internal.models.model import ModelInfo, ModelContext, ModelSignature
from bentoml import Tag
result = []
for source in argument['sources']:
    try:
        result.append(build(source, ModelInfo, ModelContext, ModelSignature, Tag).dump())
    except Exception as error:
        result.append(None)
"""  # fmt: skip

_BENTOML_LOADS = """
import io
from bentoml._internal.models.model import ModelInfo
def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else repr(value)
result = []
for text in argument:
    try:
        result.append(plain(ModelInfo.from_yaml_file(io.StringIO(text)).to_dict()))
    except Exception as error:
        result.append(type(error).__name__)
"""


def ours(source: str) -> ModelInfo:
    scope: dict[str, Any] = {"created": CREATED}
    exec(_SHARED_SCRIPT, scope)  # the same builder that the real BentoML runs
    info = scope["build"](source, ModelInfo, ModelContext, ModelSignature, Tag)
    assert isinstance(info, ModelInfo)
    return info


def theirs(sources: list[str]) -> list[str | None]:
    answer = real_bentoml.run(_BENTOML_DUMPS, {"created": CREATED, "sources": sources})
    assert isinstance(answer, list)
    return answer


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else repr(value)


def test_written_bytes_equal_bentomls() -> None:
    for source, expected in zip(CASES, theirs(CASES), strict=True):
        assert expected is not None, source
        assert model_yaml.dumps(ours(source)).decode() == expected, source


def test_what_bentoml_refuses_to_write_is_refused_with_an_error_that_is_also_a_value_error() -> None:
    for source, expected in zip(REFUSED, theirs(REFUSED), strict=True):
        assert expected is None, source
        with pytest.raises(InvalidModel) as caught:
            model_yaml.dumps(ours(source))
        assert isinstance(caught.value, ValueError)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LEAF = (
    TEXT | st.integers() | st.floats() | st.booleans() | st.binary(max_size=80) | st.dates()
    | st.datetimes(timezones=st.just(UTC) | st.none())
)  # fmt: skip
ENTRY = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)


def test_written_bytes_equal_bentomls_for_random_metadata_labels_and_signatures() -> None:
    sources: list[str] = []

    @settings(max_examples=300, database=None, deadline=None)
    @given(
        st.dictionaries(TEXT, TEXT, max_size=4),
        st.dictionaries(TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False), ENTRY, max_size=4),
        st.dictionaries(
            TEXT, st.fixed_dictionaries({"batchable": st.booleans(), "batch_dim": st.integers(-2, 9)}), max_size=3
        ),
    )
    def collect(labels: Any, metadata: Any, signatures: Any) -> None:
        source = f"dict(labels={labels!r}, metadata={metadata!r}, signatures={signatures!r})"
        for spelled, meant in (
            ("datetime.datetime(", "datetime("),
            ("datetime.date(", "date("),
            ("datetime.timezone", "timezone"),
        ):
            source = source.replace(spelled, meant)
        sources.append("(lambda inf, nan: " + source + ")(float('inf'), float('nan'))")

    collect()
    for source, expected in zip(sources, theirs(sources), strict=True):
        assert model_yaml.dumps(ours(source)).decode() == expected, source


BASE = model_yaml.dumps(
    ours("dict(labels={'a': 'b'}, metadata={'k': [1, 2]}, signatures={'p': {'batchable': True}})")
).decode()
READABLE = [
    BASE,
    BASE + "future_key: 1\n",
    "bentoml_version: 1.0.0\n" + BASE,
    BASE.replace("signatures:\n  p:\n    batchable: true\n    batch_dim:\n    - 0\n    - 0\n", ""),
    BASE.replace("  bentoml_version: 1.4.39\n", "  pip_dependencies: [a]\n  bentoml_version: 1.0.0\n"),
    BASE.replace("'" + CREATED + "'", "2026-11-22T06:48:03.729032+00:00"),
    BASE.replace("a: b", "a: 1"),
    BASE.replace("module: ''", "module: 5"),
    BASE.replace("v1", "'77'", 1),
    BASE.replace("name: m", "name: M"),
    BASE.replace("labels:\n  a: b", "labels: &x {a: b}").replace("metadata:\n", "metadata:\n  again: *x\n"),
    model_yaml.dumps(ours("dict(signatures={'p': {'batchable': True}, 'q': {'batchable': True}})")).decode(),
]  # fmt: skip
MALFORMED = [
    "", "[]", "just text", "a: [", "\t", "name: m\n", BASE.replace("name: m\n", ""),
    BASE.replace("version: v1", "version: 1", 1),
    BASE.replace("labels:\n  a: b", "labels:"), BASE.replace("labels:\n  a: b", "labels: [a]"),
    BASE.replace("options: {}\n", ""),
    BASE.replace("api_version: v1\n", ""), BASE.replace("module: ''\n", ""), BASE.replace(CREATED, "yesterday"),
    BASE.replace("name: m", "name: a/b"), BASE.replace("metadata:\n  k:\n  - 1\n  - 2", "metadata:\n  k: null"),
    BASE.replace("  framework_versions: {}\n", ""),
    BASE + "---\n" + BASE, BASE + "x: !!python/object/apply:os.getcwd []\n",
]  # fmt: skip


def test_what_bentoml_reads_we_read_alike() -> None:
    for text, expected in zip(READABLE, real_bentoml.run(_BENTOML_LOADS, READABLE), strict=True):
        assert isinstance(expected, dict), (text, expected)
        assert plain(model_yaml.loads(text.encode()).to_dict()) == expected, text


def test_what_bentoml_cannot_read_is_a_bentoml_exception_for_us() -> None:
    for text, expected in zip(MALFORMED, real_bentoml.run(_BENTOML_LOADS, MALFORMED), strict=True):
        assert isinstance(expected, str), (text, expected)
        with pytest.raises(BentoMLException, match=r"malformed model\.yaml"):
            model_yaml.loads(text.encode())


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BentoMLException, match="lacks 'creation_time'"):
        model_yaml.loads(BASE.partition("creation_time")[0].encode())


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"x: " + b"[" * 500_000, "nested deeper"),
        (b"- " * 500_000, "nested deeper"),
        (b"x: [" + b"1," * 500_000 + b"]", "more than"),
        (b"#" * ((1 << 20) + 1), "over 1048576"),
        (b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(9)
        ), "aliases expanded"),
        (b"a: &a [*a]\n", "for itself"),
        (b"a: &a {x: 1}\nb: {<<: *a}\n", "merge keys"),
        (b"a: " + b":".join([b"59"] * 200_000) + b"\n", "digits"),
        (b"a: " + b"9" * 5000 + b"\n", "digits"),
        (b"a: \xff\xfe\n", "utf-8"),
        (b"a: 2026-13-45\n", "month"),
    ],
)  # fmt: skip
def test_a_hostile_document_is_refused_before_it_costs_anything(document: bytes, why: str) -> None:
    with pytest.raises(BentoMLException, match=why):
        model_yaml.loads(document)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_with_a_bentoml_exception(data: bytes) -> None:
    with contextlib.suppress(BentoMLException):
        model_yaml.loads(BASE.encode()[: len(data) * 2] + data)


def test_reading_back_what_was_written_changes_nothing() -> None:
    for source in CASES:
        read = model_yaml.loads(model_yaml.dumps(ours(source)))
        again = model_yaml.loads(model_yaml.dumps(read))
        assert plain(again.to_dict()) == plain(read.to_dict()), source


def test_a_naive_creation_time_becomes_utc_because_bentoml_cannot_compare_naive_with_aware() -> None:
    info = model_yaml.loads(BASE.replace("+00:00", "").encode())
    assert info.creation_time == datetime.fromisoformat(CREATED)


def test_metadata_is_copied_and_the_callers_object_left_alone() -> None:
    given_metadata = {"a": [numpy.float64(1.5)], "t": (1, 2)}
    info = ModelInfo(Tag("m", "v1"), "", {}, {}, given_metadata, ModelContext("", {}), {}, "v1")
    assert type(info.metadata["a"][0]) is float
    assert type(given_metadata["a"][0]) is numpy.float64


def test_a_number_that_python_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidModel, match="longdouble"):
        ModelInfo(Tag("m", "v1"), "", {}, {}, {"x": numpy.longdouble(1)}, ModelContext("", {}), {}, "v1")


def test_labels_that_are_not_strings_are_converted_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="bentosync"):
        assert ours("dict(labels={'n': 1})").labels == {"n": "1"}
    assert "Converting all values to string" in caplog.text


def test_metadata_over_one_mebibyte_is_refused_when_written() -> None:
    with pytest.raises(InvalidModel, match="over 1048576"):
        model_yaml.dumps(ours("dict(metadata={'blob': 'x' * (1 << 20)})"))


def test_options_and_context_of_another_library_are_taken_by_what_they_say() -> None:
    class Foreign:
        def __init__(self, values: dict[str, Any]) -> None:
            self.values = values

        def to_dict(self) -> dict[str, Any]:
            return self.values

    context = Foreign({"framework_name": "x", "framework_versions": {}, "bentoml_version": "1", "python_version": "3"})
    info = ModelInfo(Tag("m", "v1"), "", {}, Foreign({"a": 1}), {}, context, {}, "v1")  # type: ignore[arg-type]
    assert info.options == ModelOptions(a=1)
    assert info.context == ModelContext("x", {}, "1", "3")
    assert info.with_options(a=2).options.to_dict() == {"a": 2}


def test_no_module_has_bentomls_message() -> None:
    with pytest.raises(BentoMLException, match=r"^Module is not defined in model\.yaml\. If the module argument"):
        _ = ours("dict()").imported_module
    with pytest.raises(BentoMLException, match=r"^Module 'no_such_module' defined in model\.yaml is not found\.$"):
        _ = ours("dict(module='no_such_module')").imported_module
