"""Writes sam_block.safetensors: two DiT blocks of facebookresearch/sam-audio at random weights, recorded.

    git clone https://github.com/facebookresearch/sam-audio        # SAM License, so no dependency of kinema
    python tests/systems/movie_gen/audio/make_sam_block.py PATH/TO/sam-audio

Only sam_audio/model/transformer.py and rope.py are run; the packages that their settings file imports are left out.
Gates, scales and norms are set off their start, since zeros hide errors.
"""

import importlib
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file

FILE = Path(__file__).with_name("sam_block.safetensors")
DIM, HEADS, FRAMES, TOKENS = 16, 4, 7, 5


def sam_audio(path: Path) -> types.ModuleType:
    for name in ("sam_audio", "sam_audio.model"):  # packages without their __init__, which imports everything
        package = types.ModuleType(name)
        package.__path__ = [str(path / name.replace(".", "/"))]
        sys.modules[name] = package
    settings = types.ModuleType("sam_audio.model.config")
    settings.TransformerConfig = object
    sys.modules["sam_audio.model.config"] = settings
    return importlib.import_module("sam_audio.model.transformer")


def main() -> None:
    module = sam_audio(Path(sys.argv[1]))
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    rope = module.RotaryEmbedding(theta=20000, head_dim=DIM // HEADS, max_seqlen=16)
    rope.reset_parameters()
    x, text, steer = drawn(2, FRAMES, DIM), drawn(2, TOKENS, DIM), 0.5 * drawn(2, 6 * DIM)
    mask = torch.tensor([[True] * TOKENS, [True] * 3 + [False] * 2])
    out = {"x": x, "text": text, "steer": steer, "mask": mask}
    hidden = x
    for layer in range(2):
        block = module.DiTBlock(
            dim=DIM, n_heads=HEADS, qk_norm=True, ffn_exp=4, ffn_dim_multiplier=1, multiple_of=8,
            non_linearity="swiglu",
        ).eval()  # fmt: skip
        with torch.no_grad():
            for name, parameter in block.named_parameters():
                new = drawn(*parameter.shape) * DIM**-0.5
                parameter.copy_(1 + new if "norm" in name else new)
            hidden = block(hidden, text, steer, None, mask, rope)
        out |= {f"block.{layer}.{name}": value for name, value in block.state_dict().items()}
        out[f"y.{layer}"] = hidden
    out = {name: value.detach().contiguous() for name, value in out.items()}
    save_file(out, FILE, metadata={"made_by": "facebookresearch/sam-audio 68b48d48, DiTBlock"})


if __name__ == "__main__":
    main()
