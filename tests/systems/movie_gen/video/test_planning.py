"""Plans of Movie Gen Video against the network itself, and against the paper's table."""

from __future__ import annotations

import pytest
import torch

from kinema.errors import UserError
from kinema.systems.movie_gen.video.model import PRESETS, MovieGenTransformer, TransformerConfig, preset
from kinema.systems.movie_gen.video.planning import blueprint, planner
from kinema.text.states import TextStates
from kinema.train.flops import count_flops
from kinema.train.optim import build_optimizers
from kinema.train.plan import DEVICES, Blueprint, Device, Layout, activations, make_plan, memory, work

EAGER = Device(  # float32 on a CPU
    name="eager", title="eager", flops=1e12, memory=1e12, bandwidth=None, compute_bytes=4, fused_norms=False
)
SMALL = {
    "nano": (preset("nano", depth=2), (4, 8, 8), (48,)),
    "plain": (
        TransformerConfig(
            dim=64, depth=2, num_heads=4, hidden=160, latent_channels=8, text_dims=(24, 12), grid=(4, 16, 16)
        ),
        (4, 12, 16),
        (20, 5),
    ),
    "normed": (
        TransformerConfig(
            dim=48, depth=3, num_heads=2, hidden=96, latent_channels=4, text_dims=(16,), grid=(8, 8, 8),
            patch=(2, 2, 2), qk_norm=True, cross_norm=True, modulation_mlp=True, final_projection=True,
        ),
        (8, 8, 8),
        (12,),
    ),
}  # fmt: skip
Case = tuple[MovieGenTransformer, tuple[torch.Tensor, torch.Tensor, list[TextStates]], Blueprint]


@pytest.fixture(params=SMALL)
def case(request: pytest.FixtureRequest) -> Case:
    """A small network, two samples for it, and its blueprint."""
    config, grid, lengths = SMALL[request.param]
    torch.manual_seed(0)
    latent = torch.randn(2, config.latent_channels, *grid)
    text = [
        TextStates(torch.randn(2, length, width), torch.ones(2, length, dtype=torch.bool))
        for length, width in zip(lengths, config.text_dims, strict=True)
    ]
    return (
        MovieGenTransformer(config),
        (latent, torch.rand(2), text),
        blueprint(config, grid, lengths),
    )


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_network(name: str) -> None:
    with torch.device("meta"):
        counted = sum(p.numel() for p in MovieGenTransformer(preset(name)).parameters())
    assert planner(name).blueprint.parameters == counted


def test_parameters_of_every_option(case: Case) -> None:
    model, _, drawn = case
    assert drawn.parameters == sum(p.numel() for p in model.parameters())
    assert drawn.block_parameters == sum(p.numel() for p in model.blocks[0].parameters())


def test_work_is_what_torch_counts(case: Case) -> None:
    model, inputs, drawn = case
    with torch.no_grad(), count_flops() as forward:
        model(*inputs)
    assert forward.total == pytest.approx(2 * work(drawn).forward, rel=0.02)
    with count_flops() as step:
        model(*inputs).square().mean().backward()
    assert step.total == pytest.approx(2 * work(drawn).executed, rel=0.02)
    model.checkpoint_blocks()
    with count_flops() as recomputing:
        model(*inputs).square().mean().backward()
    assert recomputing.total == pytest.approx(2 * work(drawn, checkpointing=True).executed, rel=0.02)
    assert recomputing.total > 1.2 * step.total


def kept_bytes(
    model: MovieGenTransformer, inputs: tuple[torch.Tensor, torch.Tensor, list[TextStates]]
) -> int:
    """Bytes of the storages that autograd holds after a forward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}  # keeps the storages, so that no address comes twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = (model(*inputs) - inputs[0]).square().mean()
    total = sum(storage.nbytes() for storage in held.values())
    loss.backward()
    return total


def test_memory_is_what_autograd_and_the_optimiser_hold(case: Case) -> None:
    model, inputs, drawn = case
    need = memory(drawn, Layout(), 2, EAGER)
    assert kept_bytes(model, inputs) == pytest.approx(need.activations, rel=0.25)
    parameters = list(model.parameters())
    assert sum(p.nbytes for p in parameters) == need.parameters
    assert sum(p.grad.nbytes for p in parameters if p.grad is not None) == need.gradients
    [optimizer] = build_optimizers(model, fused=False)
    optimizer.step()
    state = [value for each in optimizer.state.values() for value in each.values()]
    counters = len(parameters) * 4  # one step counter a tensor, which a plan leaves out
    assert sum(value.nbytes for value in state) - counters == need.optimizer


def test_checkpointing_keeps_a_blocks_input(case: Case) -> None:
    model, inputs, drawn = case
    plain = kept_bytes(model, inputs)
    model.checkpoint_blocks()
    kept = kept_bytes(model, inputs)
    # What a recomputed block holds in full comes later, in the backward pass.
    foreseen = activations(drawn, Layout(), 2, EAGER, checkpointing=True)
    one_block = activations(drawn, Layout(), 2, EAGER, checkpointing=False) / (model.config.depth + 0.5)
    assert kept < 0.6 * plain
    assert kept == pytest.approx(foreseen - one_block, rel=0.4)


def test_a_full_clip_is_73728_tokens() -> None:
    assert planner("30b").blueprint.tokens == 73_728
    assert planner("30b", 256, 768, 768).blueprint.tokens == 73_728
    assert planner("30b", 1, 256, 256).blueprint.tokens == 256
    assert planner("nano").blueprint.tokens == 4 * 8 * 8


def test_the_papers_table_comes_out() -> None:
    stages = planner("30b").stages
    assert len(stages) == 7
    for stage in stages:
        assert stage.global_batch == stage.printed_batch, stage.name
        assert stage.samples == pytest.approx(stage.printed_samples, rel=0.02), stage.name
        assert stage.plan(DEVICES["h100"]).fits, stage.name
    low, high = stages[1:3], stages[3:]
    assert sum(stage.samples for stage in low) == pytest.approx(394.8e6, rel=0.001)
    assert sum(stage.iterations for stage in low) == 185_000
    assert sum(stage.samples for stage in high) == pytest.approx(73.8e6, rel=0.005)
    assert sum(stage.iterations for stage in high) == 74_500
    assert not planner("5b").stages


def test_30b_needs_the_papers_tensor_parallelism() -> None:
    plan = make_plan(planner("30b").blueprint, DEVICES["h100"], 6144)
    assert plan.fits
    assert plan.checkpointing
    assert (plan.layout.tp, plan.layout.cp) == (4, 1)
    assert plan.global_batch == 1536


@pytest.mark.parametrize(
    ("size", "clip", "sentence"),
    [
        ("30b", (256, 570, 1024), "--height is 570 and must be a multiple of 16: try 576"),
        ("30b", (256, 576, 2000), "--width is 2000 and must lie between 1 and 1024"),
        ("30b", (257, 576, 1024), "--num-frames is 257 and must lie between 1 and 256"),
        ("30b", (0, 576, 1024), "--num-frames is 0"),
        ("nano", (16, 128, 64), "--height is 128 and must lie between 1 and 64"),
        ("nano", (16, 64, 4), "--width is 4 and must be a multiple of 8: try 8"),
        ("31b", (16, 64, 64), "no preset '31b'"),
    ],
)
def test_clips_that_cannot_be_are_explained(size: str, clip: tuple[int, int, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        planner(size, *clip)
