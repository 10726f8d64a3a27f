"""The networks of an upsampler, and the one file that holds them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinema.errors import UserError
from kinema.systems.movie_gen.upsampler.finish import Finish
from kinema.systems.movie_gen.upsampler.frames import FrameCodec
from kinema.systems.movie_gen.upsampler.model import Upsampler, UpsamplerConfig
from kinema.weights import check_schema, fill_networks, read_weights, save_networks

SCHEMA = 1
METADATA_KEY = "kinema.movie_gen_upsampler"


@dataclass
class UpsamplerParts:
    """Frame-wise codec, transformer, and the last layers of decoding."""

    codec: FrameCodec
    upsampler: Upsampler
    finish: Finish

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Name -> network, in the order in which they are stored."""
        return {"codec": self.codec, "upsampler": self.upsampler, "finish": self.finish}

    def to(self, device: str | torch.device) -> UpsamplerParts:
        """Move all networks."""
        for module in self.modules.values():
            module.to(device)
        return self

    def freeze(self) -> UpsamplerParts:
        """Ready to sample: eval mode, no gradients."""
        for module in self.modules.values():
            module.eval().requires_grad_(False)
        return self


def save_parts(parts: UpsamplerParts, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one file; numbers are stored as `dtype`."""
    settings = {
        "schema": SCHEMA,
        "codec": {"stride": parts.codec.stride, "channels": parts.codec.channels},
        "upsampler": parts.upsampler.config.to_dict(),
        "finish": {"width": parts.finish.width, "depth": parts.finish.depth},
    }
    save_networks(parts.modules, path, METADATA_KEY, settings, dtype)


def load_parts(path: str | Path) -> UpsamplerParts:
    """Read what `save_parts` wrote; parameters are float32.

    Raises:
        UserError: the file is missing, damaged, of a newer schema, or no model of this kind.
    """
    state, metadata = read_weights(path)
    name = Path(path).name
    try:
        settings: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        check_schema(settings, SCHEMA, path)
        parts = UpsamplerParts(
            FrameCodec(**settings["codec"]),
            Upsampler(UpsamplerConfig.from_dict(settings["upsampler"])),
            Finish(**settings["finish"]),
        )
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"'{name}' is no upsampler of kinema, or its description is damaged: take a file that "
            "`kinema train movie-gen-upsampler` wrote"
        ) from error
    fill_networks(parts.modules, state, path)
    return parts
