"""`models pull -F bento.yaml`: the models of a Bento, by the versions it names."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke, World

BENTO = """\
service: service:Scorer
models:
- tag: a:v1
services:
- name: Scorer
  models:
  - tag: a:v1
    module: ''
  - tag: b:v1
  - tag: org--name:0123456789abcdef
    registry: huggingface
- name: Helper
"""


def test_the_models_of_every_service_of_a_bento_are_pulled(world: World, invoke: Invoke) -> None:
    for tag in ("a:v1", "b:v1", "b:v2"):
        world.model(tag)
        assert invoke("push", tag).exit_code == 0
        invoke("delete", "-y", tag)
    Path("bento.yaml").write_text(BENTO)
    done = invoke("models", "pull", "-F", "bento.yaml")
    assert (done.exit_code, done.stdout.count("Successfully pulled")) == (0, 2)
    assert [str(model.tag) for model in world.store.list()] == ["a:v1", "b:v1"]


def test_a_bentofile_beside_a_model_is_not_read_and_that_is_said(world: World, invoke: Invoke) -> None:
    world.model("a:v1")
    invoke("push", "a:v1")
    done = invoke("models", "pull", "a:v1", "-F", "nowhere.yaml")
    assert (done.exit_code, "nowhere.yaml is not read" in done.stderr) == (0, True)
