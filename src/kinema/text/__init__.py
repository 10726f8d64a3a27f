"""Prompts into token states: tokenisers and text encoders."""

from kinema.text.byt5 import byte_ids, load_byt5, quoted_ids, quoted_words
from kinema.text.clip import CLIP_PRESETS, ClipTextConfig, ClipTextEncoder, load_clip, stretch_positions
from kinema.text.encoder import TextEncoder
from kinema.text.states import TextStates
from kinema.text.t5 import T5_PRESETS, T5Config, T5Encoder, load_t5
from kinema.text.tokens import TokenIds, TokenizerFile
from kinema.text.xlmr import XLMR_PRESETS, XlmrConfig, XlmrEncoder, load_xlmr

__all__ = [
    "CLIP_PRESETS",
    "T5_PRESETS",
    "XLMR_PRESETS",
    "ClipTextConfig",
    "ClipTextEncoder",
    "T5Config",
    "T5Encoder",
    "TextEncoder",
    "TextStates",
    "TokenIds",
    "TokenizerFile",
    "XlmrConfig",
    "XlmrEncoder",
    "byte_ids",
    "load_byt5",
    "load_clip",
    "load_t5",
    "load_xlmr",
    "quoted_ids",
    "quoted_words",
    "stretch_positions",
]
