"""Forward and training step of the vision transformer beside timm with equal weights, and what masking saves.

    python benchmarks/vision_transformer.py [--sizes b16 s16] [--batch 4] [--repeats 5] [--threads 2] [--out FILE.json]

Both run eagerly in float32 in one process, in turns; the seconds are medians, the ratio is timm's over ours (above 1 is
faster than timm). "Features" is the pooled vector. A training step is forward, backward and AdamW. Masking: seconds of
OmniMAE's encoder, forward and backward, on a clip of 16 frames with 95 % of the patches dropped, and with none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema.codecs.keymap import rename
from kinema.codecs.vit_keys import timm_rules
from kinema.nn import random_keep
from kinema.systems.maws.model import MawsConfig, encoder
from kinema.systems.omnimae.model import OmniMAEConfig, classifier
from kinema.systems.omnimae.objective import CLIP_MASKED, kept_tokens
from kinema.weights import load_strict
from tests.parity import shim_torchvision

from measuring import machine, turns

SIZES = {
    "nano": MawsConfig.preset("nano"),
    "s16": MawsConfig(dim=384, depth=12, num_heads=6, patch=16),
    "b16": MawsConfig.preset("vit_b16"),
    "l16": MawsConfig.preset("vit_l16"),
}


def training_step(network: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """Forward, backward and AdamW on the squared pooled vector."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        network(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def beside_timm(config: MawsConfig, batch: int, repeats: int) -> dict[str, object]:
    """Seconds of both for the pooled vector and for a training step."""
    from timm.models.vision_transformer import VisionTransformer

    theirs = VisionTransformer(
        img_size=config.image_size, patch_size=config.patch, embed_dim=config.dim, depth=config.depth,
        num_heads=config.num_heads, num_classes=0,
    ).eval()  # fmt: skip
    ours = encoder(config).eval()
    load_strict(ours, rename(theirs.state_dict(), timm_rules(), "timm").state, "timm")
    images = torch.randn(batch, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        difference = float((ours(images) - theirs(images)).abs().max())
        features = turns({"ours": lambda: ours(images), "timm": lambda: theirs(images)}, repeats)
    steps = turns({"ours": training_step(ours, images), "timm": training_step(theirs, images)}, repeats)
    return {
        "largest_difference": difference,
        "features": {**features, "ratio": features["timm"] / features["ours"]},
        "training_step": {**steps, "ratio": steps["timm"] / steps["ours"]},
    }


def masking(config: OmniMAEConfig, repeats: int) -> dict[str, object]:
    """Seconds of the encoder's forward and backward with most patches dropped, and with none."""
    network = classifier(config, 0, drop_path=0.0)
    clip = torch.randn(1, 3, config.frames, config.image_size, config.image_size)
    tokens = config.grid[0] * config.grid[1] * config.grid[2]
    keep = random_keep(torch.rand(1, tokens), kept_tokens(tokens, CLIP_MASKED))
    found = turns(
        {
            "dropped": lambda: network.encode(clip, keep).square().mean().backward(),
            "all": lambda: network.encode(clip).square().mean().backward(),
        },
        repeats,
    )
    return {**found, "tokens": tokens, "kept": keep.shape[1], "ratio": found["all"] / found["dropped"]}


def main() -> None:
    """Measure what the command line asks for, print it as JSON, and keep it with --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["s16", "b16"])
    parser.add_argument("--masked", choices=["nano", "vit_b", "vit_l"], default="vit_b")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    shim_torchvision()
    report: dict[str, object] = {
        "machine": machine(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "threads": given.threads,
    }
    for size in given.sizes:
        report[size] = beside_timm(SIZES[size], given.batch, given.repeats)
    report["masking"] = masking(OmniMAEConfig.preset(given.masked), given.repeats)
    text = json.dumps(report, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
