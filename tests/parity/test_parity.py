"""BentoML 1.4.39 and bentosync, asked the same on equal stores: where they differ is written down, or a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bentosync.formats.model_yaml import ModelContext
from bentosync.store.store import Store
from tests import real_bentoml
from tests.parity import page
from tests.parity.behaviours import ELSEWHERE, SECTIONS

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
ASKED = [(section, each) for section, behaviours in SECTIONS.items() for each in behaviours]


@dataclass(frozen=True)
class Answers:
    """What BentoML and bentosync answered, and what they left in the store, in the order of the questions."""

    pairs: list[tuple[Any, Any]]
    seconds: float


@pytest.fixture(scope="module")
def answers() -> Answers:
    # In memory where there is such a place: hundreds of small stores are made, and each of them is synced to disk.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bentosync-parity-", dir=place) as base:
        return ask_both(Path(base))


def ask_both(base: Path) -> Answers:
    began = time.monotonic()
    prepare(base / "home")
    asked = base / "asked.json"
    asked.write_text(json.dumps({"base": str(base), "asked": [each.ask for _, each in ASKED]}))
    driver = str(Path(__file__).with_name("driver.py"))
    found = []
    with asked.open() as first, asked.open() as second:
        sides = [
            subprocess.Popen(
                [python, driver, side], stdin=questions, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for python, side, questions in (
                (real_bentoml.python(), "bentoml", first),
                (sys.executable, "bentosync", second),
            )
        ]
        for side in sides:
            out, err = side.communicate(timeout=250)
            assert side.returncode == 0, err[-3000:]
            found.append(json.loads(out))
    return Answers(list(zip(*found, strict=True)), time.monotonic() - began)


def prepare(home: Path) -> None:
    store = Store(home)
    context = ModelContext("framework", {"framework": "1.0"})
    for tag in ("m:v1", "m:v2", "p:abc", "p:abd"):
        with store.create(tag, labels={"stage": tag}) as model:
            Path(model.path_of("a")).write_text(tag * 50)
            Path(model.path_of("d")).mkdir()
            Path(model.path_of("d/b")).write_text("b")
    with store.create("framework:v1", module="framework.x", metadata={"acc": 0.5}, context=context) as model:
        Path(model.path_of("w")).write_text("w" * 3000)


def agree(theirs: Any, ours: Any) -> bool:
    """The same value or message, at least the same families of errors, and the same store."""
    if theirs["store"] != ours["store"]:
        return False
    if theirs["outcome"][0] == ours["outcome"][0] == "error":
        return theirs["outcome"][2] == ours["outcome"][2] and set(theirs["outcome"][1]) <= set(ours["outcome"][1])
    return bool(theirs["outcome"] == ours["outcome"])


def test_every_behaviour_is_the_same_or_differs_on_purpose(answers: Answers, count: Callable[..., None]) -> None:
    unintended, stale = [], []
    for (section, each), (theirs, ours) in zip(ASKED, answers.pairs, strict=True):
        if agree(theirs, ours) == each.differs:
            (stale if each.differs else unintended).append(
                f"{section}: {each.ask}\n  BentoML   {_shown(theirs, ours)}\n  bentosync {_shown(ours, theirs)}"
            )
    differing = sum(each.differs for _, each in ASKED)
    count(
        "behaviours asked of BentoML and bentosync", seconds=answers.seconds, asked=len(ASKED),
        equal=len(ASKED) - differing, different_on_purpose=differing, different_by_mistake=len(unintended),
    )  # fmt: skip
    assert not unintended, "different by mistake:\n" + "\n".join(unintended)
    assert not stale, "said to differ, and does not:\n" + "\n".join(stale)


def test_no_question_crashed_a_side(answers: Answers) -> None:
    for (_, each), pair in zip(ASKED, answers.pairs, strict=True):
        assert all(answer["outcome"] != ["crash"] for answer in pair), each.ask


def test_the_page_is_made_from_these_tables_and_names_tests_that_exist() -> None:
    assert page.PATH.read_text() == page.text(), "run: python -m tests.parity.page"
    assert all((ROOT / each.test).is_file() for each in ELSEWHERE)


def _shown(mine: Any, other: Any) -> str:
    store = {path: text for path, text in mine["store"].items() if other["store"].get(path, "") != text}
    return f"{mine['outcome']}" + (f" store {store}" if mine["store"] != other["store"] else "")
