"""The page about Python names everything that the public doors offer."""

from __future__ import annotations

import bentosync
from bentosync import aio, models
from tests.docs.page import DOCS

PAGE = (DOCS / "reference/python.md").read_text("utf-8")


def test_every_public_function_and_class_is_on_the_page() -> None:
    types = {"Strength", "Verify"}
    modules = {"__version__", "aio", "models", "BentoMLException"}
    assert {f"bentosync.aio.{name}" for name in {*aio.__all__} - types} - {*PAGE.split()} == set()
    assert {f"bentosync.{name}" for name in {*bentosync.__all__} - modules} - {*PAGE.replace("()", "").split()} == set()
    doors = {"BentoMLException", "BentoModel", "Model", "Tag"}
    found = {*PAGE.replace("()", "").split()}
    assert {f"bentosync.models.{name}" for name in {*models.__all__} - doors} - found == set()
