"""Everything that resume needs, in one object: model, EMA, optimisers, schedule, position, meters, random sources."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.train.distributed import full_tensor, sharded_like
from kinema.train.ema import EMA
from kinema.train.schedules import Plateau
from kinema.weights import check_fit

SCHEMA = 1
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")


def plain_name(name: str) -> str:
    """A parameter's name without what compile and activation checkpointing put in front."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def gather_weights(model: nn.Module) -> dict[str, Tensor]:
    """The whole state dict on the CPU, rank-independent names (a collective call)."""
    return {plain_name(name): full_tensor(value).detach().cpu() for name, value in model.state_dict().items()}


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """`weights.load_strict` for a model that may be compiled, checkpointed or sharded over processes."""
    own = {plain_name(name): value for name, value in model.state_dict().items()}
    check_fit(own, weights, source, type(model).__name__)
    for name, value in own.items():
        value.copy_(sharded_like(weights[name], value))


@dataclass
class Meter:
    """Means since the last logged line; part of the state, so that a resumed run logs the same means."""

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, values: Mapping[str, float]) -> None:
        """Take one step's values."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def flush(self) -> dict[str, float]:
        """The means, and start again."""
        means = {name: total / max(self.count, 1) for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means


@dataclass
class TrainState:
    """The state of one stage. `step` counts its optimiser steps done, `run_step` those of the whole run."""

    stage: str
    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    ema: EMA | None
    plateau: Plateau
    meter: Meter = field(default_factory=Meter)
    step: int = 0
    run_step: int = 0
    flops: int = 0  # of one microbatch, forward and backward

    def _optimizer_entries(self) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
        names = {parameter: plain_name(name) for name, parameter in self.model.named_parameters()}
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    yield names[parameter], parameter, optimizer.state[parameter]

    def gather(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by file: model, ema, optimizer, random (a collective call)."""
        files = {"model": gather_weights(self.model)}
        if self.ema is not None:
            averages = {plain_name(name): full_tensor(value).cpu() for name, value in self.ema.shadow.items()}
            files["ema"] = {**files["model"], **averages}
        files["optimizer"] = {
            f"{key}/{name}": full_tensor(value).detach().cpu()
            for name, _, entries in self._optimizer_entries()
            for key, value in entries.items()
        }
        files["random"] = random_tensors()
        return files

    def scalars(self) -> dict[str, Any]:
        """What fits a JSON file; floats survive the round trip exactly."""
        return {
            "schema": SCHEMA,
            "stage": self.stage,
            "step": self.step,
            "run_step": self.run_step,
            "flops": self.flops,
            "ema_updates": self.ema.updates if self.ema else 0,
            "plateau": self.plateau.state(),
            "meter": {"sums": self.meter.sums, "count": self.meter.count},
            "python_random": _python_random_state(),
        }

    @torch.no_grad()
    def load(
        self, files: Mapping[str, Mapping[str, Tensor]], scalars: Mapping[str, Any], source: str
    ) -> None:
        """Continue from `gather()` and `scalars()`."""
        load_weights(self.model, files["model"], source)
        if self.ema is not None:
            if "ema" not in files:
                raise UserError(
                    f"{source} has no EMA weights and this stage asks for ema_decay={self.ema.decay}"
                )
            for name, value in self.ema.shadow.items():
                value.copy_(sharded_like(files["ema"][plain_name(name)], value))
            self.ema.updates = int(scalars["ema_updates"])
        saved: dict[str, dict[str, Tensor]] = {}
        for key, value in files["optimizer"].items():
            kind, name = key.split("/", 1)
            saved.setdefault(name, {})[kind] = value
        for name, parameter, entries in self._optimizer_entries():
            for kind, value in saved.pop(name, {}).items():
                # A step counter is a scalar and is whole everywhere; a moment is cut as its weight is.
                whole = value.ndim == 0 or value.shape != parameter.shape
                entries[kind] = value.to(parameter.device) if whole else sharded_like(value, parameter)
        if saved:
            names = sorted(saved)[:3]
            raise UserError(f"{source} has optimiser state for {names}, which this stage does not train")
        self.plateau.load(scalars["plateau"])
        self.meter = Meter(sums=dict(scalars["meter"]["sums"]), count=int(scalars["meter"]["count"]))
        self.step, self.run_step, self.flops = scalars["step"], scalars["run_step"], scalars["flops"]
        load_random(files["random"], scalars["python_random"])


def _python_random_state() -> list[Any]:
    version, words, gauss = random.getstate()
    return [version, list(words), gauss]


def random_tensors() -> dict[str, Tensor]:
    """The global random sources of torch and NumPy as tensors."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    if name != "MT19937":
        raise UserError(f"numpy.random uses the generator {name}: kinema can save MT19937 only")
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_position": torch.tensor([position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors


def load_random(tensors: Mapping[str, Tensor], python_state: list[Any]) -> None:
    """Put the global random sources back."""
    random.setstate((python_state[0], tuple(python_state[1]), python_state[2]))
    position, has_gauss = tensors["numpy_position"].tolist()
    keys = tensors["numpy_keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, float(tensors["numpy_gauss"])))  # noqa: NPY002
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
