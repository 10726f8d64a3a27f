"""Writes condot.safetensors: the path, the velocity and the loss of facebookresearch's `flow_matching`, recorded.

    pip install flow_matching==1.0.10      # CC BY-NC, so no dependency of kinema
    python tests/flow/make_condot.py

Its CondOTProbPath is the straight path with sigma_min = 0; the loss is what its examples write: the mean squared error
to the velocity, here of the prediction sin(x). Noise is drawn with seed 7, so that the test can draw it too.
"""

from pathlib import Path

import torch
from flow_matching.path import CondOTProbPath
from safetensors.torch import save_file

FILE = Path(__file__).with_name("condot.safetensors")
SHAPE = (4, 2, 3, 2, 2)


def main() -> None:
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(SHAPE, generator=generator)
    data = torch.randn(SHAPE, generator=torch.Generator().manual_seed(8))
    t = torch.tensor([0.0, 0.25, 0.7, 1.0])
    sample = CondOTProbPath().sample(x_0=noise, x_1=data, t=t)
    loss = torch.nn.MSELoss()(sample.x_t.sin(), sample.dx_t)
    save_file(
        {"noise": noise, "data": data, "t": t, "x": sample.x_t, "velocity": sample.dx_t, "loss": loss[None]},
        FILE,
        metadata={"made_by": "flow_matching 1.0.10, CondOTProbPath"},
    )


if __name__ == "__main__":
    main()
