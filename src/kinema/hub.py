"""A name into a ready system: one table says what exists, `load` builds it. Only `download=True` touches the network.

    pipeline = kinema.load("movie-gen-video-nano")

This file imports no torch; the room behind a name is imported when it is loaded.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kinema.errors import UserError
from kinema.weights import check_weights_folder, check_weights_path, read_header, weights_hash

PACKAGE: Final = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the table: where a model's parts stand and under which terms. Import paths are `module:function`."""

    name: str
    title: str
    summary: str
    builder: str  # (weights_path: Path | None, device: str) -> pipeline
    recipe: str | None  # (preset, data, seed, init) -> kinema.train.Recipe
    evaluator: str | None  # (pipeline, ...) -> report
    preset: str  # the size that this name builds
    presets: tuple[str, ...]  # every size that the room knows
    nano_weights: str | None  # a file inside the package; None: the user brings a downloaded folder
    official_weights: str  # why there are none, or how to get them
    paper_title: str
    paper: str
    code_licence: str = "Apache-2.0"
    weights_licence: str = "Apache-2.0"
    makes: str = (
        "generate"  # the command that uses it: from text; upsample, sound: from a clip; depth: from a photo
    )
    also: tuple[str, ...] = ()  # further commands that use it
    room: str | None = None  # of one that sees: ROOM/NAME is a published file, NAME one of `published`
    published: tuple[str, ...] = ()  # the builder takes it as `name`
    options: tuple[str, ...] = ()  # of `generate`: compile, offload, cache
    aliases: tuple[str, ...] = ()
    bench_size: int = 512  # clips that `evaluator` judges if none else are asked for
    long_evaluator: str | None = None  # the same for clips longer than the model was trained for
    chooser: str | None = None  # (clips, prompt) -> a score for each, for --best-of
    sound: str | None = None  # the model that makes the sound of its clips
    official: str | None = (
        None  # (download) -> the file with the published weights, where kinema can fetch them
    )
    planner: str | None = None  # (size, num_frames, height, width) -> kinema.train.plan.Subject

    @property
    def nano_path(self) -> Path | None:
        """Where the weights that travel with the package are, if they are in this copy."""
        path = None if self.nano_weights is None else PACKAGE / self.nano_weights
        return path if path is not None and path.is_file() else None

    @property
    def verbs(self) -> tuple[str, ...]:
        """The commands that this model answers to."""
        more = {"train": self.recipe, "eval": self.evaluator, "plan": self.planner}
        return (self.makes, *self.also, *(verb for verb, behind in more.items() if behind))


_SIZES: Final = ("vit_b", "vit_l", "vit_h")
_SWAG: Final = ("regnety_16gf", "regnety_32gf", "regnety_128gf", "vit_b16", "vit_l16", "vit_h14")
_MAWS: Final = ("vit_b16", "vit_l16", "vit_h14", "vit_2b14", "vit_6.5b14")
_NOT_OURS: Final = (
    "their owner offers them, not for commercial use (CC BY-NC 4.0): `kinema.load('{room}/NAME')` says where each is, "
    "and `weights=FILE` or --weights FILE opens it"
)

MODELS: Final[dict[str, Entry]] = {
    entry.name: entry
    for entry in [
        Entry(
            name="movie-gen-video-nano",
            title="Movie Gen Video, nano",
            summary="text to video: a flow-matching transformer over the latents of a temporal autoencoder",
            builder="kinema.systems.movie_gen.video.pipeline:load",
            recipe="kinema.systems.movie_gen.video.recipe:recipe",
            evaluator="kinema.eval.movie_gen_video:evaluate",
            long_evaluator="kinema.eval.seams:evaluate_long",
            chooser="kinema.systems.movie_gen.video.choose:agreement",
            sound="movie-gen-audio-nano",
            planner="kinema.systems.movie_gen.video.planning:planner",
            options=("compile",),
            preset="nano",
            presets=("nano", "1b", "5b", "30b"),
            nano_weights="systems/movie_gen/video/nano.safetensors",
            official_weights="Movie Gen's own weights were never published",
            paper_title="Movie Gen: A Cast of Media Foundation Models",
            paper="https://arxiv.org/abs/2410.13720",
        ),
        Entry(
            name="movie-gen-upsampler-nano",
            title="Movie Gen's spatial upsampler, nano",
            summary="clip to a larger clip (experimental: no better than bicubic), by flow matching beside its latent",
            builder="kinema.systems.movie_gen.upsampler.pipeline:load",
            recipe="kinema.systems.movie_gen.upsampler.recipe:recipe",
            evaluator=None,
            makes="upsample",
            preset="nano",
            presets=("nano", "7b"),
            nano_weights="systems/movie_gen/upsampler/nano.safetensors",
            official_weights="Movie Gen's own weights were never published",
            paper_title="Movie Gen: A Cast of Media Foundation Models",
            paper="https://arxiv.org/abs/2410.13720",
        ),
        Entry(
            name="movie-gen-audio-nano",
            title="Movie Gen Audio, nano",
            summary="clip, words or both to sound: masked prediction by flow matching, no speech and no song",
            builder="kinema.systems.movie_gen.audio.pipeline:load",
            recipe="kinema.systems.movie_gen.audio.recipe:recipe",
            evaluator="kinema.eval.movie_gen_audio:evaluate",
            bench_size=256,
            makes="sound",
            preset="nano",
            presets=("nano", "300m", "3b", "13b"),
            nano_weights="systems/movie_gen/audio/nano.safetensors",
            official_weights="Movie Gen's own weights were never published",
            paper_title="Movie Gen: A Cast of Media Foundation Models",
            paper="https://arxiv.org/abs/2410.13720",
        ),
        Entry(
            name="photo-3d-depth-nano",
            aliases=("photo_3d/depth", "photo_3d/tiefenrausch", "tiefenrausch"),
            title="Depth of One Shot 3D Photography (Tiefenrausch), nano",
            summary="photo to relative disparity, in eight bits; takes the published weights as well",
            builder="kinema.systems.photo_3d.depth:load",
            recipe="kinema.systems.photo_3d.depth_recipe:recipe",
            evaluator="kinema.systems.photo_3d.bench:evaluate_depth",
            bench_size=256,
            makes="depth",
            preset="nano",
            presets=("nano", "tiefenrausch"),
            nano_weights="systems/photo_3d/depth_nano.safetensors",
            official="kinema.systems.photo_3d.official:official",
            official_weights=(
                "3.8 MB, MIT, from github.com/facebookresearch/one_shot_3d_photography: "
                "`kinema depth PHOTO --weights official --download` fetches them once"
            ),
            paper_title="One Shot 3D Photography",
            paper="https://arxiv.org/abs/2008.12298",
        ),
        Entry(
            name="photo-3d-inpainting-nano",
            aliases=("photo_3d/inpainting", "photo_3d/farbrausch", "farbrausch"),
            title="Hidden colours of One Shot 3D Photography (Farbrausch), nano",
            summary="colours for what a photo does not show, by partial convolutions along links",
            builder="kinema.systems.photo_3d.inpainting:load",
            recipe="kinema.systems.photo_3d.inpainting_recipe:recipe",
            evaluator="kinema.systems.photo_3d.bench:evaluate_inpainting",
            bench_size=256,
            makes="photo3d",
            preset="nano",
            presets=("nano",),
            nano_weights="systems/photo_3d/inpainting.safetensors",
            official_weights="Farbrausch's own weights were never published",
            paper_title="One Shot 3D Photography",
            paper="https://arxiv.org/abs/2008.12298",
        ),
        Entry(
            name="omnivore-nano",
            title="Omnivore, nano",
            summary="image, clip or picture with depth to classes and to embeddings of one space",
            builder="kinema.systems.omnivore.pipeline:load",
            recipe="kinema.systems.omnivore.recipe:recipe",
            evaluator="kinema.vision.bench:evaluate",
            bench_size=2000,
            makes="classify",
            also=("embed", "search"),
            preset="nano",
            presets=("nano", "swin_t", "swin_s", "swin_b", "swin_l", "swin_b_epic"),
            nano_weights="systems/omnivore/nano.safetensors",
            room="omnivore",
            published=("swin_t", "swin_s", "swin_b", "swin_b_in21k", "swin_l_in21k", "swin_b_epic"),
            official_weights=_NOT_OURS.format(room="omnivore"),
            paper_title="Omnivore: A Single Model for Many Visual Modalities",
            paper="https://arxiv.org/abs/2201.08377",
        ),
        Entry(
            name="swag-nano",
            title="SWAG, nano",
            summary="picture to hashtags and to embeddings: a network that learned from hashtags alone",
            builder="kinema.systems.swag.pipeline:load",
            recipe="kinema.systems.swag.recipe:recipe",
            evaluator="kinema.vision.bench:evaluate",
            bench_size=2000,
            makes="classify",
            also=("embed", "search"),
            preset="nano",
            presets=("nano", "nano_vit", *_SWAG),
            nano_weights="systems/swag/nano.safetensors",
            room="swag",
            published=tuple(
                name + kind for name in _SWAG for kind in ("", "_in1k", "_in1k_tv", "_lc_in1k_tv")
            ),
            official_weights=_NOT_OURS.format(room="swag"),
            paper_title="Revisiting Weakly Supervised Pre-Training of Visual Perception Models",
            paper="https://arxiv.org/abs/2201.08371",
        ),
        Entry(
            name="maws-nano",
            title="MAWS, nano",
            summary="picture to hashtags and to embeddings: masked autoencoding first, hashtags afterwards",
            builder="kinema.systems.maws.pipeline:load",
            recipe="kinema.systems.maws.recipe:recipe",
            evaluator="kinema.vision.bench:evaluate",
            bench_size=2000,
            makes="classify",
            also=("embed", "search"),
            preset="nano",
            presets=("nano", *_MAWS),
            nano_weights="systems/maws/nano.safetensors",
            room="maws",
            published=(
                *(f"{size}_mae" for size in _MAWS),
                *(f"{size}_maws" for size in _MAWS),
                *("vit_b16_xlmr_b", "vit_l16_xlmr_l", "vit_h14_xlmr_l", "vit_2b14_xlmr_l"),  # with texts
                "vit_2b14_mae_in1k",
                "vit_l16_mae_in21k",
                *(f"{size}_ft_in1k_maws" for size in _MAWS),
                *(
                    f"mae_{kind}_vit_{size}"
                    for size in ("base", "large", "huge")
                    for kind in ("pretrain", "visualize")
                ),
            ),
            official_weights=_NOT_OURS.format(room="maws"),
            paper_title="The effectiveness of MAE pre-pretraining for billion-scale pretraining",
            paper="https://arxiv.org/abs/2303.13496",
        ),
        Entry(
            name="omnimae-nano",
            title="OmniMAE, nano",
            summary="image or clip to embeddings, learned by masking both; fills in what is masked",
            builder="kinema.systems.omnimae.pipeline:load",
            recipe="kinema.systems.omnimae.recipe:recipe",
            evaluator="kinema.vision.bench:evaluate",
            bench_size=2000,
            makes="embed",
            also=("search",),
            preset="nano",
            presets=("nano", *_SIZES),
            nano_weights="systems/omnimae/nano.safetensors",
            room="omnimae",
            published=tuple(
                f"{size}_{kind}" for size in _SIZES for kind in ("pretrain", "in1k_ft", "ssv2_ft")
            ),
            official_weights=_NOT_OURS.format(room="omnimae"),
            paper_title="OmniMAE: Single Model Masked Pretraining on Images and Videos",
            paper="https://arxiv.org/abs/2206.08356",
        ),
        Entry(
            name="early-conv-nano",
            aliases=("early_conv",),
            title="Early convolutions (ViT_C), nano",
            summary="picture to the kinds of things: a vision transformer behind small convolutions",
            builder="kinema.systems.early_conv.pipeline:load",
            recipe="kinema.systems.early_conv.recipe:recipe",
            evaluator="kinema.vision.bench:evaluate",
            bench_size=2000,
            makes="classify",
            also=("embed", "search"),
            preset="nano_c",
            presets=(
                "nano_p",
                "nano_c",
                *(f"vit_{stem}_{size}gf" for size in (1, 4, 16, 18, 36, 72) for stem in "pc"),
            ),
            nano_weights="systems/early_conv/nano.safetensors",
            room="early_conv",
            official_weights="the paper's own weights were never published",
            paper_title="Early Convolutions Help Transformers See Better",
            paper="https://arxiv.org/abs/2106.14881",
        ),
        Entry(
            name="wan-2.1",
            aliases=("wan",),
            title="Wan 2.1, text to video",
            summary="text to video with the open weights of Wan 2.1, from a folder of yours",
            builder="kinema.systems.movie_gen.video.wan.load:open_folder",
            recipe=None,
            evaluator=None,
            options=("compile", "offload", "cache"),
            preset="1.3b",
            presets=("1.3b", "14b"),
            nano_weights=None,
            official_weights=(
                "their owner offers them at https://huggingface.co/Wan-AI/Wan2.1-T2V-1.3B and Wan2.1-T2V-14B, each "
                "also with -Diffusers behind its name; download one and give its folder with --weights FOLDER"
            ),
            paper_title="Wan: Open and Advanced Large-Scale Video Generative Models",
            paper="https://arxiv.org/abs/2503.20314",
        ),
    ]
}


def find(name: str) -> Entry:
    """The entry of a model; an unknown name is a `UserError` that lists the closest ones."""
    return located(name)[0]


def located(name: str) -> tuple[Entry, str | None]:
    """The entry of a model, and of `ROOM/NAME` the published file: `swag/vit_b16` is SWAG's `vit_b16`.

    `swag`, `swag/nano` and `swag-nano` are all kinema's own small model.
    """
    if name in MODELS:
        return MODELS[name], None
    if f"{name}-nano" in MODELS:  # a system's own name means its smallest model
        return MODELS[f"{name}-nano"], None
    room, slash, published = name.partition("/")
    for entry in MODELS.values():
        if name in entry.aliases:
            return entry, None
        if slash and room == entry.room:
            return entry, _published(entry, published)
    raise UserError(f"there is no model '{name}'; {closest(name, MODELS)}. `kinema models` lists them all")


def _published(entry: Entry, published: str) -> str | None:
    if published == "nano":
        return None
    if published not in entry.published:
        known = [f"{entry.room}/{each}" for each in ("nano", *entry.published)]
        raise UserError(
            f"there is no model '{entry.room}/{published}'; {closest(f'{entry.room}/{published}', known)}. "
            f"`kinema info {entry.name}` lists them"
        )
    return published


def load(
    name: str, weights: str | Path = "nano", device: str = "cpu", download: bool = False, **options: Any
) -> Any:
    """Build a ready pipeline.

    Args:
        name: a name of the table, see `kinema models`.
        weights: `"nano"` for those inside the package, `"official"` for published ones, or a path: to a file, or to
            the folder that was downloaded where a model is published as one.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, or `"auto"` for the best that is there.
        download: allow `"official"` to fetch the file from its owner, where this is known; never without it.
        options: what this model's builder takes besides.

    Raises:
        UserError: the name, the weights or the device do not exist, or the file is damaged or does not fit.
    """
    entry, published = located(name)
    device = resolve_device(device)
    if published is not None:
        given = str(weights) not in ("nano", "official")
        # Without a file the room's own sentence says where this one is offered.
        return resolve(entry.builder)(Path(weights) if given else None, device, name=published, **options)
    path = resolve_weights(entry, weights, download)
    return resolve(entry.builder)(path, device, **options)


def resolve_weights(entry: Entry, weights: str | Path, download: bool = False) -> Path:
    """Turn `"nano"`, `"official"` or a path into what exists and whose header is sound. Imports no torch.

    With `download`, official weights that are not here yet are fetched, where the table says how.
    """
    if entry.nano_weights is None:
        if str(weights) in ("nano", "official"):
            raise UserError(f"the weights of {entry.name} are not inside kinema: {entry.official_weights}")
        path = Path(weights)
        check_weights_folder(path)
        return path
    if str(weights) == "official" and entry.official is not None:
        fetched: Path = resolve(entry.official)(download)
        return fetched
    if str(weights) == "official":
        raise UserError(f"{entry.official_weights}: use weights='nano', or a path to weights of your own")
    if str(weights) == "nano":
        nano = entry.nano_path
        if nano is None and entry.official is not None:
            raise UserError(
                f"this copy of kinema has no nano weights of {entry.name}: use --weights official --download to fetch "
                f"the published ones from their owner, or train some with `kinema train {entry.name} --out RUN` and "
                "pass the file with --weights FILE"
            )
        if nano is None:
            raise UserError(
                f"this copy of kinema lacks the nano weights of {entry.name}: install it again, or train them "
                f"with `kinema train {entry.name} --out RUN` and pass the file with --weights"
            )
        path = nano
    else:
        path = Path(weights)
        check_weights_path(path)
    if path.suffix == ".safetensors":
        read_header(path)
    return path


def resolve_device(device: str) -> str:
    """Check that a device is there; `"auto"` takes CUDA, then MPS, then the CPU."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise UserError(f"'{device}' is not a device: use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"this machine has {torch.cuda.device_count()} CUDA devices, so '{device}' is none of them: use cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("this machine has no MPS device: use cpu")
    return device


def resolve(path: str) -> Callable[..., Any]:
    """Import the function behind `module:function`."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """A phrase that names the known words most like `name`: "did you mean a, b or c?" without the guess being taken."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.0) if known else []
    if not near:
        return "nothing is known here"
    return "the closest are " + ", ".join(near) if len(near) > 1 else f"the closest is {near[0]}"


def describe(entry: Entry) -> dict[str, Any]:
    """What is known of a model without loading it: a plain table, ready for JSON. Imports no torch."""
    facts: dict[str, Any] = {
        "name": entry.name,
        "title": entry.title,
        "summary": entry.summary,
        "commands": list(entry.verbs),
        "presets": list(entry.presets),
        "paper": f"{entry.paper_title}, {entry.paper}",
        "code_licence": entry.code_licence,
        "weights_licence": entry.weights_licence,
        "official_weights": entry.official_weights,
        "published": [f"{entry.room}/{name}" for name in entry.published],
        "nano_weights": None,
    }
    if path := entry.nano_path:
        facts["nano_weights"] = {
            "hash": weights_hash(path),
            "mebibytes": round(path.stat().st_size / 2**20, 1),
            "parameters": read_header(path).num_parameters,
        }
    return facts
