"""Movie Gen Video as `kinema plan` sees it: its blueprint at a size of clip, and the paper's stages of 30B."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.codecs.config import TAE_PRESETS
from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import TransformerConfig, preset
from kinema.text.nano import NanoTextConfig
from kinema.train.plan import Blueprint, PaperStage, Product, Subject

TEXT_TOKENS = (
    512,
    256,
    100,
)  # UL2, MetaCLIP, ByT5: lengths of an open re-implementation, the paper prints none
CLIP = (256, 576, 1024)  # frames, height, width of the paper's 768 px class
TITLE = "Movie Gen Video"

# Stage, size of sample, GPUs, TP, CP, batch per GPU, learning rate, iterations, and what is printed: global batch,
# samples.
_STAGES = (
    ("T2I 256", (1, 256, 256), 1536, 1, 1, 6, 1e-4, 210e3, 9216, 1.94e9),
    ("T2I/V 256 a", (256, 256, 256), 3072, 4, 1, 2, 6e-5, 113e3, 1536, 173.6e6),
    ("T2I/V 256 b", (256, 256, 256), 6144, 4, 1, 2, 6e-5, 72e3, 3072, 221.2e6),
    ("T2I/V 768 a", CLIP, 6144, 4, 1, 1, 6e-5, 19.6e3, 1536, 30.1e6),
    ("T2I/V 768 b", CLIP, 6144, 4, 1, 1, 3e-5, 11e3, 1536, 16.9e6),
    ("T2I/V 768 c", CLIP, 6144, 4, 2, 1, 2e-5, 15.9e3, 768, 12.2e6),
    ("T2I/V 768 d", CLIP, 4096, 4, 2, 1, 1e-5, 28e3, 512, 14.6e6),
)
_MISPRINT = "the table prints 123k iterations; its own samples and total need 113k"


def codec_strides(name: str) -> tuple[int, int, int]:
    """Pixels of a latent cell along (time, height, width), for a preset of the transformer."""
    codec = TAE_PRESETS["nano" if name == "nano" else "movie_gen"]
    return codec.temporal_stride, codec.image.spatial_stride, codec.image.spatial_stride


def latent_grid(
    config: TransformerConfig, strides: Sequence[int], size: Sequence[int]
) -> tuple[int, int, int]:
    """The latent of a clip of `size` = (frames, height, width); UserError where codec or model cannot take it."""
    for label, pixels, stride, patch, reach in zip(
        ("--num-frames", "--height", "--width"), size, strides, config.patch, config.grid, strict=True
    ):
        most, multiple = stride * reach, stride * patch
        if not 1 <= pixels <= most:
            raise UserError(f"{label} is {pixels} and must lie between 1 and {most} for this preset")
        if label != "--num-frames" and pixels % multiple:
            near = max(round(pixels / multiple), 1) * multiple
            raise UserError(f"{label} is {pixels} and must be a multiple of {multiple}: try {near}")
    time, height, width = (-(-pixels // stride) for pixels, stride in zip(size, strides, strict=True))
    return time, height, width


def blueprint(config: TransformerConfig, grid: Sequence[int], text_tokens: Sequence[int]) -> Blueprint:
    """The network over a latent of `grid` = (T, H, W) cells, under `text_tokens` states of each encoder."""
    time, height, width = config.tokens(grid)
    tokens, dim = time * height * width, config.dim
    head_norms = 4 * (dim // config.num_heads) if config.qk_norm else 0
    norms = (3 if config.cross_norm else 2) * dim
    steering = [
        Product(inputs=config.freq_dim, outputs=dim, rows=1, first=True),  # timestep
        Product(inputs=dim, outputs=dim, rows=1),
        Product(inputs=dim, outputs=6 * dim, rows=1),  # the modulation that all layers share
    ]
    if config.modulation_mlp:
        steering.append(Product(inputs=dim, outputs=dim, rows=1))
    if config.final_projection:
        steering.append(Product(inputs=dim, outputs=2 * dim, rows=1))
    text = tuple(
        Product(inputs=states, outputs=dim, rows=length, bias=False, first=True)
        for states, length in zip(config.text_dims, text_tokens, strict=True)
    )
    return Blueprint(
        layers=config.depth,
        dim=dim,
        num_heads=config.num_heads,
        hidden=config.hidden,
        tokens=tokens,
        context_tokens=sum(text_tokens),
        qk_norm=config.qk_norm,
        cross_norm=config.cross_norm,
        block_vectors=6 * dim + norms + head_norms,
        outside=(
            Product(inputs=config.patch_dim, outputs=dim, rows=tokens, first=True),
            *steering,
            *text,
            Product(inputs=dim, outputs=config.patch_dim, rows=tokens),
        ),
        # Position tables, the text's LayerNorms, the last layer's norm and its table of shift and scale.
        vectors=sum(config.tokens(config.grid)) * dim + 2 * dim * len(config.text_dims) + 3 * dim,
        latent_values=tokens * config.patch_dim,
        text_values=sum(
            states * length for states, length in zip(config.text_dims, text_tokens, strict=True)
        ),
    )


def planner(
    size: str, num_frames: int | None = None, height: int | None = None, width: int | None = None
) -> Subject:
    """The preset `size` over clips of these pixels; what is left out is the preset's own clip."""
    config, strides = preset(size), codec_strides(size)
    nano = size == "nano"
    own = tuple(s * g for s, g in zip(strides, config.grid, strict=True)) if nano else CLIP
    asked = tuple(
        usual if given is None else given
        for given, usual in zip((num_frames, height, width), own, strict=True)
    )
    lengths = (NanoTextConfig().max_tokens,) if nano else TEXT_TOKENS
    drawn = blueprint(config, latent_grid(config, strides, asked), lengths)
    notes = ["latents and text states are counted as precomputed: codec and text encoders are not in memory"]
    if not nano:
        notes.append(f"text lengths {'/'.join(map(str, lengths))} are a choice: the paper prints none")
    if size == "30b":
        notes.append(f"T2I/V 256 a: {_MISPRINT}")
    return Subject(
        title=f"{TITLE} {size}",
        sample=f"{asked[0]} frames of {asked[1]}x{asked[2]} (height x width)",
        blueprint=drawn,
        stages=paper_stages(config, strides) if size == "30b" else (),
        notes=tuple(notes),
    )


def paper_stages(config: TransformerConfig, strides: Sequence[int]) -> tuple[PaperStage, ...]:
    """The paper's table of pretraining stages of the 30B model."""
    return tuple(
        PaperStage(
            name=name,
            blueprint=blueprint(config, latent_grid(config, strides, size), TEXT_TOKENS),
            devices=devices,
            tp=tp,
            cp=cp,
            batch=batch,
            learning_rate=learning_rate,
            iterations=iterations,
            printed_batch=printed_batch,
            printed_samples=samples,
            note=_MISPRINT if name.endswith("256 a") else "",
        )
        for name, size, devices, tp, cp, batch, learning_rate, iterations, printed_batch, samples in _STAGES
    )
