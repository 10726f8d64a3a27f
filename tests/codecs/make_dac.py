"""Writes dac.safetensors and dacvae_layout.json: what the Descript Audio Codec and Meta's DAC-VAE compute, recorded.

    pip download --no-deps descript-audio-codec==1.0.0 && unzip -d descript descript_audio_codec-*.whl
    git clone https://github.com/facebookresearch/dacvae      # commit 414c207
    python -m tests.codecs.make_dac descript dacvae

Both need descript-audiotools, which asks for versions that do not install beside ours. Of it the networks use two
names only, and these stand in for it here: the base class, and the spectrum of `AudioSignal` with `match_stride`,
rewritten from audiotools 0.7.2. Weights and inputs are by formula.
"""

import importlib
import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.codecs.formula import formula_weights, uniform

HERE = Path(__file__).parent
FULL = {
    "encoder_dim": 64, "encoder_rates": [2, 8, 10, 12], "latent_dim": 1024, "decoder_dim": 1536,
    "decoder_rates": [12, 10, 8, 2], "n_codebooks": 16, "codebook_size": 1024, "codebook_dim": 128,
    "sample_rate": 48000,
}  # fmt: skip  # of sam-audio's DACVAEConfig
TINY = {
    "encoder_dim": 4, "encoder_rates": [2, 4], "latent_dim": 16, "decoder_dim": 48, "decoder_rates": [4, 2],
    "codebook_dim": 4, "sample_rate": 48000,
}  # fmt: skip


class AudioSignal:
    """The spectrum that the discriminators take."""

    def __init__(self, audio_data: Tensor, sample_rate: int, stft_params: dict | None = None) -> None:
        self.audio_data, self.params = audio_data, stft_params

    def stft(self) -> Tensor:
        window, hop = self.params["window_length"], self.params["hop_length"]
        length = self.audio_data.shape[-1]
        right, pad = math.ceil(length / hop) * hop - length, (window - hop) // 2
        padded = F.pad(self.audio_data, (pad, pad + right), "reflect")[:, 0]
        out = torch.stft(padded, window, hop, window=torch.hann_window(window), return_complex=True)
        return out[:, None, :, 2:-2]


def stand_ins() -> None:
    audiotools, ml = ModuleType("audiotools"), ModuleType("audiotools.ml")
    ml.BaseModel = type("BaseModel", (nn.Module,), {"INTERN": [], "EXTERN": []})
    audiotools.ml, audiotools.AudioSignal, audiotools.STFTParams = ml, AudioSignal, dict
    sys.modules |= {"audiotools": audiotools, "audiotools.ml": ml}


def package(name: str, root: Path) -> None:
    """A package whose own __init__ files are not run, and whose `base` holds an empty mix-in."""
    for part in (name, f"{name}.model", f"{name}.nn"):
        module = ModuleType(part)
        module.__path__ = [str(root / part.replace(".", "/"))]
        sys.modules[part] = module
    base = ModuleType(f"{name}.model.base")
    base.CodecMixin = type("CodecMixin", (), {"get_delay": lambda self: 0})
    sys.modules[base.__name__] = base


def fill(module: nn.Module, only: str = "") -> nn.Module:
    """Weights by formula, of the tensors whose name fits `only`."""
    state = module.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if re.match(only, name)}
    module.load_state_dict({**state, **formula_weights(shapes)})
    return module.eval()


def noise(name: str, *shape: int) -> Tensor:
    return uniform(name, shape).float()


@torch.no_grad()
def descript(root: Path) -> dict[str, Tensor]:
    package("dac", root)
    dac = importlib.import_module("dac.model.dac")
    judge = importlib.import_module("dac.model.discriminator")
    out = {
        "descript.encoded": fill(dac.Encoder(4, [2, 8, 10, 12], 16))(noise("sound", 1, 1, 3840)),
        "descript.decoded": fill(dac.Decoder(16, 64, [12, 10, 8, 2]))(noise("trunk", 1, 16, 2)),
    }
    sound = noise("judged", 2, 1, 4001)
    for name, module in (("period", judge.MPD(3)), ("band", judge.MRD(512, sample_rate=48000))):
        maps = fill(module)(sound)
        out[f"descript.{name}.scores"] = maps[-1]
        out[f"descript.{name}.means"] = torch.stack([layer.mean() for layer in maps])
    whole = judge.Discriminator(periods=[2], fft_sizes=[], sample_rate=48000)
    out["descript.preprocessed"] = whole.preprocess(noise("loud", 2, 1, 50) + 0.3)
    return out


@torch.no_grad()
def meta(root: Path) -> dict[str, Tensor]:
    package("dacvae", root)
    dacvae = importlib.import_module("dacvae.model.dacvae")
    with torch.device("meta"):
        published = dacvae.DACVAE(**FULL)
    layout = {name: list(value.shape) for name, value in published.state_dict().items()}
    (HERE / "dacvae_layout.json").write_text(json.dumps(layout, indent=0) + "\n")
    tiny = fill(dacvae.DACVAE(**TINY))
    mean, scale = tiny.quantizer.in_proj(tiny.encoder(tiny._pad(noise("clip", 2, 1, 123)))).chunk(2, dim=1)
    trunk = tiny.quantizer.out_proj(mean)
    for layer in tiny.decoder.model:
        trunk = layer(trunk)
    clean = tiny.decoder.wm_model.encoder_block.forward_no_conv(trunk)
    # The watermark's widths are fixed, so it is recorded on a decoder of published widths and short strides.
    wide = dacvae.Decoder(8, 1536, [2, 2, 2, 2], [8, 5, 4, 2])
    wide.model[0] = nn.Identity()
    fill(wide, r"wm_model|model\.\d\.block\.(3|6|7|11)\.")  # the other layers do not run
    finest, message = noise("finest", 2, 96, 640), (noise("message", 2, 16) > 0).float()
    return {
        "dacvae.mean": mean,
        "dacvae.std": F.softplus(scale) + 1e-4,
        "dacvae.decoded": clean,
        "dacvae.message": message,
        "dacvae.clean": wide.wm_model.encoder_block.forward_no_conv(finest),
        "dacvae.marked": wide.watermark(finest, message),
    }


def main() -> None:
    stand_ins()
    recorded = descript(Path(sys.argv[1])) | meta(Path(sys.argv[2]))
    made_by = "descript-audio-codec 1.0.0; facebookresearch/dacvae 414c207"
    save_file(
        {name: value.contiguous() for name, value in recorded.items()},
        HERE / "dac.safetensors",
        metadata={"made_by": made_by},
    )


if __name__ == "__main__":
    main()
