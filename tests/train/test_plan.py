"""The arithmetic of a plan, on blueprints small enough to count by hand."""

from __future__ import annotations

import dataclasses

import pytest

from kinema.errors import UserError
from kinema.train.plan import (
    DEVICES,
    USABLE,
    Blueprint,
    Device,
    Layout,
    PaperStage,
    Product,
    find_device,
    layouts,
    make_plan,
    memory,
    work,
)

DEVICE = Device(name="toy", title="toy", flops=1e12, memory=1e9, bandwidth=1e12, mfu=0.5)
BIG = Blueprint(layers=24, dim=1024, num_heads=16, hidden=4096, tokens=4096, context_tokens=64)


def test_work_by_hand():
    # One block, D=2, F=3, N=5 tokens, L=7 of context, and a map of 4 numbers to 2 on every token.
    first = Product(inputs=4, outputs=2, rows=5, first=True)
    b = Blueprint(layers=1, dim=2, num_heads=1, hidden=3, tokens=5, context_tokens=7, outside=(first,))
    linear = 2 * (4 * 5 + 2 * 5 + 2 * 7) * 4 + 2 * 3 * 5 * 2 * 3
    attention = 2 * 2 * 5 * (5 + 7) * 2
    outside = 2 * 5 * 4 * 2
    assert work(b).forward == linear + attention + outside
    assert (
        work(b).backward == 2 * linear + 2.5 * attention + outside
    )  # nothing wants the gradient of the input
    assert work(b).model == 3 * work(b).forward
    assert work(b, checkpointing=True).recomputed == linear + attention
    assert b.parameters == 8 * 4 + 3 * 2 * 3 + (4 * 2 + 2)


def test_a_model_without_context_has_no_cross_attention():
    plain = dataclasses.replace(BIG, context_tokens=0)
    assert BIG.block_matrices - plain.block_matrices == 4 * 1024**2
    assert work(BIG).forward > work(plain).forward


def test_every_shard_takes_its_share():
    whole = memory(BIG, Layout(), 1, DEVICE)
    cut = memory(BIG, Layout(fsdp=8), 1, DEVICE)
    for part in ("parameters", "gradients", "optimizer", "ema"):
        assert getattr(cut, part) == getattr(whole, part) / 8
    assert cut.activations == whole.activations
    assert whole.parameters == 4 * BIG.parameters
    assert whole.optimizer == 8 * BIG.parameters
    assert memory(BIG, Layout(), 1, DEVICE, ema=False).ema == 0
    # Context parallelism cuts all but the keys and values, tensor parallelism those too.
    split = {
        name: memory(BIG, Layout(**{name: 4}), 1, DEVICE).activations / whole.activations
        for name in ("tp", "cp")
    }
    assert 0.25 < split["tp"] < split["cp"] < 0.4
    assert memory(BIG, Layout(), 2, DEVICE).activations == pytest.approx(2 * whole.activations)


def test_checkpointing_trades_work_for_memory():
    kept, recomputed = (
        memory(BIG, Layout(), 1, DEVICE, checkpointing=on).activations for on in (False, True)
    )
    assert recomputed < kept / 5
    plain, again = work(BIG), work(BIG, checkpointing=True)
    assert again.executed - plain.executed == plain.forward  # this blueprint has nothing outside its blocks


@pytest.mark.parametrize("devices", [1, 6, 64])
def test_layouts_use_every_device_and_come_smallest_first(devices):
    found = list(layouts(BIG, devices))
    assert all(layout.devices == devices for layout in found)
    assert [layout.shards for layout in found] == sorted(layout.shards for layout in found)
    assert len({dataclasses.astuple(layout) for layout in found}) == len(found)
    assert all(16 % layout.tp == 0 and 4096 % (layout.tp * layout.cp) == 0 for layout in found)
    assert found[0] == Layout(replicas=devices)


def test_the_first_layout_that_fits_is_taken():
    roomy = dataclasses.replace(DEVICE, memory=1e12)
    assert make_plan(BIG, roomy, 64).layout == Layout(replicas=64)
    plan = make_plan(BIG, dataclasses.replace(DEVICE, memory=4e9), 64)
    assert plan.fits
    assert plan.checkpointing
    assert plan.layout.shards > 1
    smaller = [layout for layout in layouts(BIG, 64) if layout.shards < plan.layout.shards]
    assert smaller
    for layout in smaller:
        need = memory(BIG, layout, 1, plan.device, checkpointing=True).total
        assert need > USABLE * plan.device.memory
    nothing = make_plan(BIG, dataclasses.replace(DEVICE, memory=1e7), 4)
    assert not nothing.fits


def test_given_degrees_are_kept():
    plan = make_plan(BIG, DEVICES["h100"], 64, 3, tp=2, cp=4, fsdp=2, checkpointing=False)
    assert plan.layout == Layout(tp=2, cp=4, fsdp=2, replicas=4)
    assert plan.global_batch == 3 * 8
    assert not plan.checkpointing


def test_time_is_work_over_speed():
    fast = dataclasses.replace(DEVICE, bandwidth=None, memory=1e13)
    one = make_plan(BIG, fast, 1, 2)
    assert one.step_seconds == pytest.approx(2 * work(BIG).model / (1e12 * 0.5))
    assert make_plan(BIG, fast, 8, 2).step_seconds == pytest.approx(one.step_seconds)  # a batch for each
    assert make_plan(BIG, fast, 1, 2, mfu=0.25).step_seconds == pytest.approx(2 * one.step_seconds)
    assert one.days(86_400) == pytest.approx(one.step_seconds)
    again = make_plan(BIG, fast, 1, 2, checkpointing=True)
    assert 1.32 < again.step_seconds / one.step_seconds < 1.34
    slow = make_plan(BIG, dataclasses.replace(fast, bandwidth=1e9), 1, 2)
    assert slow.step_seconds - one.step_seconds == pytest.approx(40 * BIG.parameters / 1e9)


def test_a_papers_stage_counts_batch_and_samples():
    stage = PaperStage(
        name="a", blueprint=BIG, devices=64, tp=4, cp=2, batch=3, learning_rate=1e-4, iterations=1000, printed_batch=24,
        printed_samples=24_000,
    )  # fmt: skip
    assert (stage.global_batch, stage.samples) == (24, 24_000)
    assert stage.plan(DEVICES["h100"]).layout == Layout(tp=4, cp=2, fsdp=8)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"devices": 0}, "--devices is 0"),
        ({"batch": 0}, "--batch-size is 0"),
        ({"mfu": 0.0}, "--mfu is 0 and must lie"),
        ({"mfu": 1.5}, "--mfu is 1.5"),
        ({"mfu": float("nan")}, "--mfu is nan"),
        ({"tp": 3, "devices": 6}, "TP must divide 16 heads"),
        ({"fsdp": 4, "devices": 6}, "cannot be cut into TP any x CP any x FSDP 4"),
    ],
)
def test_what_cannot_be_is_explained(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        make_plan(BIG, DEVICE, **settings)


def test_the_table_of_devices():
    with pytest.raises(UserError, match="no device 'h1000' in the table; the closest are h100"):
        find_device("h1000")
    assert find_device("h100").flops == 989e12
    for name, device in DEVICES.items():
        assert device.name == name
        assert 1e14 < device.flops < 3e15
        assert 2e10 < device.memory < 2e11 < device.bandwidth
    machine = find_device("cpu")
    assert machine.flops > 1e9
    assert machine.memory > 1e9
