"""Runs of an experiment, arms by seeds: its command line, one process a core, and no run twice."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kinema.train import derive_seed


@dataclass(frozen=True)
class Arguments:
    """What every command takes."""

    quick: bool
    seeds: int
    out: Path | None
    share: tuple[int, int] | None = None  # of several processes: which one this is, and how many there are


def arguments(description: str | None) -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few steps and clips: does it run at all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, help="folder for the JSON and the plot, in place of the repository's"
    )
    parser.add_argument("--share", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)  # runs are small: two at a time beat one on two threads
    share = None
    if given.share:
        number, _, count = given.share.partition("/")
        share = int(number), int(count)
    return Arguments(given.quick, 1 if given.quick else given.seeds, given.out, share)


@dataclass(frozen=True)
class Run:
    """One training or sampling run: its arm and seed, the settings that decide it, and what to do."""

    arm: str
    seed: int
    settings: Mapping[str, Any]
    do: Callable[[], Any]


def run_all(name: str, given: Arguments, runs: Sequence[Run]) -> tuple[dict[str, list[Any]], float]:
    """Arm -> what its runs gave (anything for JSON) in the order of seeds, and the processor seconds of all.

    One process for each core works through the runs. A command that was interrupted goes on from its last finished
    run: results lie in the temporary folder.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if given.share is None and not given.quick and cores > 1:
        command = [sys.executable, *sys.argv]
        workers = [subprocess.Popen([*command, "--share", f"{k}/{cores}"]) for k in range(cores)]
        codes = [worker.wait() for worker in workers]
        if any(codes):
            raise SystemExit(f"{name}: a run failed; the messages above say why")
    own = runs if given.share is None else runs[given.share[0] :: given.share[1]]
    records = [_kept(name, given.quick, run) for run in own]
    if given.share is not None:
        raise SystemExit(0)
    found: dict[str, list[Any]] = {}
    for run, record in zip(runs, records, strict=True):
        found.setdefault(run.arm, []).append(record["result"])
    return found, sum(record["cpu_seconds"] for record in records)


def _kept(name: str, quick: bool, run: Run) -> dict[str, Any]:
    """A run's result with its processor seconds; read back if it ran before."""
    path = scratch() / f"{name}-{derive_seed(name, run.arm, run.seed, repr(run.settings)):x}.json"
    if path.exists() and not quick:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    began = time.process_time()
    result = run.do()
    record = {"result": result, "cpu_seconds": round(time.process_time() - began, 1)}
    if not quick:
        path.write_text(json.dumps(record), encoding="utf-8")
    sys.stdout.write(f"{name} {run.arm} {run.seed} {json.dumps(record)}\n")
    sys.stdout.flush()
    return record


def scratch() -> Path:
    """The temporary folder of all commands."""
    folder = Path(tempfile.gettempdir()) / "kinema-experiments"
    folder.mkdir(exist_ok=True)
    return folder
