"""Learning rates that fall from the head of a transformer to its stem, as finetuning after masked pre-training has."""

from __future__ import annotations

from torch import nn


def layer_decay(model: nn.Module, decay: float, head: float = 1.0) -> dict[str, float]:
    """Factors for `Stage.lr_scales` of a model with `blocks` (see `kinema.nn.vit`): name pattern -> factor.

    The last block learns at `head * decay`, each before it at `decay` times that, stem, positions and class token a
    step below the first; everything else at `head`.

    Args:
        head: 1 in MAE and BEiT; OmniMAE's code has `decay` here, one step less for all, and a larger rate.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    depth = 1 + max(int(name.split(".")[1]) for name in names if name.startswith("blocks."))
    factors = {f"blocks.{i}.*": head * decay ** (depth - i) for i in range(depth)}
    for first in ("stem.*", "positions.*", "class_token"):
        factors[first] = head * decay ** (depth + 1)
    factors["*"] = head
    return {pattern: factor for pattern, factor in factors.items() if _known(pattern, names)}


def _known(pattern: str, names: list[str]) -> bool:
    return any(name.startswith(pattern.removesuffix("*")) for name in names)
