"""Layers that more than one network is made of. Imports only torch."""

from kinema.nn.attention import MultiHeadAttention, attention, merge_heads, split_heads
from kinema.nn.drop_path import DropPath
from kinema.nn.initial import init_layers
from kinema.nn.masked_autoencoder import (
    MaskedAutoencoder,
    PixelDecoder,
    keep_of,
    masked_loss,
    masked_of,
    pixel_patches,
    pixel_targets,
    pixels_of,
    random_keep,
)
from kinema.nn.mel import MelSettings, log_mel, mel_spectrum, whisper_scale
from kinema.nn.mlp import GeluMLP, SwiGLU
from kinema.nn.modulation import LayerBias, SharedModulation, TimestepEmbedding, modulate
from kinema.nn.norms import RMSNorm, rms_normalize
from kinema.nn.patches import patchify, unpatchify
from kinema.nn.position_tables import GridPositions, resize_positions, sinusoid_line
from kinema.nn.positions import (
    FactorizedPositions,
    Rotary,
    apply_rotary,
    grow_table,
    rotary,
    sincos_1d,
    sincos_2d,
    sincos_3d,
    timestep_sinusoid,
    turn_pairs,
)
from kinema.nn.stems import ConvStem, Grid, PatchStem, Stem, TubeStem
from kinema.nn.vit import (
    Block,
    SelfAttention,
    VisionTransformer,
    init_transformer,
    transformer_blocks,
)

__all__ = [
    "Block",
    "ConvStem",
    "DropPath",
    "FactorizedPositions",
    "GeluMLP",
    "Grid",
    "GridPositions",
    "LayerBias",
    "MaskedAutoencoder",
    "MelSettings",
    "MultiHeadAttention",
    "PatchStem",
    "PixelDecoder",
    "RMSNorm",
    "Rotary",
    "SelfAttention",
    "SharedModulation",
    "Stem",
    "SwiGLU",
    "TimestepEmbedding",
    "TubeStem",
    "VisionTransformer",
    "apply_rotary",
    "attention",
    "grow_table",
    "init_layers",
    "init_transformer",
    "keep_of",
    "log_mel",
    "masked_loss",
    "masked_of",
    "mel_spectrum",
    "merge_heads",
    "modulate",
    "patchify",
    "pixel_patches",
    "pixel_targets",
    "pixels_of",
    "random_keep",
    "resize_positions",
    "rms_normalize",
    "rotary",
    "sincos_1d",
    "sincos_2d",
    "sincos_3d",
    "sinusoid_line",
    "split_heads",
    "timestep_sinusoid",
    "transformer_blocks",
    "turn_pairs",
    "unpatchify",
    "whisper_scale",
]
