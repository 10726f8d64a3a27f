"""Pixels and sound into latents and back: autoencoders, their losses, tiling."""

from kinema.codecs.checkpoint import from_settings, load_codec, save_codec, to_settings
from kinema.codecs.codec import Codec, Posterior, Reconstruction, linear_init_
from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.dac_config import DacVAEConfig
from kinema.codecs.dac_vae import DacVAE, SoundReconstruction
from kinema.codecs.dac_weights import load_dacvae, read_dacvae
from kinema.codecs.latents import LatentSpec
from kinema.codecs.published import image_config, load_diffusers, read_image_vae
from kinema.codecs.tae import TemporalAutoencoder, inflate
from kinema.codecs.tiling import Tiling, decode_stream, decode_tiled, encode_stream, encode_tiled
from kinema.codecs.vae import ImageVAE
from kinema.codecs.wan_layers import Memory
from kinema.codecs.wan_vae import WanVAE, WanVAEConfig
from kinema.codecs.wan_weights import load_wan, read_wan_vae

__all__ = [
    "Codec",
    "DacVAE",
    "DacVAEConfig",
    "ImageVAE",
    "ImageVAEConfig",
    "LatentSpec",
    "Memory",
    "Posterior",
    "Reconstruction",
    "SoundReconstruction",
    "TAEConfig",
    "TemporalAutoencoder",
    "Tiling",
    "WanVAE",
    "WanVAEConfig",
    "decode_stream",
    "decode_tiled",
    "encode_stream",
    "encode_tiled",
    "from_settings",
    "image_config",
    "inflate",
    "linear_init_",
    "load_codec",
    "load_dacvae",
    "load_diffusers",
    "load_wan",
    "read_dacvae",
    "read_image_vae",
    "read_wan_vae",
    "save_codec",
    "to_settings",
]
