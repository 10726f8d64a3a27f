"""Names and shapes in SWAG's own files, as the official classes give them (see make_swag.py)."""

from __future__ import annotations

from kinema.nn.regnet import regnet_stages
from kinema.systems.swag.model import Config, RegNetConfig, ViTConfig

Layout = dict[str, tuple[int, ...]]


def published_layout(config: Config) -> Layout:
    return _regnet(config) if isinstance(config, RegNetConfig) else _vit(config)


def _norm(layout: Layout, name: str, width: int) -> None:
    for end in ("weight", "bias", "running_mean", "running_var"):
        layout[f"{name}.{end}"] = (width,)
    layout[f"{name}.num_batches_tracked"] = ()


def _linear(layout: Layout, name: str, *shape: int) -> None:
    layout[f"{name}.weight"], layout[f"{name}.bias"] = shape, (shape[0],)


def _regnet(config: RegNetConfig) -> Layout:
    layout: Layout = {"stem.stem.0.weight": (config.stem, 3, 3, 3)}
    _norm(layout, "stem.stem.1", config.stem)
    before = config.stem
    widths, depths = regnet_stages(
        config.depth, config.initial, config.slope, config.step, config.group_width
    )
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        for number in range(depth):
            block = f"trunk_output.block{stage}.block{stage}-{number}"
            if number == 0:
                layout[f"{block}.proj.weight"] = (width, before, 1, 1)
                _norm(layout, f"{block}.bn", width)
            layout[f"{block}.f.a.0.weight"] = (width, before, 1, 1)
            _norm(layout, f"{block}.f.a.1", width)
            layout[f"{block}.f.b.0.weight"] = (width, min(config.group_width, width), 3, 3)
            _norm(layout, f"{block}.f.b.1", width)
            squeezed = round(before / 4)
            _linear(layout, f"{block}.f.se.excitation.0", squeezed, width, 1, 1)
            _linear(layout, f"{block}.f.se.excitation.2", width, squeezed, 1, 1)
            layout[f"{block}.f.c.weight"] = (width, width, 1, 1)
            _norm(layout, f"{block}.f.final_bn", width)
            before = width
    if config.num_classes:
        _linear(layout, "head.fc", config.num_classes, before)
    return layout


def _vit(config: ViTConfig) -> Layout:
    dim, tokens = config.dim, 1 + config.grid[1] * config.grid[2]
    layout: Layout = {"class_token": (1, 1, dim), "encoder.pos_embedding": (tokens, 1, dim)}
    _linear(layout, "conv_proj", dim, 3, config.patch, config.patch)
    for number in range(config.depth):
        block = f"encoder.layers.layer_{number}"
        _linear(layout, f"{block}.ln_1", dim)
        layout[f"{block}.self_attention.in_proj_weight"] = (3 * dim, dim)
        layout[f"{block}.self_attention.in_proj_bias"] = (3 * dim,)
        _linear(layout, f"{block}.self_attention.out_proj", dim, dim)
        _linear(layout, f"{block}.ln_2", dim)
        _linear(layout, f"{block}.mlp.linear_1", 4 * dim, dim)
        _linear(layout, f"{block}.mlp.linear_2", dim, 4 * dim)
    _linear(layout, "encoder.ln", dim)
    if config.num_classes:
        _linear(layout, "head.layers.head", config.num_classes, dim)
    return layout
