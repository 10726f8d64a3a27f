"""Nano's temporal autoencoder, trained on the Small World (Movie Gen, section on the TAE).

It starts from principal components of space-time blocks, then the convolutions learn what a linear map cannot do.
Pictures and clips alternate 1:3 as in the paper; the loss is reconstruction, a multi-scale gradient term in place of
LPIPS (whose weights are a download), a small KL term and the paper's outlier penalty.

    about 10 minutes on one core with bfloat16 units
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinema.codecs import Codec, Reconstruction, TAEConfig, TemporalAutoencoder, linear_init_
from kinema.codecs import losses as codec_losses
from kinema.train import BatchIndex, Stage
from kinema.world.batches import WorldClips
from kinema.world.scene import WorldSpec

OUTLIER_WEIGHT = 0.5  # with means in place of the paper's sums, its 1e5 comes to about this
KL_WEIGHT = 1e-5
GRADIENT_WEIGHT = 0.3
RATES = (8.0, 8.0, 8.0, 12.0)
SPEC = WorldSpec(vocabulary="full", appealing=0.3, fps=RATES)
CLIPS = WorldClips(spec=SPEC)
PICTURES = WorldClips(spec=SPEC, num_frames=1)


def codec_loss(
    model: nn.Module, pixels: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruction (squared and absolute), gradients, KL, outlier penalty: pixels (B, 3, T, H, W)."""
    made: Reconstruction = model(pixels, generator)
    squared = (made.pixels - pixels).square().mean()
    gradient = codec_losses.perceptual(made.pixels, pixels)
    divergence = codec_losses.kl(made.posterior)
    outlier = codec_losses.outlier_penalty(made.latent)
    loss = 4 * squared + codec_losses.l1(made.pixels, pixels) + GRADIENT_WEIGHT * gradient
    loss = loss + KL_WEIGHT * divergence + OUTLIER_WEIGHT * outlier
    return loss, {"squared": squared, "gradient": gradient, "kl": divergence, "outlier": outlier}


def codec_batch(index: BatchIndex) -> Tensor:
    """Three batches of clips to one of pictures, which has as many latent frames."""
    if index.step % 4 == 3:
        first = index.indices.start * 8
        return PICTURES.pixels(range(first, first + 8 * len(index.indices)))
    return CLIPS.pixels(index.indices)


@torch.no_grad()
def fidelity(codec: Codec, count: int = 64) -> dict[str, float]:
    """PSNR (dB) on held-out clips."""
    clips = WorldClips(spec=SPEC, split="val").pixels(range(count))
    made = torch.cat([codec.decode(codec.encode(part), part.shape[2]) for part in clips.split(16)])
    return {"psnr": float(10 * torch.log10(4 / (made - clips).square().mean()))}


def new_codec(config: TAEConfig | None = None) -> TemporalAutoencoder:
    """A codec that already reconstructs as well as principal components do."""
    codec = TemporalAutoencoder(config or TAEConfig.preset("nano"))
    start = 10_000_000  # far from what training will see
    linear_init_(codec, [CLIPS.pixels(range(start + k, start + k + 32)) for k in range(0, 512, 32)])
    return codec


@torch.no_grad()
def finish_statistics(codec: Codec) -> None:
    """Measure the latent's mean and standard deviation on training clips and keep them with the codec.

    Channels keep part of their order: one that moves pixels less gets a smaller variance in the normalised latent,
    so that the generator settles the coarse picture first and spends less on what can hardly be seen.
    """
    codec.fit_statistics([CLIPS.pixels(range(k, k + 32)) for k in range(0, 512, 32)])
    if codec.linear is not None:
        reach = (
            codec.linear.synthesis.weight.norm(dim=0) * codec.spec.std
        )  # of one standard deviation, in pixels
        share = (reach / reach.max()).pow(0.5).clamp(min=0.25)
        codec.spec.set_statistics(codec.spec.mean.clone(), codec.spec.std / share)


def codec_stage(codec: TemporalAutoencoder, steps: int = 800, batch_size: int = 12) -> Stage:
    """The training stage of the whole codec."""
    return Stage(
        name="codec",
        model=codec,
        loss=codec_loss,
        batches=codec_batch,
        steps=steps,
        batch_size=batch_size,
        lr=1e-3,
        lr_scales={"linear.*": 0.05, "*.conv_out.*": 0.1},
        betas=(0.9, 0.99),
        schedule="wsd",
        warmup_steps=60,
        ema_decay=0.99,
        log_every=20,
        checkpoint_every=200,
        validate=lambda model, folder: fidelity(model),  # type: ignore[arg-type]
        validate_every=200,
    )
