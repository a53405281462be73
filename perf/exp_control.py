"""What does it cost not to know how many requests to keep in flight? The controller against the best fixed number.

In every weather each fixed number and the controller move the same model, in a new random order every round. The goal
is a median of at most 1.3 times that of the best fixed number, which nobody knows beforehand.

    python -m perf.exp_control --size 1GiB --rounds 3
    python -m perf.exp_control --weathers "503 above 8" --values 4 8 16
"""

from __future__ import annotations

import random
import statistics
import tempfile
from pathlib import Path

from perf import experiment, process, side_by_side
from perf.exp_connections import WEATHERS, fixed
from perf.model import Shape

SEEKING = "seeking"
GOAL = 1.3

ALL = WEATHERS | {
    "crawls above 8": {"rate-connection": "60e6", "crawl-above": "8"},
    "503 above 8, 60 MB/s a connection": {"rate-connection": "60e6", "slow-down-above": "8"},
}


def main() -> None:
    arguments = experiment.parsed(__doc__, list(ALL))
    settings = [fixed(value) for value in arguments.values] + [experiment.Setting(SEEKING, {}, {})]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        workspace = side_by_side.Workspace(Path(folder))
        workspace.fill(Shape(arguments.size, shards=2, small=0))
        for weather in arguments.weathers:
            row = compared(workspace, arguments.way, settings, ALL[weather], arguments.rounds)
            where = {"bench": "control", "weather": weather, "way": arguments.way, "bytes": arguments.size}
            experiment.emit({**where, **row, **process.machine()}, arguments.out)


def compared(
    workspace: side_by_side.Workspace,
    way: side_by_side.Way,
    settings: list[experiment.Setting],
    conditions: dict[str, str],
    rounds: int,
) -> dict[str, object]:
    """Medians of one weather. A fixed number at which the transfer fails is out of the running."""
    draw = random.Random(1)
    seconds: dict[str, list[float]] = {setting.label: [] for setting in settings}
    failed: set[str] = set()
    for _ in range(rounds):
        for setting in draw.sample(settings, len(settings)):
            try:
                seconds[setting.label].append(experiment.transfer_seconds(workspace, way, setting, conditions)[0])
            except RuntimeError:
                failed.add(setting.label)
    medians = {label: statistics.median(runs) for label, runs in seconds.items() if label not in failed}
    rest = {label: median for label, median in medians.items() if label != SEEKING}
    best = min(rest, key=lambda label: rest[label])
    ours = medians.get(SEEKING)
    return {
        "best_fixed": best,
        "best_seconds": round(rest[best], 3),
        "seeking_seconds": None if ours is None else round(ours, 3),
        "seeking_min_max": [round(bound, 3) for bound in (min(seconds[SEEKING]), max(seconds[SEEKING]))]
        if ours
        else [],
        "ratio": None if ours is None else round(ours / rest[best], 3),
        "met": ours is not None and ours <= GOAL * rest[best],
        "fixed_seconds": {label: round(median, 3) for label, median in rest.items()},
        "failed": sorted(failed),
    }


if __name__ == "__main__":
    main()
