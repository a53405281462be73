"""How long until the command line answers? `--help`, and `list` with 1,000 models, each as a process of its own.

Prints one JSON line per case: median and spread (10th to 90th percentile) over the runs, in milliseconds, the median of
CPU milliseconds, and the time of a bare interpreter that imports click, below which no click program can start. Runs of
the cases are interleaved, so that a busy moment of the machine hits all of them. With an environment that has BentoML,
its `models list` and `models get` run in every fifth round, on the same store.

    python -m perf.bench_startup [--runs 20] [--models 1000] [--bentoml .venv-bentoml/bin/bentoml]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOALS_MS = {"help": 150, "list": 250, "models list": 300, "models get": 300}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--bentoml", type=Path, default=Path(".venv-bentoml/bin/bentoml"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bentosync-bench-") as home:
        make_models(Path(home), arguments.models)
        cases = {
            "interpreter": [sys.executable, "-c", "pass"],
            "click": [sys.executable, "-c", "import click"],
            "help": [*script(), "--help"],
            "list": [*script(), "list"],
            "models list": [*script(), "models", "list"],
            "models get": [*script(), "models", "get", "model-00"],
        }
        if arguments.bentoml.is_file():
            for words in (["models", "list"], ["models", "get", "model-00"]):
                cases[" ".join(["bentoml", *words[:2]])] = [str(arguments.bentoml.absolute()), *words]
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for run in range(arguments.runs + 1):
            for name, command in cases.items():
                if name.startswith("bentoml") and run % 5:
                    continue
                elapsed = timed(command, home)
                if run > 0:  # the first run writes byte code and warms the page cache
                    seconds[name].append(elapsed)
    for name, values in seconds.items():
        print(json.dumps(row(name, values, arguments.models)))


def make_models(home: Path, count: int) -> None:
    """Models made by the store itself would take a minute; these are the same files."""
    from bentosync.formats import model_yaml
    from bentosync.formats.model_yaml import ModelContext, ModelInfo, ModelOptions
    from bentosync.tag import Tag

    for number in range(count):
        tag = Tag(f"model-{number % 50:02d}", f"v{number:05d}")
        info = ModelInfo(tag=tag, module="", labels={"stage": "dev"}, options=ModelOptions(), metadata={"run": number},
                         context=ModelContext("", {}), signatures={}, api_version="v1")  # fmt: skip
        folder = home / "models" / tag.path()
        folder.mkdir(parents=True)
        (folder / "model.yaml").write_bytes(model_yaml.dumps(info))
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4)


def script() -> list[str]:
    """The installed script, as a user starts it."""
    return [str(Path(sys.executable).with_name("bentosync"))]


def timed(command: list[str], home: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    environ = {**os.environ, "BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True"}
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    elapsed, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return elapsed, cpu


def row(name: str, runs: list[tuple[float, float]], models: int) -> dict[str, object]:
    values = [wall for wall, _ in runs]
    tenths = statistics.quantiles(values, n=10) if len(values) > 1 else values
    return {
        "bench": "startup",
        "case": name,
        "models": models,
        "runs": len(values),
        "median_ms": round(statistics.median(values) * 1e3, 1),
        "cpu_ms": round(statistics.median(cpu for _, cpu in runs) * 1e3, 1),
        "p10_ms": round(tenths[0] * 1e3, 1),
        "p90_ms": round(tenths[-1] * 1e3, 1),
        "goal_ms": GOALS_MS.get(name),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
