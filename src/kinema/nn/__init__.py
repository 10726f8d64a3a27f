"""Layers that more than one network is made of. Imports only torch."""

from kinema.nn.attention import MultiHeadAttention, attention, merge_heads, split_heads
from kinema.nn.initial import init_layers
from kinema.nn.mel import MelSettings, log_mel, mel_spectrum, whisper_scale
from kinema.nn.mlp import GeluMLP, SwiGLU
from kinema.nn.modulation import LayerBias, SharedModulation, TimestepEmbedding, modulate
from kinema.nn.norms import RMSNorm, rms_normalize
from kinema.nn.patches import patchify, unpatchify
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

__all__ = [
    "FactorizedPositions",
    "GeluMLP",
    "LayerBias",
    "MelSettings",
    "MultiHeadAttention",
    "RMSNorm",
    "Rotary",
    "SharedModulation",
    "SwiGLU",
    "TimestepEmbedding",
    "apply_rotary",
    "attention",
    "grow_table",
    "init_layers",
    "log_mel",
    "mel_spectrum",
    "merge_heads",
    "modulate",
    "patchify",
    "rms_normalize",
    "rotary",
    "sincos_1d",
    "sincos_2d",
    "sincos_3d",
    "split_heads",
    "timestep_sinusoid",
    "turn_pairs",
    "unpatchify",
    "whisper_scale",
]
