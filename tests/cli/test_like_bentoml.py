"""`bentosync models …` beside the real `bentoml models …`, on the same store."""

from __future__ import annotations

import re

import yaml

from tests import real_bentoml
from tests.cli.conftest import Invoke, World

BENTOML_SAYS = """
from click.testing import CliRunner
from bentoml_cli.models import model_command
result = []
for words in argument:
    done = CliRunner().invoke(model_command, words, env={"COLUMNS": "200"}, terminal_width=200)
    result.append([done.exit_code, done.stdout])
"""

READING = [
    ["list"],
    ["list", "-o", "json"],
    ["list", "-o", "yaml"],
    ["list", "summarization-model"],
    ["list", "tiny:nope"],
    ["get", "tiny"],
    ["get", "tiny:v1", "-o", "json"],
    ["get", "summarization-model:btwt", "-o", "path"],
]


def words_of(text: str) -> list[str]:
    """The text without the padding that rich adds up to the terminal's width."""
    return [" ".join(line.split()) for line in text.rstrip().splitlines()]


def test_the_same_questions_have_the_same_answers(world: World, invoke: Invoke) -> None:
    world.model("tiny:v1")
    world.model("summarization-model:btwtmvu5kwqc67i3", size_bytes=3 << 20)
    theirs = real_bentoml.run(BENTOML_SAYS, READING, home=world.base / "bentoml")
    for words, (status, text) in zip(READING, theirs, strict=True):
        ours = invoke("models", *words)
        assert (words, ours.exit_code) == (words, status)
        assert (words, words_of(ours.stdout)) == (words, words_of(text))


def test_yaml_and_json_mean_the_same_list(world: World, invoke: Invoke) -> None:
    world.model("tiny:v1")
    (listed,) = yaml.safe_load(invoke("models", "list", "-o", "yaml").stdout)
    assert re.fullmatch(r"\d+\.\d\d MiB", listed["size"])


def test_deleting_asks_and_answers_alike(world: World, invoke: Invoke) -> None:
    for tag in ("a:v1", "a:v2", "b:v1"):
        world.model(tag)
    words = ["delete", "-y", "a:v2,b:latest"]
    ((status, text),) = real_bentoml.run(BENTOML_SAYS, [words], home=world.base / "bentoml")
    for tag in ("a:v2", "b:v1"):
        world.model(tag)
    ours = invoke("models", *words)
    assert (ours.exit_code, ours.stdout) == (status, text)
    assert [str(model.tag) for model in world.store.list()] == ["a:v1"]
