"""Writes kaldi.safetensors: log-mel spectra by torchaudio's `compliance.kaldi.fbank`, recorded.

    pip download --no-deps torchaudio==2.11.0 && unzip -d torchaudio_wheel torchaudio-*.whl
    python tests/nn/make_kaldi.py torchaudio_wheel/torchaudio/compliance/kaldi.py

The file is loaded by its path: the package's own extension does not load beside every build of torch, and a torchaudio
that does not load keeps other libraries from loading. `fbank` needs nothing of it.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

FILE = Path(__file__).with_name("kaldi.safetensors")
COMMON = {"dither": 0.0, "sample_frequency": 16000.0, "htk_compat": True, "use_energy": False}
CASES = {
    "kaldi": {"num_mel_bins": 80, "window_type": "povey"},
    "imagebind": {"num_mel_bins": 128, "window_type": "hanning", "frame_length": 25.0, "frame_shift": 10.0},
    "whole": {"num_mel_bins": 40, "window_type": "hamming", "snip_edges": False, "high_freq": 7600.0},
    "magnitude": {
        "num_mel_bins": 23,
        "window_type": "rectangular",
        "use_power": False,
        "use_log_fbank": False,
    },
}


def main() -> None:
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    spec = importlib.util.spec_from_file_location("kaldi", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    kaldi = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kaldi)
    time = torch.arange(2000, dtype=torch.float64) / 16000
    generator = torch.Generator().manual_seed(3)
    # A rising tone in noise, and silence of more than a frame. Noise keeps every band above what float32 rounds off.
    sound = 0.4 * torch.sin(2 * torch.pi * (300 + 9000 * time) * time)
    sound += 0.1 * torch.randn(2000, generator=generator, dtype=torch.float64)
    sound[800:1400] = 0
    tensors = {"sound": sound.float()}
    for name, settings in CASES.items():
        tensors[name] = kaldi.fbank(sound.float()[None], **COMMON, **settings).T.contiguous()
    save_file(tensors, FILE, metadata={"made_by": "torchaudio 2.11.0, compliance.kaldi.fbank"})


if __name__ == "__main__":
    main()
