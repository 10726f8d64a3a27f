"""What OmniMAE minimises: how much is dropped, replicas, both kinds of batches, reconstructions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinema.data.crops import random_flip, random_resized_crop
from kinema.data.preprocessing import Preprocessing
from kinema.errors import UserError
from kinema.nn import pixel_targets
from kinema.systems.omnimae.model import OmniMAEConfig, autoencoder
from kinema.systems.omnimae.objective import (
    draw_keep,
    is_clip_step,
    kept_tokens,
    masking_loss,
    reconstructed,
    reconstruction_loss,
    replicated,
)
from tests.shaken import draw, shaken

SMALL = OmniMAEConfig(
    dim=32, depth=2, num_heads=2, decoder_dim=32, decoder_depth=1, decoder_heads=2, patch=(2, 8, 8), frames=4,
    image_size=32,
)  # fmt: skip
PREPROCESSING = Preprocessing(size=32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_how_many_tokens_stay() -> None:
    assert [kept_tokens(n, m) for n, m in ((196, 0.9), (1568, 0.95), (196, 0.75), (4, 0.99), (8, 0.0))] == [
        20, 79, 49, 1, 8,
    ]  # fmt: skip
    with pytest.raises(UserError, match="below 1"):
        kept_tokens(196, 1.0)


def test_the_encoder_sees_a_tenth_of_images_and_a_twentieth_of_clips() -> None:
    model = autoencoder(SMALL)
    seen: list[int] = []
    model.encoder.blocks[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    masking_loss(model, draw(2, 3, 32, 32), seeded(), PREPROCESSING)
    masking_loss(model, draw(2, 3, 4, 32, 32), seeded(), PREPROCESSING)
    assert seen == [16 - 14, 32 - 30]


def test_the_loss_is_of_dropped_pixels_in_zero_to_one() -> None:
    model = shaken(autoencoder(SMALL))
    x, keep = draw(2, 3, 4, 32, 32), draw_keep(model, draw(2, 3, 4, 32, 32), 0.9, seeded())
    loss = reconstruction_loss(model, x, keep, PREPROCESSING)
    target = pixel_targets(PREPROCESSING.pixels(x), (2, 8, 8), "channel")
    error = (model(x, keep) - target).square().mean(2)
    dropped = torch.ones_like(error, dtype=torch.bool).scatter_(1, keep, False)
    torch.testing.assert_close(loss, error[dropped].mean())
    # A constant added to a colour changes no target.
    brighter = x + torch.tensor([0.5, -0.2, 0.1]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(
        pixel_targets(PREPROCESSING.pixels(brighter), (2, 8, 8), "channel"), target, atol=1e-3, rtol=1e-3
    )


def test_one_model_learns_both_kinds() -> None:
    torch.manual_seed(0)
    model = autoencoder(SMALL)
    image = torch.linspace(-2, 2, 32).expand(8, 3, 32, 32).contiguous()
    clip = torch.stack([image.roll(k, -1) for k in range(4)], 2)
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=5e-3), seeded()
    first, last = {}, {}
    for step in range(30):
        loss, logs = masking_loss(model, clip if step % 2 else image, generator, PREPROCESSING, masked=0.75)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, value in logs.items():
            first.setdefault(name, value.item())
            last[name] = value.item()
    assert first.keys() == {"masked_image", "masked_clip"}
    assert all(last[name] < 0.9 * first[name] for name in first)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 3, 4, 32, 32)])
def test_reconstructions_have_the_shape_of_what_came(shape: tuple[int, ...]) -> None:
    model = autoencoder(SMALL).eval()
    x = draw(*shape)
    seen = reconstructed(model, x, draw_keep(model, x, 0.5, seeded()), PREPROCESSING)
    assert seen.shape == shape
    assert 0 <= seen.min() <= seen.max() <= 1


def test_replicas_are_views_of_the_same_clip() -> None:
    clips = torch.arange(2.0).view(2, 1, 1, 1, 1).expand(2, 3, 4, 40, 48)

    def view(clip: Tensor, generator: torch.Generator) -> Tensor:
        return random_resized_crop(clip, 32, generator)

    views = replicated(clips, view, seeded(), replicas=3)
    assert views.shape == (6, 3, 4, 32, 32)
    assert views.flatten(1).mean(1).tolist() == pytest.approx([0, 0, 0, 1, 1, 1])
    ramp = torch.linspace(0, 1, 48).expand(1, 3, 4, 40, 48)
    different = replicated(ramp, view, seeded(), replicas=2)
    assert not torch.allclose(different[0], different[1])
    assert torch.equal(different, replicated(ramp, view, seeded(), replicas=2))
    torch.testing.assert_close(different[:, :, 0], different[:, :, 3])  # all frames alike
    with pytest.raises(UserError, match="at least 1"):
        replicated(clips, view, seeded(), replicas=0)


def test_crops_stay_inside_and_fall_back_to_the_middle() -> None:
    for seed in range(20):
        assert random_resized_crop(draw(3, 9, 40), 8, seeded(seed)).shape == (3, 8, 8)
    strip = torch.zeros(3, 2, 400)
    strip[:, :, 199:201] = 1
    torch.testing.assert_close(
        random_resized_crop(strip, 2, seeded(), scale=(0.9, 1.0)).mean(), torch.tensor(1.0), atol=0.35, rtol=0
    )
    flips = [random_flip(torch.arange(3.0)[None, None], seeded(s))[0, 0, 0].item() for s in range(40)]
    assert 8 < flips.count(2.0) < 32


def test_kinds_of_steps_are_drawn_by_share() -> None:
    drawn = [is_clip_step(step, 0.3, seed=5) for step in range(600)]
    assert drawn == [is_clip_step(step, 0.3, seed=5) for step in range(600)]
    assert sum(drawn) / 600 == pytest.approx(0.3, abs=0.06)
