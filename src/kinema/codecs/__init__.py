"""Pixels into latents and back: autoencoders, their losses, tiling."""

from kinema.codecs.checkpoint import from_settings, load_codec, load_diffusers, save_codec, to_settings
from kinema.codecs.codec import Codec, Posterior, Reconstruction, linear_init_
from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.latents import LatentSpec
from kinema.codecs.tae import TemporalAutoencoder, inflate
from kinema.codecs.tiling import Tiling, decode_stream, decode_tiled, encode_tiled
from kinema.codecs.vae import ImageVAE

__all__ = [
    "Codec",
    "ImageVAE",
    "ImageVAEConfig",
    "LatentSpec",
    "Posterior",
    "Reconstruction",
    "TAEConfig",
    "TemporalAutoencoder",
    "Tiling",
    "decode_stream",
    "decode_tiled",
    "encode_tiled",
    "from_settings",
    "inflate",
    "linear_init_",
    "load_codec",
    "load_diffusers",
    "save_codec",
    "to_settings",
]
