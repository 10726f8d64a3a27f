"""Pixels into latents and back: autoencoders, their losses, tiling."""

from kinema.codecs.codec import Codec, Posterior, Reconstruction, linear_init_
from kinema.codecs.config import ImageVAEConfig, TAEConfig
from kinema.codecs.latents import LatentSpec
from kinema.codecs.tae import TemporalAutoencoder, inflate
from kinema.codecs.vae import ImageVAE

__all__ = [
    "Codec", "ImageVAE", "ImageVAEConfig", "LatentSpec", "Posterior", "Reconstruction", "TAEConfig",
    "TemporalAutoencoder", "inflate", "linear_init_",
]  # fmt: skip
