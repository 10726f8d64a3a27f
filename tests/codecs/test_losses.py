from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.codecs import Posterior, losses


def test_kl_equals_that_of_torch_distributions():
    mean, logvar = torch.randn(2, 3, 1, 4, 4), torch.randn(2, 3, 1, 4, 4)
    normal = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    wanted = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    assert torch.allclose(losses.kl(Posterior(mean, logvar)), wanted, atol=1e-6)
    assert losses.kl(Posterior(torch.zeros(1, 1), torch.zeros(1, 1))) == 0


def test_samples_have_the_posterior_moments():
    posterior = Posterior(torch.full((1, 1, 1, 300, 300), 2.0), torch.full((1, 1, 1, 300, 300), -1.0))
    draws = posterior.sample(torch.Generator().manual_seed(1))
    assert abs(draws.mean().item() - 2.0) < 0.01
    assert abs(draws.var().item() - torch.tensor(-1.0).exp().item()) < 0.01
    assert torch.equal(draws, posterior.sample(torch.Generator().manual_seed(1)))


def test_outlier_penalty_by_hand():
    """One frame of 16 places and two channels: 15 places at zero, one at (16, 16).

    Mean 1 a channel; variance (15 * 1 + 15^2) / 16 = 15 a channel, so ||Std|| = sqrt(30). The outlier is
    sqrt(2) * 15 from the mean, every other place sqrt(2): only the outlier passes 3 sqrt(30) = 16.43.
    """
    latent = torch.zeros(1, 2, 1, 4, 4)
    latent[0, :, 0, 1, 2] = 16.0
    by_hand = (2**0.5 * 15 - 3 * 30**0.5) / 16
    assert losses.outlier_penalty(latent).item() == pytest.approx(by_hand, rel=1e-5)
    assert losses.outlier_penalty(latent, radius=4.0) == 0


def test_outlier_penalty_is_per_frame_not_per_clip():
    latent = torch.zeros(1, 2, 2, 4, 4)
    latent[0, :, 0, 1, 2] = 16.0
    latent[0, :, 1] = torch.randn(2, 4, 4) * 100  # a loud second frame must not hide the first one's outlier
    alone = losses.outlier_penalty(latent[:, :, :1])
    assert losses.outlier_penalty(latent).item() == pytest.approx(alone.item() / 2, rel=1e-5)


def test_outlier_penalty_has_gradients_and_survives_a_constant_frame():
    latent = torch.zeros(1, 2, 1, 4, 4, requires_grad=True)
    loss = losses.outlier_penalty(latent)
    loss.backward()
    assert latent.grad is not None
    assert latent.grad.isfinite().all()
    spiked = torch.zeros(1, 2, 1, 4, 4)
    spiked[0, :, 0, 1, 2] = 16.0
    spiked.requires_grad_()
    losses.outlier_penalty(spiked).backward()
    assert spiked.grad is not None
    assert (spiked.grad[0, :, 0, 1, 2] > 0).all()  # descent pulls the outlier in


def test_charbonnier_is_between_squared_and_absolute_error():
    target = torch.zeros(1000)
    far, near = torch.full((1000,), 0.5), torch.full((1000,), 1e-4)
    assert losses.charbonnier(far, target).item() == pytest.approx(losses.l1(far, target).item(), abs=0.01)
    assert losses.charbonnier(near, target).item() == pytest.approx(0.5 * 1e-8 / 1e-2, rel=1e-2)


def test_built_in_perceptual_loss_sees_blur_and_not_brightness():
    sharp = (torch.rand(1, 3, 2, 32, 32) > 0.5).float()
    blurred = torch.nn.functional.avg_pool3d(sharp, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)
    assert losses.perceptual(sharp, sharp) == 0
    assert losses.perceptual(sharp + 0.3, sharp).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.perceptual(blurred, sharp) > 0.1


def test_perceptual_loss_takes_a_feature_network():
    network = nn.Conv2d(3, 4, 3)
    output = torch.rand(2, 3, 2, 8, 8, requires_grad=True)
    target = torch.rand(2, 3, 2, 8, 8)
    loss = losses.perceptual(output, target, lambda frames: [frames, network(frames)])
    loss.backward()
    assert loss > 0
    assert output.grad is not None
    assert output.grad.abs().max() > 0
    assert losses.perceptual(target, target, lambda frames: [network(frames)]) == 0


def test_hinge_losses_at_known_scores():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 1.0])
    assert losses.hinge_discriminator(real, fake).item() == pytest.approx(0.5 * (0.5 + 1.0))
    assert losses.hinge_generator(fake).item() == pytest.approx(0.5)


def test_discriminator_learns_to_tell_noise_from_flat_frames():
    network = losses.PatchDiscriminator(8)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(15):
        real, fake = torch.zeros(4, 3, 32, 32) + torch.rand(4, 3, 1, 1), torch.rand(4, 3, 32, 32)
        loss = losses.hinge_discriminator(network(real), network(fake))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert network(real).shape == (4, 1, 4, 4)
    assert network(real).mean() > network(fake).mean() + 0.5


def test_adaptive_weight_equalises_the_gradients():
    layer = nn.Linear(4, 4)
    out = layer(torch.randn(8, 4))
    reconstruction, adversarial = 10 * out.square().mean(), out.mean()
    weight = losses.adaptive_weight(reconstruction, adversarial, layer.weight)
    (first,) = torch.autograd.grad(reconstruction, layer.weight, retain_graph=True)
    (second,) = torch.autograd.grad(weight * adversarial, layer.weight)
    assert second.norm().item() == pytest.approx(first.norm().item(), rel=1e-2)
    assert not weight.requires_grad
