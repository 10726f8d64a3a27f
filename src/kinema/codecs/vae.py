"""The image autoencoder: a KL autoencoder in the layout and with the key names of Stable Diffusion 3."""

from __future__ import annotations

from kinema.codecs.codec import Codec
from kinema.codecs.config import ImageVAEConfig


class ImageVAE(Codec):
    """Encodes every frame on its own: pixels (B, 3, T, H, W) <-> latent (B, C, T, H/s, W/s)."""

    def __init__(self, config: ImageVAEConfig) -> None:
        super().__init__(config, None)
        self.config = config
