"""What the experiments share: an easy Small World in nano's latent space, a small transformer, judging, and results.

Clips have 16 frames of 32x32 and one subject under a camera that rests. Nano's codec (4 x 4 x 4 cells of 64 numbers)
and its text encoder stand still, so each is run once over the data; what comes out is kept in a temporary folder that
all commands share.
"""

# B batch, C latent channels, T H W latent frames, rows, columns

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from itertools import count as numbers
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.eval.frechet import frechet_distance
from kinema.flow import paths
from kinema.flow.guidance import guided
from kinema.flow.objective import flow_matching_loss
from kinema.flow.schedules import linear, linear_quadratic
from kinema.flow.solvers import euler
from kinema.flow.times import logit_normal
from kinema.systems.movie_gen.video.model import MovieGenTransformer, preset
from kinema.systems.movie_gen.video.parts import Parts, load_parts
from kinema.systems.movie_gen.video.tags import tagged
from kinema.text.states import TextStates
from kinema.train import BatchIndex, Precision, Stage, derive_seed, make_generator, run_stages
from kinema.train.flops import count_flops
from kinema.world.captions import canonical_caption
from kinema.world.judges.labels import truth
from kinema.world.judges.lessons import to_float
from kinema.world.judges.video import VideoJudge
from kinema.world.renderer import render
from kinema.world.scene import Scene, WorldSpec, sample_scene

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parents[1] / "docs" / "images" / "experiments"
FRAMES, SIZE, GRID, FPS = 16, 32, (4, 4, 4), 8.0
GUIDANCE_SCALE, TEXT_DROP, STEPS = 2.5, 0.1, 25
SCHEDULES: dict[str, Callable[[int], Tensor]] = {"uniform": linear, "linear-quadratic": linear_quadratic}
SPEC = WorldSpec(vocabulary="nano", actor_odds=(1.0, 0.0, 0.0), static_camera=1.0, appealing=0.0)
OBJECTS = ("panda", "banana", "tractor", "ladybug")
ACTIONS = ("rest", "slide", "fall", "spin")
PLACES = ("meadow",)
TRAIN_STEPS, BATCH = 600, 32  # of the runs that train the transformer
SHOWN = ("identity", "colour", "motion", "direction")  # what the captions decide and the judge reads


@dataclass(frozen=True)
class Arguments:
    """What every command takes."""

    quick: bool
    seeds: int
    out: Path | None
    share: tuple[int, int] | None = None  # of several processes: which one this is, and how many there are


def arguments(description: str | None) -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few steps and clips: does it run at all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, help="folder for the JSON and the plot, in place of the repository's"
    )
    parser.add_argument("--share", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)  # runs are small: two at a time beat one on two threads
    share = None
    if given.share:
        number, _, count = given.share.partition("/")
        share = int(number), int(count)
    return Arguments(given.quick, 1 if given.quick else given.seeds, given.out, share)


# ---- data ---------------------------------------------------------------------------------------------------


def easy_scenes(split: str, number: int) -> list[Scene]:
    """The first scenes of a split that keep to OBJECTS, ACTIONS and PLACES."""
    found = (sample_scene(split, i, SPEC) for i in numbers())
    return list(
        islice(
            (
                s
                for s in found
                if s.subject.name in OBJECTS and s.subject.motion in ACTIONS and s.background in PLACES
            ),
            number,
        )
    )


def nano_parts() -> tuple[Parts, str]:
    """The networks that come with kinema, and the beginning of their file's SHA-256."""
    folder = resources.files("kinema.systems.movie_gen.video")
    with resources.as_file(folder.joinpath("nano.safetensors")) as path:
        return load_parts(path).freeze(), hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@dataclass
class Encoded:
    """Latents (N, C, T, H, W) and, for each, the row of its caption in a table of texts."""

    latent: Tensor
    text: Tensor


@dataclass
class Study:
    """Everything that an experiment trains and judges with. Row 0 of `texts` is the empty text."""

    parts: Parts
    weights: str
    texts: TextStates
    clips: Encoded
    pictures: Encoded
    held_out: Encoded
    scenes: list[Scene]  # of held_out
    true_features: Tensor  # of held_out, through the codec
    ceiling: dict[str, float]  # what the judge reads from them
    frechet_floor: float  # between these and as many other true clips
    cpu_seconds: float  # that rendering and encoding took

    def states(self, rows: Tensor) -> TextStates:
        """Text states of rows of the table."""
        return TextStates(self.texts.embeds[rows], self.texts.mask[rows])


def load_study(quick: bool = False, clips: int = 2000, pictures: int = 6000, held_out: int = 96) -> Study:
    """Render and encode the easy world, or read it from the temporary folder."""
    if quick:
        clips, pictures, held_out = 24, 24, 8
    parts, weights = nano_parts()
    key = derive_seed(repr((clips, pictures, held_out, SPEC, OBJECTS, ACTIONS, PLACES, SIZE, weights)))
    path = scratch() / f"{key:x}.pt"
    if not path.exists():
        began = time.process_time()
        encoded = _encode(parts, clips, pictures, held_out)
        torch.save(encoded | {"cpu_seconds": time.process_time() - began}, path)
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return Study(
        parts=parts,
        weights=weights,
        texts=TextStates(found["embeds"], found["mask"]),
        clips=Encoded(*found["clips"]),
        pictures=Encoded(*found["pictures"]),
        held_out=Encoded(*found["held_out"]),
        scenes=easy_scenes("val", held_out),
        true_features=found["true_features"],
        ceiling=found["ceiling"],
        frechet_floor=found["frechet_floor"],
        cpu_seconds=found["cpu_seconds"],
    )


@torch.inference_mode()
def _encode(parts: Parts, clips: int, pictures: int, held_out: int) -> dict[str, Any]:
    train, val = easy_scenes("train", clips + pictures), easy_scenes("val", 2 * held_out)
    captions = [[tagged(canonical_caption(s), FPS) for s in scenes] for scenes in (train, val)]
    table = ["", *sorted({c for part in captions for c in part})]
    states = TextStates.cat([parts.text.encode(table[k : k + 64]) for k in range(0, len(table), 64)])
    rows = [torch.tensor([table.index(c) for c in part]) for part in captions]

    def encode(scenes: Sequence[Scene], frames: int, start: Callable[[Scene], float]) -> Tensor:
        done = []
        for k in range(0, len(scenes), 64):
            part = scenes[k : k + 64]
            pixels = render(part, frames, SIZE, SIZE, FPS, [start(s) for s in part])
            done.append(parts.codec.encode(to_float(pixels)))
        return torch.cat(done)

    moving = encode(train[:clips], FRAMES, lambda s: 0.0)
    still = encode(train[clips:], 1, lambda s: s.duration * (s.seed % 997) / 997)
    seen = encode(val, FRAMES, lambda s: 0.0)
    labels, features = judged(parts, seen)
    return {
        "embeds": states.embeds,
        "mask": states.mask,
        "clips": (moving, rows[0][:clips]),
        "pictures": (still, rows[0][clips:]),
        "held_out": (seen[:held_out], rows[1][:held_out]),
        "true_features": features[:held_out],
        "ceiling": shares(labels[:held_out], val[:held_out]),
        "frechet_floor": frechet_distance(features[:held_out], features[held_out:]),
    }


def settings(study: Study) -> dict[str, Any]:
    """What all runs on the easy world share, for the results."""
    return {
        "clips": len(study.clips.text),
        "pictures": len(study.pictures.text),
        "judged": len(study.scenes),
        "guidance": GUIDANCE_SCALE,
        "sampler_steps": STEPS,
        "weights": study.weights,
    }


# ---- training -----------------------------------------------------------------------------------------------


@dataclass
class Batch:
    """Latents (B, C, T, H, W) and rows of the table of texts (B,)."""

    latent: Tensor
    text: Tensor


Velocity = Callable[[Tensor, Tensor], Tensor]
Objective = Callable[[Velocity, Tensor, torch.Generator], Tensor]


def drawn(data: Encoded, index: BatchIndex, times: int = 1) -> Batch:
    """The batch of a step, `times` as large as the stage's: rows drawn with the run's seed and the step."""
    rows = torch.randint(len(data.text), (times * len(index.indices),), generator=index.generator())
    return Batch(data.latent[rows], data.text[rows])


class Mixture:
    """Batches of clips, and every `picture_every`-th one of pictures: four for a clip, so as many cells of latent."""

    def __init__(self, study: Study, picture_every: int) -> None:
        self.study, self.picture_every = study, picture_every

    def __call__(self, index: BatchIndex) -> Batch:
        if self.picture_every and index.step % self.picture_every == self.picture_every - 1:
            return drawn(self.study.pictures, index, times=FRAMES // 4)
        return drawn(self.study.clips, index)


def step_flops(study: Study, batches: Callable[[BatchIndex], Batch], batch_size: int) -> int:
    """FLOPs of the network, forward and backward, in step 0 of a stage with these batches."""
    batch = batches(BatchIndex(step=0, microbatch=0, indices=range(batch_size)))
    model = new_model(0)
    with count_flops() as counted:
        states = study.states(batch.text)
        flow_matching_loss(lambda x, t: model(x, t, states), batch.latent, make_generator("flops"))[
            0
        ].backward()
    return counted.total


def straight_loss(velocity: Velocity, x: Tensor, generator: torch.Generator) -> Tensor:
    """Flow matching as in nano's recipe."""
    return flow_matching_loss(velocity, x, generator, logit_normal)[0]


def euler_solver(velocity: Velocity, x: Tensor) -> Tensor:
    """Equal Euler steps."""
    return euler(velocity, x, linear(STEPS))


def new_model(seed: int) -> MovieGenTransformer:
    """The small transformer: 1.0 M parameters, 64 tokens a clip."""
    torch.manual_seed(seed)
    return MovieGenTransformer(preset("nano", dim=128, depth=4, num_heads=4, hidden=208, grid=GRID))


def train(
    study: Study,
    model: nn.Module,
    objective: Objective,
    batches: Callable[[BatchIndex], Batch],
    steps: int,
    batch_size: int,
    seed: int,
    **settings: Any,
) -> None:
    """Train in place with the settings of nano's recipe; the model ends with its averaged weights."""

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        dropped = torch.rand(len(batch.text), generator=generator) < TEXT_DROP
        states = study.states(batch.text.masked_fill(dropped, 0))
        return objective(lambda x, t: model(x, t, states), batch.latent, generator), {}

    chosen: dict[str, Any] = {
        "optimizer": "muon",
        "lr": 3e-3,
        "weight_decay": 0.01,
        "schedule": "wsd",
        "decay_fraction": 0.3,
        "warmup_steps": min(20, steps - 1),
        "ema_decay": 0.98,
        "checkpoint_every": 100_000,
        "compile": True,
        **settings,
    }
    stage = Stage(
        name="run", model=model, loss=loss, batches=batches, steps=steps, batch_size=batch_size, **chosen
    )
    with tempfile.TemporaryDirectory() as folder:
        run_stages([stage], Path(folder), seed=seed, device="cpu", progress=False)
    model.eval()


# ---- sampling and judging -----------------------------------------------------------------------------------


Solver = Callable[[Velocity, Tensor], Tensor]


@torch.inference_mode()
def sample(study: Study, model: MovieGenTransformer, solve: Solver, seed: int) -> Tensor:
    """One latent for each held-out caption: what `solve(network under guidance, noise)` gives."""
    noise = torch.randn(study.held_out.latent.shape, generator=make_generator(seed, "noise"))
    precision, made = Precision.choose("auto", "cpu"), []
    for part, rows in zip(noise.split(64), study.held_out.text.split(64), strict=True):
        with precision.autocast():
            condition = model.prepare(study.states(torch.cat([rows, torch.zeros_like(rows)])))

            def network(x: Tensor, t: Tensor, condition: Any = condition) -> Tensor:
                with precision.autocast():
                    return model(x, t, condition)

            made.append(solve(guided(network, GUIDANCE_SCALE), part))
    return torch.cat(made)


@torch.inference_mode()
def judged(parts: Parts, latent: Tensor) -> tuple[list[dict[str, str]], Tensor]:
    """What the judge reads from latents (N, C, T, H, W): labels, and features (N, D)."""
    judge, told, features = VideoJudge.load(), list[dict[str, str]](), list[Tensor]()
    for part in latent.split(64):
        readings, found = judge.study(parts.codec.decode(part, FRAMES))
        told += [r.labels() for r in readings]
        features.append(found)
    return told, torch.cat(features)


def shares(told: Sequence[Mapping[str, str]], scenes: Sequence[Scene]) -> dict[str, float]:
    """Share of right answers for each attribute, and of clips with all of SHOWN right."""
    wanted = [truth(s) for s in scenes]
    right = {a: [t[a] == w[a] for t, w in zip(told, wanted, strict=True)] for a in SHOWN}
    result = {a: sum(r) / len(r) for a, r in right.items()}
    result["all four"] = sum(all(r) for r in zip(*right.values(), strict=True)) / len(scenes)
    return result


def score(study: Study, latent: Tensor) -> dict[str, float]:
    """Judge one latent for each held-out caption."""
    told, features = judged(study.parts, latent)
    return shares(told, study.scenes) | {"frechet": frechet_distance(features, study.true_features)}


@torch.inference_mode()
def held_out_loss(study: Study, model: MovieGenTransformer, levels: int = 8) -> float:
    """Flow-matching loss on held-out clips, at evenly spread times, with the same noise for every model."""
    data, precision = study.held_out, Precision.choose("auto", "cpu")
    generator = make_generator("held out")
    total = 0.0
    for level in range(levels):
        for x, rows in zip(data.latent.split(128), data.text.split(128), strict=True):
            noise = torch.randn(x.shape, generator=generator)
            t = torch.full((len(x),), (level + 0.5) / levels)
            with precision.autocast():
                made = model(paths.interpolate(noise, x, t), t, study.states(rows))
            error = (made.float() - paths.velocity_target(noise, x)).square()
            total += float(error.mean()) * len(x)
    return total / levels / len(data.latent)


# ---- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One training or sampling run: its arm and seed, the settings that decide it, and what to do."""

    arm: str
    seed: int
    settings: Mapping[str, Any]
    do: Callable[[], Any]


def run_all(name: str, given: Arguments, runs: Sequence[Run]) -> tuple[dict[str, list[Any]], float]:
    """Arm -> what its runs gave (anything for JSON) in the order of seeds, and the processor seconds of all.

    One process for each core works through the runs. A command that was interrupted goes on from its last finished
    run: results lie in the temporary folder.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if given.share is None and not given.quick and cores > 1:
        command = [sys.executable, *sys.argv]
        workers = [subprocess.Popen([*command, "--share", f"{k}/{cores}"]) for k in range(cores)]
        codes = [worker.wait() for worker in workers]
        if any(codes):
            raise SystemExit(f"{name}: a run failed; the messages above say why")
    own = runs if given.share is None else runs[given.share[0] :: given.share[1]]
    records = [_kept(name, given.quick, run) for run in own]
    if given.share is not None:
        raise SystemExit(0)
    found: dict[str, list[Any]] = {}
    for run, record in zip(runs, records, strict=True):
        found.setdefault(run.arm, []).append(record["result"])
    return found, sum(record["cpu_seconds"] for record in records)


def _kept(name: str, quick: bool, run: Run) -> dict[str, Any]:
    """A run's result with its processor seconds; read back if it ran before."""
    path = scratch() / f"{name}-{derive_seed(name, run.arm, run.seed, repr(run.settings)):x}.json"
    if path.exists() and not quick:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    began = time.process_time()
    result = run.do()
    record = {"result": result, "cpu_seconds": round(time.process_time() - began, 1)}
    if not quick:
        path.write_text(json.dumps(record), encoding="utf-8")
    print(name, run.arm, run.seed, json.dumps(record), flush=True)
    return record


def scratch() -> Path:
    """The temporary folder of all commands."""
    folder = Path(tempfile.gettempdir()) / "kinema-experiments"
    folder.mkdir(exist_ok=True)
    return folder


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation over seeds (0 for one), and the values."""
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "values": list(values),
    }


def summary(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Arm -> one row of figures a seed, to arm -> figure -> spread."""
    return {
        arm: {figure: spread([row[figure] for row in rows]) for figure in rows[0]}
        for arm, rows in runs.items()
    }


def table(results: Mapping[str, Any], figures: Sequence[str]) -> str:
    """Markdown, mean +- standard deviation; shares in per cent."""
    lines = ["| |" + "".join(f" {f} |" for f in figures), "|---|" + "---|" * len(figures)]
    for arm, row in results.items():
        cells = []
        for figure in figures:
            factor, digits = (100, 1) if figure in (*SHOWN, "all four") else (1, _digits(row[figure]["mean"]))
            cells.append(
                f" {factor * row[figure]['mean']:.{digits}f} ± {factor * row[figure]['std']:.{digits}f} |"
            )
        lines.append(f"| {arm} |" + "".join(cells))
    return "\n".join(lines)


def _digits(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 1


def finish(
    name: str,
    given: Arguments,
    cpu_seconds: float,
    result: Mapping[str, Any],
    draw: Callable[[Any], None],
    size: tuple[float, float] = (10, 3.2),
) -> None:
    """Write NAME.json and NAME.png; `draw(figure)` fills the plot."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    head = {
        "cpu_seconds": round(cpu_seconds, 1),
        "threads": torch.get_num_threads(),
        "quick": given.quick,
        "torch": torch.__version__,
        "compute": str(Precision.choose("auto", "cpu").compute),
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    results, images = (given.out, given.out) if given.out else (HERE / "results", IMAGES)
    for folder in (results, images):
        folder.mkdir(parents=True, exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(head | dict(result), indent=1) + "\n", encoding="utf-8")
    figure = pyplot.figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(images / f"{name}.png", dpi=110)
    pyplot.close(figure)


def bars(figure: Any, results: Mapping[str, Any], figures: Sequence[str], marks: Mapping[str, float]) -> None:
    """One panel a figure, one bar an arm, the standard deviation as whisker; `marks`: a dotted line in a panel."""
    for axis, name in zip(figure.subplots(1, len(figures)), figures, strict=True):
        for place, (arm, row) in enumerate(results.items()):
            cell = row[name]
            axis.bar(place, cell["mean"], yerr=cell["std"], capsize=4, color=f"C{place}", label=arm)
        if name in marks:
            axis.axhline(marks[name], ls=":", color="grey", label="true clips")
        axis.set_title(name, fontsize=10)
        axis.set_xticks([])
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axis.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False
    )
