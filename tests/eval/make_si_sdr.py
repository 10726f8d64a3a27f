"""Writes si_sdr.safetensors: the scale-invariant signal-to-distortion ratio by fast_bss_eval, recorded.

pip install --no-deps fast-bss-eval==0.1.4
python tests/eval/make_si_sdr.py
"""

from pathlib import Path

import fast_bss_eval
import torch
from safetensors.torch import save_file

FILE = Path(__file__).with_name("si_sdr.safetensors")


def main() -> None:
    generator = torch.Generator().manual_seed(5)
    reference = torch.randn(4, 500, generator=generator)
    noise = torch.randn(4, 500, generator=generator)
    gains = torch.tensor([[0.0316], [0.3], [1.0], [10.0]])
    estimate = torch.tensor([[1.0], [0.5], [-2.0], [1.0]]) * reference + gains * noise + 0.2
    found = {}
    for mean, name in ((True, "zero_mean"), (False, "as_is")):
        found[name] = torch.stack(
            [
                fast_bss_eval.si_sdr(a[None].double(), b[None].double(), zero_mean=mean)[0]
                for a, b in zip(reference, estimate)
            ]
        )
    save_file(
        {"reference": reference, "estimate": estimate, **found},
        FILE,
        metadata={"made_by": "fast_bss_eval 0.1.4, si_sdr"},
    )


if __name__ == "__main__":
    main()
