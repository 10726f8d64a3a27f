"""What the experiments on OmniMAE share: pictures and clips in memory, a small network, its training, its probing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.data import labelled
from kinema.data.preprocessing import Preprocessing
from kinema.eval.probes import few_shot, knn, linear_probe
from kinema.nn import MaskedAutoencoder, pixel_targets
from kinema.systems.omnimae.data import normalised
from kinema.systems.omnimae.finetuning import MOVING, FinetuningBatches
from kinema.systems.omnimae.model import OmniMAEConfig, autoencoder
from kinema.systems.omnimae.objective import is_clip_step, masking_loss
from kinema.train import BatchIndex, Stage, run_stages, seed_everything, shuffled
from kinema.world.pictures import Rendered, clips, pictures
from kinema.world.scene import WorldSpec

FOLDER = Path(__file__).resolve().parent
SIDE, FRAMES, BATCH, LR = 32, 8, 32, 3e-3
CONFIG = OmniMAEConfig(
    dim=64, depth=4, num_heads=4, decoder_dim=48, decoder_depth=1, decoder_heads=4, patch=(2, 8, 8), frames=FRAMES,
    image_size=SIDE,
)  # fmt: skip
PREPROCESSING = Preprocessing(size=SIDE)
WORLD = WorldSpec(vocabulary="nano", actor_odds=(1.0, 0.0, 0.0), static_camera=1.0)
PENALTIES = (1e-2, 1e-1)
ATTRIBUTES = ("object", "family", "motion", "direction")
Row = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How much of everything: pictures and clips to learn from, labelled ones, and ones to test on."""

    pictures: int = 6000
    clips: int = 1500
    labelled: int = 1200
    test: int = 800


@cache
def drawn(kind: str, split: str, count: int, first: int = 0) -> Rendered:
    """Scenes of the Small World, kept for the process: `image` or `clip`."""
    numbers = range(first, first + count)
    if kind == "image":
        return pictures(numbers, split, SIDE, WORLD)
    return clips(numbers, split, FRAMES, SIDE, WORLD)


@cache
def unlabelled(kind: str, sizes: Sizes) -> Tensor:
    """What is learned from, normalised once: (N, 3, S, S) or (N, 3, T, S, S)."""
    count = sizes.pictures if kind == "image" else sizes.clips
    pixels = drawn(kind, "train", count, 100_000).pixels
    return normalised(pixels[:, :, 0] if kind == "image" else pixels, PREPROCESSING)


def train(
    seed: int,
    steps: int,
    clip_share: float,
    sizes: Sizes,
    masked: tuple[float, float] | None = None,
) -> MaskedAutoencoder:
    """A network from nothing; `masked` are the shares of images and clips, without it the paper's 0.90 and 0.95.

    Half of the pictures are mirrored, and there are no crops: they would cost more than the network.
    """
    seed_everything(seed)
    model = autoencoder(CONFIG)

    def batches(index: BatchIndex) -> Tensor:
        kind = "clip" if is_clip_step(index.step, clip_share, seed) else "image"
        pool = unlabelled(kind, sizes)
        chosen = pool[shuffled(index.indices, len(pool), seed)]
        if kind == "clip":
            return chosen
        mirrored = torch.rand(len(chosen), generator=index.generator("mirrored")) < 0.5
        return torch.where(mirrored[:, None, None, None], chosen.flip(3), chosen)

    def loss(network: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(network, MaskedAutoencoder)
        share = None if masked is None else masked[0 if x.ndim == 4 else 1]
        return (
            (whole_loss(network, x), {})
            if share == 0
            else masking_loss(network, x, generator, PREPROCESSING, share)
        )

    stage = Stage(
        name="joint",
        model=model,
        loss=loss,
        batches=batches,
        steps=steps,
        batch_size=BATCH,
        lr=LR,
        weight_decay=0.05,
        schedule="cosine",
        warmup_steps=steps // 10,
        log_every=steps,
        checkpoint_every=steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)
    return model.eval()


def whole_loss(model: MaskedAutoencoder, x: Tensor) -> Tensor:
    """Without masking the loss is of all patches, for none is dropped."""
    everything = torch.arange(model.tokens(x)).expand(len(x), -1)
    target = pixel_targets(PREPROCESSING.pixels(x), model.patch, "channel")
    return (model(x, everything).float() - target).square().mean()


@torch.no_grad()
def features(model: MaskedAutoencoder, pixels: Tensor) -> Tensor:
    """Mean of the encoder's tokens (N, D) of uint8 pixels."""
    parts = [model.encoder.encode(normalised(part, PREPROCESSING)).mean(1) for part in pixels.split(100)]
    return torch.cat(parts)


@torch.no_grad()
def held_out(model: MaskedAutoencoder, kind: str, count: int) -> float:
    """The loss on held-out pictures or clips with the paper's share dropped: 1 is a patch's mean colour."""
    pixels = drawn(kind, "val", count).pixels
    x = normalised(pixels[:, :, 0] if kind == "image" else pixels, PREPROCESSING)
    loss, _ = masking_loss(model, x, torch.Generator().manual_seed(0), PREPROCESSING)
    return loss.item()


def probed(model: MaskedAutoencoder, sizes: Sizes, real: bool = True) -> Row:
    """What its features know, and how well it fills in: figure -> value."""
    row = {
        "image loss": held_out(model, "image", min(400, 4 * sizes.test)),
        "clip loss": held_out(model, "clip", min(200, 2 * sizes.test)),
    }
    for kind, attributes in (("image", ("object", "family")), ("clip", MOVING)):
        known, asked = drawn(kind, "train", sizes.labelled), drawn(kind, "val", sizes.test)
        seen = [
            features(model, part.pixels[:, :, 0] if kind == "image" else part.pixels)
            for part in (known, asked)
        ]
        for attribute in attributes:
            names = FinetuningBatches(attribute=attribute, preprocessing=PREPROCESSING, spec=WORLD).classes
            row |= three(
                attribute, seen[0], known.labels(attribute, names), seen[1], asked.labels(attribute, names)
            )
    for name, (here, there) in real_sets(sizes).items() if real else ():
        found = [features(model, part.pixels) for part in (here, there)]
        row |= three(name, found[0], here.labels, found[1], there.labels)
    return {figure: round(value, 5) for figure, value in row.items()}


def three(name: str, known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor) -> Row:
    """Linear, few-shot (5 of each class, or as many as the smallest has) and 20 nearest neighbours."""
    shots = min(5, int(labels.unique(return_counts=True)[1].min()))
    return {
        f"{name} linear": linear_probe(known, labels, asked, truth, PENALTIES),
        f"{name} few-shot": few_shot(known, labels, asked, truth, shots=shots, splits=3),
        f"{name} kNN": knn(known, labels, asked, truth, k=20),
    }


@cache
def real_sets(sizes: Sizes) -> dict[str, tuple[labelled.LabelledPictures, labelled.LabelledPictures]]:
    """Those of the real sets that this machine has: name -> labelled ones and ones to test on."""
    sets = {}
    if labelled.found(labelled.FASHION):
        sets["Fashion-MNIST"] = (
            labelled.fashion_mnist("train", sizes.labelled),
            labelled.fashion_mnist("test", sizes.test),
        )
    if labelled.found(labelled.STAMPS):
        sets["stamps"] = labelled.stamps(SIDE).halves(seed=0)
    return sets


def chances(sizes: Sizes) -> Row:
    """What always guessing the most frequent class gets right, figure by figure."""
    row: Row = {}
    for attribute in ATTRIBUTES:
        batches = FinetuningBatches(attribute=attribute, preprocessing=PREPROCESSING, spec=WORLD)
        kind = "clip" if attribute in MOVING else "image"
        share = labelled.majority(drawn(kind, "val", sizes.test).labels(attribute, batches.classes))
        row |= {f"{attribute} {probe}": share for probe in ("linear", "few-shot", "kNN")}
    for name, (_, there) in real_sets(sizes).items():
        share = labelled.majority(there.labels)
        row |= {f"{name} {probe}": share for probe in ("linear", "few-shot", "kNN")}
    return row
