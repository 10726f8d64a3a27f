"""The two layouts in which vision transformers are published, timm's and torchvision's, into that of `kinema.nn.vit`.

Class token and positions lose their axes of one, (1, 1, D) and (1, S, D) or (S, 1, D); the rest only gets other names.
"""

from __future__ import annotations

from torch import Tensor

from kinema.codecs.keymap import Rule

END = r"(weight|bias)"
TIMM_BLOCK = {
    r"norm([12])": r"norm\g<part>",
    r"attn\.qkv": "attention.qkv",
    r"attn\.proj": "attention.out",
    r"mlp\.fc1": "mlp.up",
    r"mlp\.fc2": "mlp.down",
}
TORCHVISION_BLOCK = {
    r"ln_([12])": r"norm\g<part>",
    r"self_attention\.out_proj": "attention.out",
    r"mlp\.(?:0|linear_1)": "mlp.up",
    r"mlp\.(?:3|linear_2)": "mlp.down",
}


def flat(table: Tensor) -> Tensor:
    """(1, S, D) or (S, 1, D) -> (S, D)."""
    return table[0] if table.shape[0] == 1 else table[:, 0]


def vector(token: Tensor) -> Tensor:
    """(1, 1, D) or (1, D) -> (D,)."""
    return token.flatten()


def block_rules(theirs: str, table: dict[str, str], ours: str = "blocks") -> list[Rule]:
    """Rules for numbered blocks: `theirs` is a pattern that ends before the number, `table` names what is inside."""
    return [
        Rule(
            rf"{theirs}(?P<number>\d+)\.{inner.replace('([12])', '(?P<part>[12])')}\.(?P<end>weight|bias)",
            rf"{ours}.\g<number>.{name}.\g<end>",
        )
        for inner, name in table.items()
    ]


def timm_rules(prefix: str = "", ours: str = "") -> list[Rule]:
    """Timm's names (also those of MAE, MAWS and OmniMAE) behind `prefix`, into ours behind `ours`; no linear head."""
    start = prefix.replace(".", r"\.")
    return [
        *block_rules(rf"{start}blocks\.", TIMM_BLOCK, f"{ours}blocks"),
        Rule(rf"{start}cls_token", f"{ours}class_token", change=vector),
        Rule(rf"{start}pos_embed", f"{ours}positions.table", change=flat),
        Rule(rf"{start}patch_embed\.proj\.{END}", rf"{ours}stem.proj.\1"),
        Rule(rf"{start}(?:norm|fc_norm)\.{END}", rf"{ours}norm.\1"),
    ]


HEAD = Rule(rf"head\.{END}", r"head.\1")


def torchvision_rules() -> list[Rule]:
    """Torchvision's names, and SWAG's own files, whose positions are (S, 1, D) and whose parts are called otherwise."""
    layer = r"encoder\.layers\.(?:encoder_)?layer_"
    return [
        *block_rules(layer, TORCHVISION_BLOCK),
        Rule(rf"{layer}(\d+)\.self_attention\.in_proj_{END}", r"blocks.\1.attention.qkv.\2"),
        Rule(r"class_token", "class_token", change=vector),
        Rule(r"encoder\.pos_embedding", "positions.table", change=flat),
        Rule(rf"encoder\.ln\.{END}", r"norm.\1"),
        Rule(rf"conv_proj\.{END}", r"stem.proj.\1"),
        Rule(r"conv_proj\.conv_bn_relu_(\d+)\.0\.weight", r"stem.layers.\1.conv.weight"),
        Rule(r"conv_proj\.conv_bn_relu_(\d+)\.1\.(\w+)", r"stem.layers.\1.norm.\2"),
        Rule(rf"conv_proj\.conv_last\.{END}", r"stem.last.\1"),
        Rule(rf"(?:heads|head\.layers)\.head\.{END}", r"head.\1"),
    ]
