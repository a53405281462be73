"""A service as a user would write it: two models as class variables, and one in the wrong place."""

from pathlib import Path

from shared import Named  # before bentoml, to make it hard

import bentosync  # isort: skip
import bentoml


@bentoml.service
class Scorer(Named):
    lazy = bentosync.BentoModel("lazy:latest")

    def __init__(self) -> None:
        self.tensors = bentosync.load_to_device(self.lazy, "cuda")
        self.name = Path(self.eager.path_of("name.txt")).read_text()
        self.misplaced = bentosync.BentoModel("misplaced")

    @bentoml.api
    def score(self, x: float) -> dict[str, str | float]:
        return {"score": float(self.tensors["weight"][0]) * x, "name": self.name, "version": self.lazy.tag.version}
