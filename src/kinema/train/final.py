"""The final weights of a stage: a folder that holds a model and says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

import kinema
from kinema.train.checkpoint import damage, write_folder
from kinema.train.folder import RunFolder
from kinema.train.log import logger
from kinema.train.metrics import read_metrics
from kinema.train.state import TrainState


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One finished stage: steps, the last value of every metric, and the folder of its final weights."""

    name: str
    steps: int
    metrics: Mapping[str, float]
    weights: Path


def finished_stage(folder: RunFolder, name: str) -> dict[str, Any] | None:
    """The record of a finished stage, or None. A damaged folder counts as unfinished and is named in a warning."""
    path = folder.final / name
    if not path.exists():
        return None
    problem = damage(path)
    if problem is not None:
        logger.warning("final/%s is passed over: %s; it is made again", name, problem)
        return None
    record: dict[str, Any] = json.loads((path / "train_state.json").read_text(encoding="utf-8"))
    return record


def read_final(folder: RunFolder, name: str) -> dict[str, Tensor]:
    """The final weights of a finished stage."""
    tensors: dict[str, Tensor] = safetensors.torch.load_file(folder.final / name / "model.safetensors")
    return tensors


def write_final(
    folder: RunFolder, state: TrainState, weights: Mapping[str, Tensor], metrics_bytes: int
) -> None:
    """model.safetensors (the averaged weights, when there is an EMA), config.json, a record and a card."""
    config = folder.model_config(state.model)
    record = {
        "stage": state.stage,
        "step": state.step,
        "run_step": state.run_step,
        "metrics_bytes": metrics_bytes,
        "averaged": state.ema is not None,
    }
    # One key, since safetensors writes several in no fixed order and equal runs should give equal files.
    about = {
        "version": kinema.__version__,
        "stage": state.stage,
        "step": state.step,
        "config": json.loads(config),
    }
    metadata = {"kinema": json.dumps(about, sort_keys=True)}
    documents = {
        "train_state.json": json.dumps(record) + "\n",
        "config.json": config,
        "README.md": _card(folder, state),
    }
    write_folder(folder.final / state.stage, {"model": weights}, documents, metadata)


def _card(folder: RunFolder, state: TrainState) -> str:
    last = last_metrics(folder, state.stage)
    rows = "".join(
        f"| {name} | {value:.5g} |\n" for name, value in last.items() if name.startswith(("train/", "val/"))
    )
    weights = f"averaged (EMA, decay {state.ema.decay})" if state.ema else "as trained"
    command = (folder.out / "command.txt").read_text(encoding="utf-8").strip()
    return (
        f"---\nlibrary_name: kinema\ntags:\n- kinema\n- {type(state.model).__name__}\n---\n\n"
        f"# {type(state.model).__name__}, stage {state.stage}\n\n"
        f"{state.step} optimiser steps; weights {weights}. Made with kinema {kinema.__version__} by\n\n"
        f"```\n{command}\n```\n\nThe settings are in `config.toml` of the run folder.\n\n"
        f"| metric | last value |\n|---|---|\n{rows}"
    )


def last_metrics(folder: RunFolder, stage: str) -> dict[str, float]:
    """The last value of every metric that the stage logged."""
    values: dict[str, float] = {}
    for record in read_metrics(folder.metrics):
        if record["stage"] == stage:
            values |= {name: value for name, value in record.items() if "/" in name}
    return values


def stage_metrics(folder: RunFolder, stage: str) -> StageReport:
    """The report of a finished stage, read back from its files."""
    record = json.loads((folder.final / stage / "train_state.json").read_text(encoding="utf-8"))
    return StageReport(
        name=stage, steps=record["step"], metrics=last_metrics(folder, stage), weights=folder.final / stage
    )
