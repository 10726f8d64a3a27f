"""Does masked autoencoding before hashtags help, at equal steps and at equal arithmetic (2303.13496)?

    python experiments/maws/pre_pretraining.py

One small transformer and one corpus of tagged pictures of the Small World. Hashtags alone (WSP), masked autoencoding
alone (MAE), both after each other (MAWS), a tenth of the masked steps before hashtags, and neither. WSP also goes on
for as many steps, and for as many floating-point operations, as the masked stage took. Judged on clean classes of the
Small World and on real pictures: a linear probe, five pictures a class (linear, and with learned prompts), finetuning.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.data.hashtags import Vocabulary, tag_targets
from kinema.data.labelled import FASHION, STAMPS, fashion_mnist, found, stamps
from kinema.data.preprocessing import Preprocessing
from kinema.data.tag_sampling import epoch_order, repeats
from kinema.eval.probes import accuracy, chosen, few_shot, linear_probe
from kinema.eval.reports import finish, summary, table
from kinema.eval.runs import Run, arguments, run_all
from kinema.nn import MaskedAutoencoder, VisionTransformer
from kinema.systems.maws.model import MawsConfig, autoencoder, encoder, transfer
from kinema.systems.maws.objective import masking_loss
from kinema.systems.maws.tagged import WORLD, world_nouns
from kinema.systems.maws.vpt import PromptedTransformer, fit_prompts
from kinema.train import Precision, make_generator, seed_everything
from kinema.train.flops import count_flops
from kinema.train.mixing import soft_cross_entropy
from kinema.world.pictures import object_names, pictures

NAME = "pre_pretraining"
HERE = Path(__file__).resolve().parent
SIZE, BATCH, LR, AVERAGING, WARMUP = 32, 64, 2e-3, 0.99, 50
SMOOTH = 50  # steps over which losses of tags are averaged before they are compared
CONFIG = MawsConfig(
    dim=96, depth=4, num_heads=3, patch=8, image_size=SIZE, decoder_dim=64, decoder_depth=1, decoder_heads=2
)
PREPARED = Preprocessing(size=SIZE)
DEEP = (
    "scratch",
    "MAE",
    "WSP 100 %",
    "WSP 100 %, equal FLOPs",
    "MAWS 100 %",
)  # finetuned and prompted as well
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
    average, kept, losses = copy.deepcopy(network), {}, []
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


def run(seed: int, size: Size) -> dict[str, Any]:
    """Every arm of one seed: figures, and the losses of tags."""
    data = corpus(size.corpus)
    masked_flops, tags_flops = costs(data)
    more = round(size.masked * masked_flops / tags_flops)
    counts = {f"{budget} %": max(1, size.tags * budget // 100) for budget in size.budgets}
    maes = masked(
        data, seed, {"short": size.short, "MAE": size.masked, "MAE, twice": size.masked + size.tags}
    )
    plans: dict[str, tuple[Any, dict[str, int]]] = {
        "WSP": (
            None,
            {f"WSP {name}": count for name, count in counts.items()}
            | {f"WSP {name}, equal FLOPs": count + more for name, count in counts.items()}
            | {f"WSP {name}, equal steps": count + size.masked for name, count in counts.items()},
        ),
        "short MAWS": (maes["short"].encoder, {f"short MAWS {n}": count for n, count in counts.items()}),
        "MAWS": (maes["MAE"].encoder, {f"MAWS {n}": count for n, count in counts.items()}),
    }
    seed_everything(seed)
    trunks: dict[str, Any] = {"scratch": encoder(CONFIG)}
    trunks |= {name: maes[name].encoder for name in ("MAE", "MAE, twice")}
    losses = {}
    for arm, (start, snapshots) in plans.items():
        kept, losses[arm] = tagged(data, seed, start, snapshots)
        trunks |= kept
    rows = {name: rounded(frozen(trunk, seed, size)) for name, trunk in trunks.items()}
    deep = {name: rounded(tuned(trunks[name], seed, size)) for name in DEEP}
    return {
        "rows": rows,
        "deep": deep,
        "losses": {arm: smooth(values[: size.tags]) for arm, values in losses.items()},
        "flops": {"masked step": masked_flops, "tags step": tags_flops, "steps of equal FLOPs": more},
    }


def rounded(row: Row) -> Row:
    """Four digits, for the file."""
    return {name: round(value, 4) for name, value in row.items()}


def smooth(values: list[float]) -> list[float]:
    """The mean of each value and those before it, `SMOOTH` in all."""
    return [
        round(sum(own) / len(own), 4)
        for own in (values[max(0, k + 1 - SMOOTH) : k + 1] for k in range(len(values)))
    ]


def caught_up(losses: Mapping[str, list[float]]) -> dict[str, float]:
    """After which share of the steps an arm's loss is where that of tags alone ends; 1 and more: not before."""
    last = losses["WSP"][-1]
    return {
        arm: next((k for k, value in enumerate(own) if k >= SMOOTH and value <= last), len(own)) / len(own)
        for arm, own in losses.items()
    }


def main() -> None:
    """The command."""
    given = arguments(__doc__)
    size = QUICK if given.quick else Size()
    settings = asdict(size) | {
        "batch": BATCH,
        "lr": LR,
        "config": CONFIG.to_dict(),
        "sets": sorted(tests(size.probe)),
    }
    runs = [Run("all", seed, settings, lambda seed=seed: run(seed, size)) for seed in range(given.seeds)]
    records, spent = run_all(NAME, given, runs)
    found = records["all"]
    arms, deep = (
        summary({arm: [one[part][arm] for one in found] for arm in found[0][part]})
        for part in ("rows", "deep")
    )
    losses = [one["losses"] for one in found]
    result = {
        "settings": settings,
        "flops": found[0]["flops"],
        "arms": arms,
        "tuned": deep,
        "share of steps to the loss of tags alone": summary({"all": [caught_up(own) for own in losses]})[
            "all"
        ],
        "losses": {
            arm: [round(sum(own[arm][k] for own in losses) / len(losses), 4) for k in range(0, size.tags, 10)]
            for arm in losses[0]
        },
    }
    for rows in (arms, deep):
        figures = tuple(next(iter(rows.values())))
        print(table(rows, figures, shares=figures), end="\n\n")
    print(result["share of steps to the loss of tags alone"])
    finish(NAME, given, spent, result, lambda figure: draw(figure, result), (11.0, 3.6), folder=HERE)


def draw(figure: Any, result: Mapping[str, Any]) -> None:
    """Two figures by budget, and the losses of tags."""
    arms, budgets = result["arms"], result["settings"]["budgets"]
    styles = ("WSP", "WSP, equal FLOPs", "WSP, equal steps", "short MAWS", "MAWS")
    shown = [name for name in next(iter(arms.values())) if name.endswith("linear")][:2]
    axes = figure.subplots(1, len(shown) + 1)
    for axis, name in zip(axes, shown, strict=False):
        for style, colour in zip(styles, ("C0", "C0", "C0", "C1", "C3"), strict=True):
            first, comma, rest = style.partition(",")
            cells = [arms[f"{first} {budget} %{comma}{rest}"][name] for budget in budgets]
            line = {"equal FLOPs": "--", "equal steps": ":"}.get(rest.strip(), "-")
            values = [100 * cell["mean"] for cell in cells]
            axis.errorbar(
                budgets,
                values,
                [100 * c["std"] for c in cells],
                ls=line,
                color=colour,
                label=style,
                capsize=3,
            )
        axis.axhline(100 * arms["MAE"][name]["mean"], color="grey", lw=1, label="MAE alone")
        axis.axhline(100 * arms["scratch"][name]["mean"], color="grey", lw=1, ls=":", label="scratch")
        axis.set(title=f"{name} probe, %", xlabel="steps of tags, %", xticks=budgets)
    for values, colour in zip(result["losses"].values(), ("C0", "C1", "C3"), strict=True):
        axes[-1].plot(range(0, 10 * len(values), 10), values, color=colour)
    axes[-1].set(title="loss of tags", xlabel="steps of tags")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=7, fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
