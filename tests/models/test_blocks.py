"""Blocks: every network is divided from stem to last, as timm says or by its stages; what cannot be is one block."""

import pytest
import timm
import torch
from torch import nn

from landsift.models.blocks import _by_features, backbone_blocks

FAMILIES = ["test_efficientnet", "test_resnet", "test_convnext", "test_vit", "mobilenetv2_050", "mobilenetv3_small_050"]
WITHOUT_MATCHER = {
    "poolformer_s12": (5, ("stages.3.", "head.norm.")),
    "poolformerv2_s12": (5, ("stages.3.", "head.norm.")),
    "caformer_s18": (5, ("stages.3.", "head.norm.")),
    "convformer_s18": (5, ("stages.3.", "head.norm.")),
    "pit_ti_224": (4, ("transformers.2.", "norm.")),
    "pit_s_distilled_224": (4, ("transformers.2.", "norm.")),
    "csatv2": (5, ("stages.3.", "head.norm.")),
    "rdnet_tiny": (5, ("dense_stages.6.", "head.norm.")),
}
"""timm has no matcher of these, or none of coarse groups: how many blocks, and what the last one holds."""


def unfilled(name):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize("name", [*FAMILIES, *WITHOUT_MATCHER])
def test_the_blocks_hold_every_parameter_once(name):
    network = unfilled(name)
    blocks = backbone_blocks(network)
    names = [n for block in blocks for n in block]
    assert sorted(names) == sorted(n for n, _ in network.named_parameters())
    assert len(blocks) > 2
    assert all(blocks)


def test_the_blocks_run_from_stem_to_last():
    blocks = backbone_blocks(unfilled("resnet18"))
    assert "conv1.weight" in blocks[0]
    assert all(n.startswith("layer4") for n in blocks[-1])


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        ("resnet18", 5, ("layer4.",)),
        ("convnext_atto", 5, ("stages.3.", "head.norm.")),
        ("efficientnet_b0", 8, ("blocks.6.", "conv_head.", "bn2.")),
        ("mobilenetv3_small_050", 7, ("blocks.5.", "conv_head.")),
        ("vit_tiny_patch16_224", 13, ("blocks.11.", "norm.")),
        ("swin_tiny_patch4_window7_224", 5, ("layers.3.", "norm.")),
        *((name, count, last) for name, (count, last) in WITHOUT_MATCHER.items()),
    ],
)
def test_the_last_block_is_the_last_stage_with_what_follows_it(name, count, last):
    blocks = backbone_blocks(unfilled(name))
    assert len(blocks) == count
    assert {n[: len(p)] for n in blocks[-1] for p in last if n.startswith(p)} == set(last)
    assert all(n.startswith(last) for n in blocks[-1])


def test_tokens_and_positions_belong_to_the_first_block():
    assert backbone_blocks(unfilled("pit_ti_224"))[0] == [
        "pos_embed", "cls_token", "patch_embed.conv.weight", "patch_embed.conv.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "regnetx_002", "pvt_v2_b0",
     "efficientformer_l1", "levit_128s", "repvit_m0_9", "maxvit_pico_rw_256", "mvitv2_tiny", "mixer_s16_224"],
)  # fmt: skip
def test_stages_are_what_the_matcher_says_where_there_is_one(name):
    """What networks without a matcher are divided by, held against networks that have one."""
    network = unfilled(name)
    if name == "mvitv2_tiny":  # its feature_info names modules that it does not have
        assert _by_features(network) == []
    else:
        assert [sorted(b) for b in _by_features(network)] == [sorted(b) for b in backbone_blocks(network)]


class Named(nn.Module):
    """Two stages, and what timm would say of them."""

    def __init__(self, *stages):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.feature_info = [{"module": stage} for stage in stages]


@pytest.mark.parametrize("stages", [(), ("gone",), ("second", "first"), ("first", "first"), ("",)])
def test_a_network_that_says_nothing_of_use_is_one_block(stages):
    assert len(backbone_blocks(Named(*stages))) == 1
    assert len(backbone_blocks(Named("first", "second"))) == 2
