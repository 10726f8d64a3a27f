"""Two processes (gloo, torchrun) train to what one process trains to, and continue each other's runs."""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from kinema.train import read_metrics

pytestmark = pytest.mark.timeout(1600)  # seconds on a free machine; it starts five processes

PROGRAM = str(Path(__file__).with_name("distributed_runs.py"))
ONE = [sys.executable, PROGRAM]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM]


def start(command: list[str], *jobs: tuple[Path, str, int]) -> None:
    """Run the jobs (folder, ddp or fsdp, steps), one after another in the same processes."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    words = [str(word) for job in jobs for word in job]
    done = subprocess.run(
        [*command, *words], env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=1500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


def same(a: Path, b: Path) -> None:
    for name in ("final/net/model", "checkpoints/latest/ema", "checkpoints/latest/optimizer"):
        one, two = load_file(a / f"{name}.safetensors"), load_file(b / f"{name}.safetensors")
        assert one.keys() == two.keys()
        for key in one:
            difference = float((one[key] - two[key]).abs().max())
            assert difference < 2e-6, f"{name} {key} differs by {difference}"
    first, second = read_metrics(a / "metrics.jsonl"), read_metrics(b / "metrics.jsonl")
    assert [record["step"] for record in first] == [record["step"] for record in second]
    for x, y in zip(first, second, strict=True):
        for key in ("train/loss", "train/twice", "train/grad_norm", "val/sum"):
            assert x.get(key) == pytest.approx(y.get(key), abs=1e-5)


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_equal_one_and_each_ends_with_the_weights(tmp_path: Path, parallel: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    runpy.run_path(PROGRAM)["main"]([str(one), "ddp", "6"])
    start(TWO, (two, parallel, 6))
    same(one, two)
    assert [record["train/lr"] for record in read_metrics(two / "metrics.jsonl")] == [1e-2, 1e-2, 5e-3]
    left = ast.literal_eval((one / "left_in_model_0.txt").read_text())
    for rank in (0, 1):
        own = ast.literal_eval((two / f"left_in_model_{rank}.txt").read_text())
        assert own == pytest.approx(left, abs=1e-5)


@pytest.mark.slow
def test_a_run_continues_on_another_number_of_processes(tmp_path: Path) -> None:
    straight, ddp, fsdp, alone = (tmp_path / name for name in ("straight", "ddp", "fsdp", "alone"))
    start(ONE, (straight, "ddp", 9), (alone, "ddp", 4))
    start(TWO, (ddp, "ddp", 4), (fsdp, "fsdp", 4), (alone, "fsdp", 9))
    start(ONE, (ddp, "ddp", 9), (fsdp, "ddp", 9))
    for out in (ddp, fsdp, alone):
        for name in ("final/net/model", "checkpoints/latest/optimizer"):
            one, two = load_file(straight / f"{name}.safetensors"), load_file(out / f"{name}.safetensors")
            assert max(float((one[key] - two[key]).abs().max()) for key in one) < 2e-6
