"""What `pre_pretraining.py` is made of: the corpus, clean sets to be judged by, short trainings and their measures."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.data.hashtags import Vocabulary, tag_targets
from kinema.data.labelled import FASHION, STAMPS, fashion_mnist, found, stamps
from kinema.data.preprocessing import Preprocessing
from kinema.data.tag_sampling import epoch_order, repeats
from kinema.eval.probes import accuracy, chosen, few_shot, linear_probe
from kinema.nn import MaskedAutoencoder, VisionTransformer
from kinema.systems.maws.model import MawsConfig, autoencoder, encoder, transfer
from kinema.systems.maws.objective import masking_loss
from kinema.systems.maws.tagged import WORLD, world_nouns
from kinema.systems.maws.vpt import PromptedTransformer, fit_prompts
from kinema.train import Precision, make_generator, seed_everything
from kinema.train.flops import count_flops
from kinema.train.mixing import soft_cross_entropy
from kinema.world.pictures import object_names, pictures

SIZE, BATCH, LR, AVERAGING, WARMUP = 32, 64, 2e-3, 0.99, 50
CONFIG = MawsConfig(
    dim=96, depth=4, num_heads=3, patch=8, image_size=SIZE, decoder_dim=64, decoder_depth=1, decoder_heads=2
)
PREPARED = Preprocessing(size=SIZE)
Row = dict[str, float]


@dataclass(frozen=True)
class Size:
    """Of one run: pictures of the corpus, steps of tags at the full budget, of masking, of finetuning and prompts."""

    corpus: int = 12_000
    tags: int = 500
    masked: int = 500
    tuned: int = 100
    prompts: int = 60
    probe: int = 1200  # clean pictures to learn from, and as many to judge by
    shots: int = 5
    splits: int = 5
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1)  # of the linear probe, to choose from
    budgets: tuple[int, ...] = (25, 50, 100)  # per cent of the steps of tags

    @property
    def short(self) -> int:
        return max(self.masked // 10, 1)


QUICK = Size(
    corpus=300,
    tags=4,
    masked=4,
    tuned=2,
    prompts=2,
    probe=100,
    shots=1,
    splits=1,
    penalties=(1.0,),
    budgets=(100,),
)


@dataclass(frozen=True)
class Labelled:
    """Normalised images and classes to learn from, and others to judge by."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Corpus:
    """uint8 (N, 3, S, S), numbers of each picture's tags, how many tags there are, and how often each is shown."""

    pixels: Tensor
    tags: list[tuple[int, ...]]
    size: int
    expected: Tensor


@lru_cache(maxsize=1)
def corpus(count: int) -> Corpus:
    """Tagged pictures, those without a known tag left out; the same for every seed."""
    rendered = pictures(range(count), "train", SIZE, WORLD)
    written = rendered.hashtags()
    vocabulary = Vocabulary.build(written, keep=world_nouns(), min_count=max(2, count // 600))
    numbers = [vocabulary.encode(words) for words in written]
    kept = [place for place, tags in enumerate(numbers) if tags]
    tags = [numbers[place] for place in kept]
    return Corpus(rendered.pixels[kept, :, 0], tags, len(vocabulary), repeats(tags, vocabulary.counts))


@lru_cache(maxsize=1)
def tests(count: int) -> dict[str, Labelled]:
    """Clean Small World classes (the subject's name), and what real sets are on this machine."""
    classes, sets = object_names(WORLD), {}
    seen, held = (pictures(range(start, start + count), "val", SIZE, WORLD) for start in (0, 1_000_000))
    sets["world"] = _labelled(
        seen.pixels[:, :, 0],
        seen.labels("object", classes),
        held.pixels[:, :, 0],
        held.labels("object", classes),
    )
    if found(FASHION):
        train, test = fashion_mnist("train", count), fashion_mnist("test", count)
        sets["fashion"] = _labelled(train.pixels, train.labels, test.pixels, test.labels)
    if found(STAMPS):
        train, test = stamps(SIZE).halves(seed=0)
        sets["stamps"] = _labelled(train.pixels, train.labels, test.pixels, test.labels)
    return sets


def _labelled(images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor) -> Labelled:
    return Labelled(normalised(images), labels, normalised(test_images), test_labels)


def normalised(pixels: Tensor) -> Tensor:
    """uint8 -> the network's scale."""
    return PREPARED.normalise(pixels.float() / 255)


# -- training ---------------------------------------------------------------------------------------------------------


def train(
    network: nn.Module,
    data: Corpus,
    loss_of: Callable[[Tensor, Tensor, torch.Generator], Tensor],
    places: Iterator[Tensor],
    snapshots: Mapping[str, int],
    generator: torch.Generator,
    lr: float = LR,
) -> tuple[dict[str, nn.Module], list[float]]:
    """A steady rate after a warm-up; averaged weights at the steps of `snapshots`, and the losses of all steps.

    One run gives every budget: at a steady rate the first half of a long run is the whole of a run half as long.
    """
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    average, losses = copy.deepcopy(network), list[float]()
    kept: dict[str, nn.Module] = {}
    steps = max(snapshots.values())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / WARMUP)
        own = next(places)
        images = normalised(data.pixels[own])
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images[mirrored] = images[mirrored].flip(3)
        with Precision.choose("auto", "cpu").autocast():
            loss = loss_of(images, own, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        decay = min(AVERAGING, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        kept |= {name: copy.deepcopy(average) for name, at in snapshots.items() if at == step + 1}
    return kept, losses


def order(expected: Tensor, seed: int, purpose: str) -> Iterator[Tensor]:
    """Batches of places in the corpus, epoch after epoch."""
    generator, left = make_generator(seed, purpose), torch.empty(0, dtype=torch.long)
    while True:
        while len(left) < BATCH:
            left = torch.cat([left, epoch_order(expected, generator)])
        yield left[:BATCH]
        left = left[BATCH:]


def masked(data: Corpus, seed: int, snapshots: Mapping[str, int], lr: float = LR) -> dict[str, nn.Module]:
    """Masked autoencoders after so many steps."""
    seed_everything(seed)
    network = autoencoder(CONFIG)
    places = order(torch.ones(len(data.pixels)), seed, "masked order")
    kept, _ = train(
        network,
        data,
        lambda images, own, generator: masking_loss(network, images, generator)[0],
        places,
        snapshots,
        make_generator(seed, "masked"),
        lr,
    )
    return kept


def tagged(
    data: Corpus,
    seed: int,
    start: VisionTransformer | None,
    snapshots: Mapping[str, int],
    lr: float = LR,
) -> tuple[dict[str, nn.Module], list[float]]:
    """Taggers after so many steps; the order of pictures is the seed's, whatever they start from."""
    seed_everything(seed)
    config = CONFIG.at(SIZE, data.size)
    network = encoder(config) if start is None else transfer(start, config)

    def loss_of(images: Tensor, own: Tensor, generator: torch.Generator) -> Tensor:
        targets = tag_targets([data.tags[place] for place in own.tolist()], data.size)
        return soft_cross_entropy(network(images), targets)

    places = order(data.expected, seed, "tags order")
    return train(network, data, loss_of, places, snapshots, make_generator(seed, "tags"), lr)


def costs(data: Corpus) -> tuple[int, int]:
    """Floating-point operations of a step of masking and of tags, forward and backward."""
    images = torch.zeros(BATCH, 3, SIZE, SIZE)
    found = []
    for network in (autoencoder(CONFIG), encoder(CONFIG.at(SIZE, data.size))):
        with count_flops() as count:
            if isinstance(network, MaskedAutoencoder):
                loss = masking_loss(network, images, torch.Generator())[0]
            else:
                loss = network(images).square().mean()
            loss.backward()
        found.append(count.total)
    return found[0], found[1]


# -- measuring --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def features(trunk: VisionTransformer, images: Tensor) -> Tensor:
    """(N, 3, S, S) -> (N, D)."""
    with Precision.choose("auto", "cpu").autocast():
        return torch.cat([trunk.features(part) for part in images.split(250)]).float()


def frozen(trunk: VisionTransformer, seed: int, size: Size) -> Row:
    """A linear classifier on all labels, and on five pictures of each class."""
    trunk, row = trunk.eval(), {}
    for name, data in tests(size.probe).items():
        own, test = features(trunk, data.images), features(trunk, data.test_images)
        row[f"{name} linear"] = linear_probe(
            own, data.labels, test, data.test_labels, (1e-3, 1e-2, 1e-1), seed
        )
        row[f"{name} 5-shot"] = few_shot(
            own, data.labels, test, data.test_labels, size.shots, size.splits, seed=seed
        )
    return row


def tuned(trunk: VisionTransformer, seed: int, size: Size) -> Row:
    """Five pictures of each class with learned prompts; and all of the network trained on all labels."""
    row = {}
    for name, data in tests(size.probe).items():
        if name == "stamps":
            continue
        classes = int(data.labels.max()) + 1
        seed_everything(seed)
        places = chosen(data.labels, size.shots, seed * 1000)
        prompted = PromptedTransformer(copy.deepcopy(trunk), classes)
        fit_prompts(prompted, data.images[places], data.labels[places], steps=size.prompts, seed=seed)
        row[f"{name} 5-shot, prompts"] = judged(prompted, data)
        network = transfer(trunk, CONFIG.at(SIZE, classes))
        finetune(network, data, size.tuned, seed)
        row[f"{name} finetuned"] = judged(network, data)
    return row


def finetune(network: nn.Module, data: Labelled, steps: int, seed: int, lr: float = 1e-3) -> None:
    """All weights, a rate that falls as a cosine; half of the pictures mirrored."""
    generator = make_generator(seed, "finetuning")
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.05, fused=True)
    network.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        places = torch.randint(len(data.labels), (BATCH,), generator=generator)
        images = data.images[places]
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        images[mirrored] = images[mirrored].flip(3)
        with Precision.choose("auto", "cpu").autocast():
            loss = F.cross_entropy(network(images).float(), data.labels[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def judged(network: nn.Module, data: Labelled) -> float:
    """Accuracy on the pictures that nothing learned from."""
    network.eval()
    return accuracy(torch.cat([network(part) for part in data.test_images.split(250)]), data.test_labels)


# -- the experiment ---------------------------------------------------------------------------------------------------
