"""What one device holds at the fullest moment of a training step, by how the devices share the work. Sizes in bytes."""

# N tokens, L context tokens, D width, F inner width of the feed-forward network; all per sample

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from kinema.train.plan.blueprint import Blueprint
from kinema.train.plan.devices import FLOAT, Device


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the devices share the work: `tp` and `cp` cut one sample, `fsdp` cuts the state, `replicas` repeat that."""

    tp: int = 1
    cp: int = 1
    fsdp: int = 1
    replicas: int = 1

    @property
    def devices(self) -> int:
        return self.tp * self.cp * self.fsdp * self.replicas

    @property
    def shards(self) -> int:
        """Devices that one whole copy of the state needs."""
        return self.tp * self.cp * self.fsdp

    @property
    def data_parallel(self) -> int:
        """Groups of devices that each take samples of their own."""
        return self.fsdp * self.replicas

    def __str__(self) -> str:
        shares = f"FSDP {self.fsdp}" if self.fsdp > 1 else "DDP" if self.replicas > 1 else "one copy"
        copies = f" x {self.replicas} replicas" if self.replicas > 1 else ""
        cut = f"TP {self.tp} x CP {self.cp} x " if self.tp * self.cp > 1 else ""
        return f"{cut}{shares}{copies}"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device at the fullest moment of a step.

    Attributes:
        activations: what the forward pass keeps for the backward pass.
        working: gradients on their way through one block, weights that are gathered or cast, buckets.
        inputs: latents, noise and text states of the batch.
    """

    parameters: int
    gradients: int
    optimizer: int
    ema: int
    activations: int
    working: int
    inputs: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def saved_in_block(blueprint: Blueprint, layout: Layout, batch: int, device: Device) -> float:
    """Bytes that one block keeps for its backward pass, all N x N scores only where the device writes them out."""
    b, narrow = blueprint, device.compute_bytes
    half = narrow < FLOAT
    cut = layout.tp * layout.cp
    stream = b.tokens * b.dim / cut
    context = b.context_tokens * b.dim / layout.tp
    # Self-attention: its input, q, what it gives, the way out; keys and values of the whole clip. Then the
    # feed-forward network: its input and what it gives.
    kept = 6 * stream + 2 * b.tokens * b.dim / layout.tp
    kept += 2 * (b.ffn_matrices - 1) * b.tokens * b.hidden / cut
    normalised = 0.0  # numbers that go through q and k norms
    if b.context_tokens:
        kept += 3 * stream + 2 * context  # the input, q, what it gives; keys and values
    if b.qk_norm:
        normalised = 2 * stream + (stream + context if b.context_tokens else 0)
    wide = 2 * stream * (2 if device.fused_norms else 1)
    if b.cross_norm:
        wide += stream * (2 if device.fused_norms else 1)
    scores = 2.0  # softmax statistics; where attention is written out, the scores in float32 and cast
    for keys in (b.tokens, b.context_tokens):
        if keys <= device.explicit_keys:
            scores += keys * (FLOAT + narrow) / FLOAT
    scores *= b.num_heads * b.tokens / cut
    size = narrow * kept + FLOAT * (wide + normalised + scores) + (narrow * normalised if half else 0)
    return batch * size


def activations(
    blueprint: Blueprint, layout: Layout, batch: int, device: Device, checkpointing: bool
) -> float:
    """Bytes that a forward pass keeps; with checkpointing, each block's input and one block in full."""
    b, narrow = blueprint, device.compute_bytes
    cut = layout.tp * layout.cp
    stream = batch * b.tokens * b.dim / cut
    block = saved_in_block(b, layout, batch, device)
    blocks = b.layers * stream * FLOAT + block if checkpointing else b.layers * block
    ends = stream * (FLOAT * (2 if device.fused_norms else 1) + narrow)  # the last norm and its modulation
    ends += batch * b.latent_values / layout.cp * (narrow + 2 * FLOAT)  # patches, prediction, error
    context = batch * b.context_tokens * b.dim * 2 * narrow  # before and after the text's own norm
    return blocks + ends + context + batch * b.text_values * narrow


def memory(
    blueprint: Blueprint,
    layout: Layout,
    batch: int,
    device: Device,
    *,
    checkpointing: bool = False,
    ema: bool = True,
) -> Memory:
    """Bytes on each device for `batch` samples a group, with AdamW, float32 state and sequence-parallel TP."""
    b, narrow = blueprint, device.compute_bytes
    whole = b.layers * (math.ceil(b.block_matrices / layout.tp) + b.block_vectors) + b.outside_parameters
    own = math.ceil(whole / layout.fsdp)  # parameters whose state lives here
    block = b.block_matrices / layout.tp + b.block_vectors
    working = 0.0
    if layout.fsdp > 1:  # this block and the next one gathered, the rest all the time, one block's gradient
        working += narrow * (2 * block + b.outside_parameters) + (narrow + FLOAT) * block
    else:
        working += (narrow if narrow < FLOAT else 0) * whole  # weights cast to the compute type
        working += FLOAT * whole if layout.replicas > 1 else 0  # buckets of the all-reduce
    cut = layout.tp * layout.cp
    widest = max(b.ffn_matrices * b.hidden, 4 * b.dim)
    working += batch * b.tokens / cut * (narrow * widest + 2 * FLOAT * b.dim)
    return Memory(
        parameters=FLOAT * own,
        gradients=FLOAT * own,
        optimizer=2 * FLOAT * own,
        ema=FLOAT * own if ema else 0,
        activations=round(activations(b, layout, batch, device, checkpointing)),
        working=round(working),
        inputs=batch * FLOAT * (4 * b.latent_values + b.text_values),
    )
