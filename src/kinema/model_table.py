"""The one table of models: what each is, where its parts stand, which weights there are and under which terms.

Rows are plain data and import nothing; `kinema.hub` turns a name into a ready system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
