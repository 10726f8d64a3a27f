"""A transformer as numbers: its parameters, and the arithmetic of one sample.

Work is floating-point operations, 2 for a multiply-add.
"""

# N tokens, L context tokens, D width, F inner width of the feed-forward network; all per sample

from __future__ import annotations

from dataclasses import dataclass


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
