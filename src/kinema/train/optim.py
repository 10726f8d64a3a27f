"""Optimisers: AdamW or SGD for everything, or Muon for the matrices of the blocks and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kinema.errors import UserError

OptimizerName = Literal["adamw", "muon", "sgd"]


def block_matrices(model: nn.Module) -> set[str]:
    """Names of the 2-D weights that sit inside a repeated block (nn.ModuleList or nn.Sequential): Muon's share.

    Embeddings, and the first and last layers outside the blocks, stay with AdamW.
    """
    names = set()
    for prefix, module in model.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        for name, layer in module.named_modules(prefix=prefix):
            if isinstance(layer, nn.Linear):
                names.add(f"{name}.weight")
    return names


def parameter_groups(
    parameters: Mapping[str, Tensor], weight_decay: float, lr: float, lr_scales: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Groups by (decay, learning rate): 1-D tensors (norms, biases, gates) do not decay.

    `lr_scales` maps a name pattern (`encoder.*`) to a factor on the learning rate; the first pattern that fits counts.
    """
    unused = [pattern for pattern in lr_scales if not any(fnmatchcase(name, pattern) for name in parameters)]
    if unused:
        raise UserError(f"lr_scales names no parameter with {unused[0]!r}: a pattern is like 'encoder.*'")
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in parameters.items():
        scale = next((factor for pattern, factor in lr_scales.items() if fnmatchcase(name, pattern)), 1.0)
        decay = weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((decay, scale), []).append(parameter)
    return [
        {"params": members, "weight_decay": decay, "lr": lr * scale, "initial_lr": lr * scale}
        for (decay, scale), members in groups.items()
    ]


def build_optimizers(
    model: nn.Module,
    *,
    optimizer: OptimizerName = "adamw",
    lr: float = 1e-3,
    muon_lr: float | None = None,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    lr_scales: Mapping[str, float] | None = None,
    fused: bool = True,
) -> list[torch.optim.Optimizer]:
    """One or two optimisers over the trainable parameters of `model`.

    sgd: Nesterov's momentum, which is the first of `betas`; the decay is added to the gradient.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise UserError("the model has no trainable parameter: set requires_grad on what should learn")
    scales = dict(lr_scales or {})
    matrices: set[str] = set()
    if optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise UserError(
                f"optimizer='muon' needs torch 2.9 or newer and this is {torch.__version__}: take 'adamw'"
            )
        matrices = block_matrices(model) & trainable.keys()
        if not matrices:
            raise UserError(
                "optimizer='muon' found no matrix inside a repeated block: take optimizer='adamw'"
            )
    if optimizer == "sgd":
        groups = parameter_groups(trainable, weight_decay, lr, scales)
        return [torch.optim.SGD(groups, lr=lr, momentum=betas[0], nesterov=True, fused=fused)]
    rest = {name: parameter for name, parameter in trainable.items() if name not in matrices}
    built: list[torch.optim.Optimizer] = []
    if rest:
        fitting = {p: f for p, f in scales.items() if any(fnmatchcase(n, p) for n in rest) or not matrices}
        groups = parameter_groups(rest, weight_decay, lr, fitting)
        built.append(torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=fused))
    if matrices:
        chosen = {name: trainable[name] for name in trainable if name in matrices}
        fitting = {p: f for p, f in scales.items() if any(fnmatchcase(n, p) for n in chosen)}
        # The update's size is matched to AdamW's, so both take the same learning rate unless told otherwise.
        groups = parameter_groups(chosen, weight_decay, muon_lr or lr, fitting)
        built.append(torch.optim.Muon(groups, lr=muon_lr or lr, adjust_lr_fn="match_rms_adamw"))
    return built


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> float:
    """Every group gets its own base rate times `factor`; returns the first group's rate, the one that is logged."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
    return float(optimizers[0].param_groups[0]["lr"])
