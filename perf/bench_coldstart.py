"""How long from "load this model" to its last tensor, when it lies in a bucket and nothing is here yet?

Every arm gets a fresh process, an empty store, and a fresh null server with the same conditions, in shuffled order
within each round; every tensor is compared, outside the clock. Bandwidths are totals over all connections, in GB/s;
`0` is the loopback as it is. `--round-trip` is waited for every connection and every request.

    python -m perf.bench_coldstart --pairs 7 --out perf/results/coldstart.jsonl     # every row of the goals, 10 minutes
    python -m perf.bench_coldstart --size 256MiB --pairs 1 --rates 0.5 --arms "bentosync streamed" "runai streamer"
    python -m perf.bench_coldstart --chart build/perf/coldstart.svg --from perf/results/coldstart.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf import cold_goals, model, process
from perf.null_server import BUCKET, serve
from perf.report import spread
from perf.rivals import Command
from perf.side_by_side import REMOTE_PREFIX, Workspace, _emit

OURS = "bentosync streamed"
ARMS = (OURS, "bentosync streamed, no cache", "bentosync pull, then load", "runai streamer", "s5cmd, then load_file")
STAGES = ("resolve", "plan", "first byte", "copied", "first tensor", "last tensor", "published")
"""In the order in which they are reached; no arm reaches all."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="rounds; a goal wants at least 7")
    parser.add_argument("--scale", type=float, default=1.0, help="1: a model of 1 GiB")
    parser.add_argument("--size", type=model.parse_size, help="instead of --scale")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5, 1.0, 2.5, 0.0], help="GB/s in all; 0: unshaped")
    parser.add_argument("--rate-connection", type=float, default=0.0, help="GB/s of each connection; 0: unshaped")
    parser.add_argument("--round-trip", type=float, default=0.0, help="seconds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="all, of which only the unshaped line meets Run:ai")
    parser.add_argument(
        "--cases", action=argparse.BooleanOptionalAction, help="the goals that are no arm; with all arms on the CPU"
    )
    parser.add_argument("--folder", type=Path, help="where the files lie; a temporary folder by default")
    parser.add_argument("--out", type=Path, help="append JSON lines here; a table goes to stdout")
    parser.add_argument("--chart", type=Path, help="draw stacked bars of the stages to this .svg or .png")
    parser.add_argument("--from", dest="source", type=Path, help="do not run; take the lines of this file")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.size = arguments.size or int(arguments.scale * (1 << 30))
    if arguments.cases is None:
        arguments.cases = arguments.arms is None and arguments.device == "cpu"
    if arguments.source:
        rows = [json.loads(line) for line in arguments.source.read_text().splitlines()]
    else:
        rows = run(arguments)
    print(table(rows))
    print(f"### Goals\n\n{cold_goals.table(rows)}")
    if arguments.chart:
        from perf.coldstart_chart import draw

        draw(rows, arguments.chart)


def run(arguments: argparse.Namespace) -> list[Row]:
    """Everything that was asked for; one row a run, the first one about the machine."""
    shape = model.Shape(arguments.size, shards=arguments.shards, small=8)
    with tempfile.TemporaryDirectory(prefix="bentosync-perf-", dir=arguments.folder) as folder:
        workspace = Workspace(Path(folder))
        workspace.fill(shape)
        expected = _digest(workspace)
        facts = process.machine() | {"file_system": process.file_system(workspace.root)}
        rows: list[Row] = [{"bench": "coldstart", "machine": facts, "shape": vars(shape)}]
        _emit(rows[0], arguments.out)
        draw = random.Random(arguments.seed)
        for rate in arguments.rates:
            conditions = _conditions(arguments, rate)
            arms = arguments.arms or [arm for arm in ARMS if not rate or arm != "runai streamer"]
            for number in range(arguments.pairs):
                for arm in draw.sample(arms, len(arms)):
                    row = {"bench": "coldstart", "rate_gb": rate, "round_trip": arguments.round_trip, "round": number,
                           "arm": arm, "device": arguments.device, "bytes": shape.size}  # fmt: skip
                    try:
                        row |= measure(arm, workspace, conditions, arguments.device, expected)
                    except RuntimeError as error:
                        row["failed"] = str(error)[-300:]
                    rows.append(row)
                    _emit(row, arguments.out)
        if arguments.cases:
            rows += _cases(arguments, workspace, Path(folder), expected)
    return rows


def _conditions(arguments: argparse.Namespace, rate: float) -> dict[str, str]:
    conditions = {"rate-total": f"{rate * 1e9:.0f}"} if rate else {}
    each = arguments.rate_connection
    conditions |= {"rate-connection": f"{each * 1e9:.0f}"} if each else {}
    return conditions | ({"round-trip": str(arguments.round_trip)} if arguments.round_trip else {})


def _cases(arguments: argparse.Namespace, workspace: Workspace, folder: Path, expected: str) -> list[Row]:
    """What is no arm; and one watched run of each of ours."""
    from perf import cold_cases

    rows: list[Row] = []

    def record(row: Row) -> None:
        rows.append(row)
        _emit(row, arguments.out)

    far = Workspace(folder / "far")
    far.fill(cold_cases.far_shape(arguments.size // 8))
    for number in range(arguments.pairs):
        for name, case in cold_cases.cases(workspace, far, expected):
            about = {"bench": "coldstart", "case": name, "round": number, "bytes": arguments.size}
            try:
                for row in case():
                    record(about | row)
            except RuntimeError as error:
                record(about | {"arm": name, "failed": str(error)[-300:]})
    for arm in (OURS, "bentosync streamed, no cache"):
        row = measure(arm, workspace, {}, arguments.device, expected, watch=True)
        record({"bench": "coldstart", "case": "memory", "arm": arm, "watched": True} | row)
    return rows


def measure(
    arm: str,
    workspace: Workspace,
    conditions: dict[str, str],
    device: str,
    expected: str,
    *,
    keep_target: bool = False,
    watch: bool = False,
) -> Row:
    """One run of one arm, on an empty store; the store it leaves stays with `keep_target`."""
    for folder in (workspace.target, workspace.cache):
        shutil.rmtree(folder, ignore_errors=True)
    workspace.target.mkdir()
    with serve(workspace.served, conditions=conditions) as server:
        used = workspace.run(command_of(arm, workspace, device, watch=watch), server)
    result = result_of(workspace, arm, expected)
    if not keep_target:
        shutil.rmtree(workspace.target, ignore_errors=True)
    return result | {
        "process_seconds": used.seconds,
        "rss_bytes": used.rss_bytes,
        "server_cpu_seconds": server.report["cpu_seconds"],
        "server_bytes": server.report["bytes_out"],
    }


def command_of(arm: str, workspace: Workspace, device: str, *, watch: bool = False) -> Command:
    """The process that runs `arm`."""
    return Command(
        [sys.executable, "-m", "perf.cold_arms", arm, workspace.prefix, str(workspace.target)],
        {
            "BENTOML_HOME": str(workspace.target),
            "BENTOSYNC_REMOTE": f"s3://{BUCKET}/{REMOTE_PREFIX}",
            "BENTOSYNC_CACHE_DIR": str(workspace.cache),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PERF_DEVICE": device,
            "PERF_FILES": str(workspace.files),
            "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
        }
        | ({"PERF_WATCH": "1"} if watch else {}),
    )


def result_of(workspace: Workspace, arm: str = "", expected: str | None = None) -> Row:
    """What the process said last; its tensors' digest is compared with `expected`, if there is one."""
    result: Row = json.loads(workspace.log.read_text().splitlines()[-1])
    if result.pop("digest") != expected and expected is not None:
        raise SystemExit(f"{arm} gave other bytes")
    return result


def _digest(workspace: Workspace) -> str:
    """What every arm's tensors must hash to; taken in another process, so that this one stays small."""
    command = [sys.executable, "-m", "perf.cold_arms", "--digest", str(workspace.files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return done.stdout.strip()


# --- reading the rows


def table(rows: Sequence[Row]) -> str:
    """Markdown: one table for each bandwidth; ratios are taken within rounds."""
    lines: list[str] = []
    runs = [row for row in rows if "seconds" in row and "case" not in row]
    for rate in dict.fromkeys(row["rate_gb"] for row in runs):
        here = [row for row in runs if row["rate_gb"] == rate]
        size, round_trip = here[0]["bytes"], here[0]["round_trip"]
        title = f"{rate:g} GB/s" if rate else "unshaped"
        floor = f", bytes / bandwidth = {size / rate / 1e9:.2f} s" if rate else ""
        lines += [
            f"### {title}, round trip {round_trip * 1000:g} ms, {size / (1 << 30):.2f} GiB{floor}",
            "",
            "| who | first tensor s | last tensor s | published s | CPU-s/GiB to last | in all | beyond tensors MiB "
            "| ours ÷ theirs, s | ours ÷ theirs, CPU |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        ours = {row["round"]: row for row in here if row["arm"] == OURS}
        for arm in sorted({row["arm"] for row in here}, key=lambda arm: _median(here, arm, "seconds")):
            lines.append(_line(arm, [row for row in here if row["arm"] == arm], ours))
        lines.append("")
    lines += [
        f"- {row['arm']} failed{f' at {rate} GB/s' if (rate := row.get('rate_gb')) else ''}: {row['failed']}"
        for row in rows
        if "failed" in row
    ]
    return "\n".join(lines)


def _line(arm: str, runs: Sequence[Row], ours: dict[int, Row]) -> str:
    gib = runs[0]["bytes"] / (1 << 30)
    stage = [[row["stages"][name] for row in runs if name in row["stages"]] for name in ("first tensor", "published")]
    pairs = [(ours[row["round"]], row) for row in runs if row["round"] in ours and arm != OURS]
    cells = [
        f"**{arm}**" if arm.startswith("bentosync") else arm,
        spread(stage[0]),
        spread([row["seconds"] for row in runs]),
        spread(stage[1]),
        spread([row["cpu_seconds"] / gib for row in runs]),
        spread([row["cpu_seconds_in_all"] / gib for row in runs]),
        spread([row["bytes_beyond_tensors"] / (1 << 20) for row in runs], 0),
        spread([mine["seconds"] / row["seconds"] for mine, row in pairs]),
        spread([mine["cpu_seconds"] / row["cpu_seconds"] for mine, row in pairs]),
    ]
    return f"| {' | '.join(cells)} |"


def _median(runs: Sequence[Row], arm: str, name: str) -> float:
    return statistics.median(row[name] for row in runs if row["arm"] == arm)


if __name__ == "__main__":
    main()
