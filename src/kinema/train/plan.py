"""What a run would cost, before it: arithmetic, memory and time of a transformer, in closed form.

Nothing here runs a network. A room describes its own with a `Blueprint`; everything else is counted from that.
Sizes are bytes, work is floating-point operations (2 per multiply-add).
"""

# N tokens, L context tokens, D width, F inner width of the feed-forward network; all per sample

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

from kinema.errors import UserError

FLOAT: Final = 4  # bytes of parameters, gradients, optimiser state, EMA and the residual stream
USABLE: Final = (
    0.94  # share of a device's memory that a run can fill: the rest is context, buffers, fragments
)
MAX_TP: Final = 8  # tensor parallelism stays inside one machine


@dataclass(frozen=True, kw_only=True)
class Product:
    """A linear map outside the blocks, applied to `rows` rows of a sample.

    first: what comes in wants no gradient, so the backward pass is one product and not two.
    """

    inputs: int
    outputs: int
    rows: int
    bias: bool = True
    first: bool = False

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inputs * self.outputs


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A transformer and one sample of it: equal blocks of self-attention, cross-attention and feed-forward.

    Attributes:
        context_tokens: what cross-attention looks at; 0 is a model without cross-attention.
        ffn_matrices: 3 for SwiGLU, 2 for a plain two-layer network.
        qk_norm, cross_norm: the block normalises queries and keys; it has a norm before cross-attention.
        block_vectors: parameters of a block that are in no matrix (norms, tables).
        outside: the linear maps before and after the blocks.
        vectors: parameters outside the blocks that are in no matrix.
        latent_values, text_values: numbers in a sample and in its text states, as the loss gets them.
    """

    layers: int
    dim: int
    num_heads: int
    hidden: int
    tokens: int
    context_tokens: int = 0
    ffn_matrices: int = 3
    qk_norm: bool = False
    cross_norm: bool = False
    block_vectors: int = 0
    outside: tuple[Product, ...] = ()
    vectors: int = 0
    latent_values: int = 0
    text_values: int = 0

    @property
    def block_matrices(self) -> int:
        """Parameters of a block's matrices: 4 D^2 self, 4 D^2 cross, and the feed-forward network."""
        attentions = 2 if self.context_tokens else 1
        return 4 * attentions * self.dim**2 + self.ffn_matrices * self.dim * self.hidden

    @property
    def block_parameters(self) -> int:
        return self.block_matrices + self.block_vectors

    @property
    def outside_parameters(self) -> int:
        return sum(product.parameters for product in self.outside) + self.vectors

    @property
    def parameters(self) -> int:
        return self.layers * self.block_parameters + self.outside_parameters


@dataclass(frozen=True, kw_only=True)
class Work:
    """Floating-point operations of one sample as they are executed.

    backward counts the scores that fused attention computes a second time; recomputed is what activation
    checkpointing adds.
    """

    forward: int
    backward: int
    recomputed: int

    @property
    def executed(self) -> int:
        return self.forward + self.backward + self.recomputed

    @property
    def model(self) -> int:
        """Three forward passes: what the field calls the model's FLOPs of a training step."""
        return 3 * self.forward


def work(blueprint: Blueprint, checkpointing: bool = False) -> Work:
    """The arithmetic of one sample, forward and backward."""
    b = blueprint
    square, tokens, context = b.dim**2, b.tokens, b.context_tokens
    linear = 8 * tokens * square + 2 * b.ffn_matrices * tokens * b.dim * b.hidden
    attention = 4 * tokens**2 * b.dim
    if context:
        linear += 4 * (tokens + context) * square  # queries and the way out; keys and values
        attention += 4 * tokens * context * b.dim
    outside = sum(product.flops for product in b.outside)
    unwanted = sum(product.flops for product in b.outside if product.first)
    blocks = b.layers * (linear + attention)
    backward = b.layers * (2 * linear + attention * 5 // 2) + 2 * outside - unwanted
    return Work(forward=blocks + outside, backward=backward, recomputed=blocks if checkpointing else 0)


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator. `flops` is its dense peak in the compute type, `mfu` the share that a plan counts on."""

    name: str
    title: str
    flops: float
    memory: float  # bytes
    bandwidth: float | None  # bytes a second; None: not known
    compute_bytes: int = 2  # bfloat16
    mfu: float = 0.4
    fused_norms: bool = True  # the norms keep what they read beside what they give
    explicit_keys: int = 0  # attention over so many keys or fewer keeps its scores


# Published figures: dense bfloat16 (half of what is printed "with sparsity"), SXM or OAM boards. NVIDIA's data sheets
# of A100 80GB, H100, H200, DGX B200 (an eighth of it), L40S and L4; the Ada GPU architecture paper (RTX 4090, float32
# accumulation); AMD's data sheet of the Instinct MI300X.
_PUBLISHED: Final = (
    ("a100", "NVIDIA A100 80GB SXM", 312e12, 80e9, 2039e9),
    ("h100", "NVIDIA H100 SXM", 989e12, 80e9, 3350e9),
    ("h200", "NVIDIA H200 SXM", 989e12, 141e9, 4800e9),
    ("b200", "NVIDIA B200 SXM", 2250e12, 180e9, 8000e9),
    ("l40s", "NVIDIA L40S", 362e12, 48e9, 864e9),
    ("l4", "NVIDIA L4", 121e12, 24e9, 300e9),
    ("rtx4090", "NVIDIA GeForce RTX 4090", 165.2e12, 24e9, 1008e9),
    ("mi300x", "AMD Instinct MI300X", 1307.4e12, 192e9, 5300e9),
)
DEVICES: Final[dict[str, Device]] = {
    name: Device(name=name, title=title, flops=flops, memory=memory, bandwidth=bandwidth)
    for name, title, flops, memory, bandwidth in _PUBLISHED
}


def find_device(name: str) -> Device:
    """A device of the table, or `cpu`: this machine, measured. UserError with the closest names otherwise."""
    if name == "cpu":
        return this_machine()
    if name not in DEVICES:
        near = difflib.get_close_matches(name, [*DEVICES, "cpu"], n=3, cutoff=0.0)
        raise UserError(f"there is no device '{name}' in the table; the closest are {', '.join(near)}")
    return DEVICES[name]


def this_machine() -> Device:
    """The processor that this runs on: its own matrix product is the peak. Imports torch and takes a second."""
    import torch

    from kinema.nn.attention import EXPLICIT_KEYS
    from kinema.train.flops import matmul_ceiling
    from kinema.train.precision import cpu_has_bfloat16

    half = cpu_has_bfloat16()
    peak = matmul_ceiling(torch.device("cpu"), torch.bfloat16 if half else torch.float32)
    try:
        memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        memory = math.inf
    return Device(
        name="cpu",
        title=f"this machine's processor, {torch.get_num_threads()} threads, "
        f"{'bfloat16' if half else 'float32'}, measured",
        flops=peak,
        memory=memory,
        bandwidth=None,
        compute_bytes=2 if half else FLOAT,
        mfu=0.2 if half else 0.6,
        fused_norms=False,
        explicit_keys=EXPLICIT_KEYS if half else 0,
    )


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


def layouts(
    blueprint: Blueprint,
    devices: int,
    tp: int | None = None,
    cp: int | None = None,
    fsdp: int | None = None,
) -> Iterator[Layout]:
    """Every layout of `devices` that the model can be cut into, fewest shards first; given degrees stay as given."""
    found = []
    for t in [tp] if tp else [d for d in _divisors(devices) if d <= MAX_TP]:
        if blueprint.num_heads % t or blueprint.hidden % t or devices % t:
            continue
        for c in [cp] if cp else _divisors(devices // t):
            if blueprint.tokens % (t * c) or devices % (t * c):
                continue
            rest = devices // (t * c)
            for f in [fsdp] if fsdp else _divisors(rest):
                if rest % f == 0:
                    found.append(Layout(tp=t, cp=c, fsdp=f, replicas=rest // f))
    yield from sorted(found, key=lambda layout: (layout.shards, layout.tp * layout.cp, layout.cp))


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout, what it needs and how long it takes."""

    blueprint: Blueprint
    device: Device
    layout: Layout
    batch: int  # samples of one data-parallel group
    checkpointing: bool
    memory: Memory
    mfu: float

    @property
    def fits(self) -> bool:
        return self.memory.total <= USABLE * self.device.memory

    @property
    def global_batch(self) -> int:
        return self.batch * self.layout.data_parallel

    @property
    def work(self) -> Work:
        return work(self.blueprint, self.checkpointing)

    @property
    def step_seconds(self) -> float:
        """Model FLOPs at the given utilisation, recomputation at the same rate, the optimiser's pass over memory."""
        flops = (self.work.model + self.work.recomputed) * self.global_batch
        products = flops / (self.layout.devices * self.device.flops * self.mfu)
        if self.device.bandwidth is None:
            return products
        # AdamW reads weight, gradient and two moments and writes three of them; the EMA is read and written.
        passes = 7 + (3 if self.memory.ema else 0)
        return products + self.memory.parameters * passes / self.device.bandwidth

    def days(self, steps: float) -> float:
        return steps * self.step_seconds / 86_400


def make_plan(
    blueprint: Blueprint,
    device: Device,
    devices: int = 1,
    batch: int = 1,
    *,
    checkpointing: bool | None = None,
    mfu: float | None = None,
    ema: bool = True,
    tp: int | None = None,
    cp: int | None = None,
    fsdp: int | None = None,
) -> Plan:
    """The layout with the fewest shards that fits; if none does, the one that needs the least memory.

    checkpointing: None takes it only where no layout without TP and CP fits otherwise.

    Raises:
        UserError: counts below 1, a utilisation that is none, or degrees that do not divide what they must.
    """
    for name, count in (("devices", devices), ("batch-size", batch), ("tp", tp), ("cp", cp), ("fsdp", fsdp)):
        if count is not None and not 1 <= count <= 10_000_000:
            raise UserError(f"--{name} is {count} and must be a whole number from 1 to 10,000,000")
    rate = device.mfu if mfu is None else mfu
    if not 0 < rate <= 1:
        raise UserError(f"--mfu is {rate:g} and must lie above 0 and at most 1")
    candidates = list(layouts(blueprint, devices, tp, cp, fsdp))
    if not candidates:
        raise UserError(
            f"--devices {devices} cannot be cut into TP {tp or 'any'} x CP {cp or 'any'} x FSDP {fsdp or 'any'}: "
            f"TP must divide {blueprint.num_heads} heads and {blueprint.hidden} hidden units, TP x CP the "
            f"{blueprint.tokens} tokens, and all of them the devices"
        )
    plain = [layout for layout in candidates if layout.tp * layout.cp == 1]
    tries: list[tuple[bool, Sequence[Layout]]]
    if checkpointing is None:
        tries = [(False, candidates if tp or cp else plain), (True, candidates)]
    else:
        tries = [(checkpointing, candidates)]
    made: list[Plan] = []
    for recompute, group in tries:
        for layout in group:
            need = memory(blueprint, layout, batch, device, checkpointing=recompute, ema=ema)
            plan = Plan(
                blueprint=blueprint, device=device, layout=layout, batch=batch, checkpointing=recompute,
                memory=need, mfu=rate,
            )  # fmt: skip
            if plan.fits:
                return plan
            made.append(plan)
    return min(made, key=lambda plan: plan.memory.total)


@dataclass(frozen=True, kw_only=True)
class PaperStage:
    """One row of a paper's table of stages. `batch` is per GPU in the paper's sense: per GPU and TP x CP group."""

    name: str
    blueprint: Blueprint
    devices: int
    tp: int
    cp: int
    batch: int
    iterations: float
    printed_batch: int
    printed_samples: float
    note: str = ""

    @property
    def layout(self) -> Layout:
        """FSDP over all that TP and CP leave."""
        return Layout(tp=self.tp, cp=self.cp, fsdp=self.devices // (self.tp * self.cp))

    @property
    def global_batch(self) -> int:
        return self.batch * self.devices // (self.tp * self.cp)

    @property
    def samples(self) -> float:
        return self.iterations * self.global_batch

    def plan(self, device: Device, mfu: float | None = None) -> Plan:
        """The row on `device`: with activation checkpointing where it would not fit otherwise."""
        settings = {"mfu": mfu, "tp": self.tp, "cp": self.cp, "fsdp": self.layout.fsdp}
        return make_plan(self.blueprint, device, self.devices, self.batch, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a room's planner gives: the network at one size of sample, and what the paper says of its training."""

    title: str
    sample: str  # in words
    blueprint: Blueprint
    stages: tuple[PaperStage, ...] = ()
    notes: tuple[str, ...] = ()
