"""What the outlier penalty does to a temporal autoencoder that starts from random convolutions.

    python experiments/movie_gen_video/outlier_penalty.py

Three arms: never; in the last fifth of the steps (the paper's protocol); throughout. Counted on held-out clips: places
of the latent that lie beyond 3 standard deviations of their frame (Eq. 1's own measure), the largest such ratio, PSNR
of clips and of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kinema.codecs import ImageVAEConfig, TAEConfig, TemporalAutoencoder, losses
from kinema.eval.reports import bars, summary
from kinema.eval.runs import Run, arguments, run_all
from kinema.systems.movie_gen.video.codec_recipe import GRADIENT_WEIGHT, KL_WEIGHT, OUTLIER_WEIGHT
from kinema.train import make_generator
from kinema.train.optim import build_optimizers
from kinema.train.precision import Precision
from kinema.train.schedules import learning_rate_factor
from kinema.world.batches import WorldClips
from kinema.world.scene import WorldSpec

from reporting import finish, table

NAME = "outlier_penalty"
FIGURES = ("beyond 3 sigma, ‰", "largest ratio", "clips, dB", "pictures, dB")
SPEC = WorldSpec(vocabulary="full", appealing=0.3)
STEPS, BATCH, FRAMES, SIZE = 500, 6, 8, 32
ARMS = {"without": 1.0, "last fifth": 0.8, "throughout": 0.0}  # from which share of the steps on
CONFIG = TAEConfig(
    image=ImageVAEConfig(
        latent_channels=8, base_channels=16, multipliers=(1, 2), encoder_blocks=(1, 1), decoder_blocks=(1, 1),
        norm_groups=8,
    ),
    temporal_strides=(2,),
)  # fmt: skip


def data(split: str, clips: int) -> Tensor:
    """Clips (N, 3, T, H, W) of the full Small World."""
    return WorldClips(spec=SPEC, split=split, num_frames=FRAMES, height=SIZE, width=SIZE).pixels(range(clips))


def loss(codec: TemporalAutoencoder, pixels: Tensor, generator: torch.Generator, weight: float) -> Tensor:
    """The loss of nano's codec, with the penalty's weight as an argument."""
    made = codec(pixels, generator)
    error = made.pixels - pixels
    total = 4 * error.square().mean() + error.abs().mean() + KL_WEIGHT * losses.kl(made.posterior)
    total = total + GRADIENT_WEIGHT * losses.perceptual(made.pixels, pixels)
    return total + weight * losses.outlier_penalty(made.latent.float()) if weight else total


def train(clips: Tensor, starts_at: float, steps: int, seed: int) -> TemporalAutoencoder:
    """Every fourth batch is the clips' middle frames alone; the penalty acts from step `starts_at * steps` on."""
    torch.manual_seed(seed)
    codec, precision = TemporalAutoencoder(CONFIG), Precision.choose("auto", "cpu")
    (optimizer,) = build_optimizers(codec, lr=2e-3, betas=(0.9, 0.99))
    for step in range(steps):
        generator = make_generator(seed, "step", step)
        pixels = clips[torch.randint(len(clips), (BATCH,), generator=generator)]
        pixels = pixels[:, :, FRAMES // 2 :][:, :, :1] if step % 4 == 3 else pixels
        factor = learning_rate_factor("wsd", step, steps=steps, warmup_steps=min(20, steps - 1))
        optimizer.param_groups[0]["lr"] = 2e-3 * factor
        with precision.autocast():
            value = loss(codec, pixels, generator, OUTLIER_WEIGHT if step >= starts_at * steps else 0.0)
        value.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return codec.eval()


def outliers(latent: Tensor) -> tuple[float, float]:
    """Share of places with ||X_ij - Mean|| > 3 ||Std|| in their frame, and the largest ratio: (B, C, t, h, w)."""
    centred = latent - latent.mean(dim=(-2, -1), keepdim=True)
    spread = centred.square().mean(dim=(-2, -1)).sum(dim=1).sqrt()[..., None, None]
    ratio = centred.square().sum(dim=1).sqrt() / spread.clamp_min(1e-6)
    return float((ratio > losses.OUTLIER_RADIUS).float().mean()), float(ratio.max())


@torch.inference_mode()
def measure(codec: TemporalAutoencoder, clips: Tensor) -> dict[str, float]:
    """The figures of one codec."""
    share, largest = outliers(codec.posterior(clips).mean)
    row = {FIGURES[0]: 1000 * share, FIGURES[1]: largest}
    for name, pixels in zip(FIGURES[2:], (clips, clips[:, :, FRAMES // 2 :][:, :, :1]), strict=True):
        made = codec.decode(codec.encode(pixels), pixels.shape[2])
        row[name] = float(10 * torch.log10(4 / (made - pixels).square().mean()))
    return row


def draw(result: Mapping[str, Any]) -> Any:
    """One panel a figure."""
    return lambda figure: bars(figure, result["arms"], FIGURES, {})


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    steps, number, held_out = (5, 12, 4) if given.quick else (STEPS, 1500, 96)
    clips, unseen = data("train", number), data("val", held_out)
    settings = {
        "steps": steps,
        "batch": BATCH,
        "clips": number,
        "held_out": held_out,
        "weight": OUTLIER_WEIGHT,
    }
    runs, spent = run_all(
        NAME,
        given,
        [
            Run(
                name,
                seed,
                settings,
                lambda starts_at=starts_at, seed=seed: measure(train(clips, starts_at, steps, seed), unseen),
            )
            for seed in range(given.seeds)
            for name, starts_at in ARMS.items()
        ],
    )
    result = {"settings": settings, "arms": summary(runs)}
    print(table(result["arms"], FIGURES))
    finish(NAME, given, spent, result, draw(result))


if __name__ == "__main__":
    main()
