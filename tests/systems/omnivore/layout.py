"""Names and shapes in Omnivore's published checkpoints, as the official classes give them (see make_omnivore.py)."""

from __future__ import annotations

from kinema.systems.omnivore.model import OmnivoreConfig

Layout = dict[str, tuple[int, ...]]


def published_layout(config: OmnivoreConfig) -> Layout:
    """A whole file with its two tables joined by a dot."""
    frames, rows, columns = config.window
    offsets = (2 * frames - 1) * (2 * rows - 1) * (2 * columns - 1)
    tokens, first, last = frames * rows * columns, config.dim, config.dim * 2 ** (len(config.depths) - 1)
    layout: Layout = {}

    def pair(name: str, weight: tuple[int, ...], bias: int) -> None:
        layout[f"{name}.weight"], layout[f"{name}.bias"] = weight, (bias,)

    for name, channels in (("patch_embed", 3), *([("depth_patch_embed", 1)] if config.depth_input else [])):
        pair(f"trunk.{name}.proj", (first, channels, *config.patch), first)
        pair(f"trunk.{name}.norm", (first,), first)
    for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        dim = first * 2**stage
        for number in range(depth):
            block = f"trunk.layers.{stage}.blocks.{number}"
            pair(f"{block}.norm1", (dim,), dim)
            layout[f"{block}.attn.relative_position_bias_table"] = (offsets, heads)
            layout[f"{block}.attn.relative_position_index"] = (tokens, tokens)
            pair(f"{block}.attn.qkv", (3 * dim, dim), 3 * dim)
            pair(f"{block}.attn.proj", (dim, dim), dim)
            pair(f"{block}.norm2", (dim,), dim)
            pair(f"{block}.mlp.fc1", (4 * dim, dim), 4 * dim)
            pair(f"{block}.mlp.fc2", (dim, 4 * dim), dim)
        if stage < len(config.depths) - 1:
            pair(f"trunk.layers.{stage}.downsample.norm", (4 * dim,), 4 * dim)
            layout[f"trunk.layers.{stage}.downsample.reduction.weight"] = (2 * dim, 4 * dim)
    pair("trunk.norm", (last,), last)
    alone = len(config.heads) == 1
    for head in config.heads:
        name = "heads.1" if alone else f"heads.{head.kind}" + (".1" if head.dropout else "")
        pair(name, (head.classes, last), head.classes)
    return layout
