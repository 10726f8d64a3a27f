"""The temporal autoencoder of Movie Gen (section on the TAE): an image autoencoder inflated along time.

After every spatial convolution comes a temporal one, after spatial attention temporal attention; frames are
halved by temporal convolutions of stride 2 and doubled by repetition and a convolution. All of it is
symmetric in time with replicate padding, so any length can be encoded: t = ceil(T / stride), and decoded
frames beyond T are spurious and discarded. An image is a clip of one frame.
"""

from __future__ import annotations

import torch

from kinema.codecs.codec import Codec
from kinema.codecs.config import TAEConfig
from kinema.codecs.vae import ImageVAE
from kinema.errors import UserError


class TemporalAutoencoder(Codec):
    """Pixels (B, 3, T, H, W) <-> latent (B, C, ceil(T/st), H/s, W/s)."""

    def __init__(self, config: TAEConfig) -> None:
        super().__init__(config.image, config)
        self.config = config


@torch.no_grad()
def inflate(image_vae: ImageVAE, config: TAEConfig) -> TemporalAutoencoder:
    """A temporal autoencoder that starts as `image_vae`.

    Temporal kernels start at their centre tap and temporal attention at zero. At temporal stride 1 every
    frame is coded as the image autoencoder codes it; at stride s the latent holds frames 0, s, 2s, ... and
    each of them is decoded s times.
    """
    if config.image != image_vae.config:
        raise UserError(
            "the temporal autoencoder's image settings differ from those of the image autoencoder it shall"
            " start from: pass TAEConfig(image=image_vae.config, ...)"
        )
    tae = TemporalAutoencoder(config)
    own = tae.state_dict()
    for name, value in image_vae.state_dict().items():
        if not name.startswith("linear."):
            own[name].copy_(value)
    if tae.linear is not None and image_vae.linear is not None:
        tae.linear.inflate(image_vae.linear)
    return tae
