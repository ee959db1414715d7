"""Phases on a real network: what trains moves, what is frozen does not move by a bit."""

import pytest
import torch

from landsift.config import HeadConfig, ModelConfig, Normalization, TrainingConfig
from landsift.models.backbone import create_backbone
from landsift.models.blocks import backbone_blocks
from landsift.models.classifier import PatchClassifier
from landsift.training.module import PatchModule
from landsift.training.phases import Phase

HEAD = Phase("head", epochs=1, lr_head=1e-3)
LAST = Phase("last", epochs=1, lr_head=1e-3, blocks=1, lr_backbone=1e-4)
ALL = Phase("all", epochs=1, lr_head=1e-3, blocks="all", lr_backbone=1e-4, layer_decay=0.5)


def module(*phases, backbone="test_efficientnet", head=None):
    torch.manual_seed(0)
    made = create_backbone(ModelConfig(backbone=backbone, weights="none"), 32)
    classifier = PatchClassifier(made.network, made.features, 4, head or HeadConfig(hidden=256, dropout=0.3))
    settings = TrainingConfig(image_size=32)
    normal = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return PatchModule(classifier, phases, settings, classes=4, normalization=normal, seed=0)


def step(trained):
    """One optimizer step in the present phase."""
    optimizer = torch.optim.AdamW(trained.parameter_groups())
    logits = trained.classifier(torch.randn(8, 3, 32, 32))
    torch.nn.functional.cross_entropy(logits, torch.arange(8) % 4).backward()
    optimizer.step()


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("phase", [HEAD, LAST, ALL])
def test_what_a_phase_freezes_does_not_move_and_all_else_does(backbone, phase):
    trained = module(phase, backbone=backbone)
    with torch.no_grad():  # away from zero-initialised branches, which pass no gradient
        for parameter in trained.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    blocks = backbone_blocks(trained.classifier.backbone)
    moving = {n for b in (blocks if phase.blocks == "all" else blocks[len(blocks) - phase.blocks :]) for n in b}
    before = {k: v.clone() for k, v in trained.classifier.state_dict().items()}
    step(trained)
    after = trained.classifier.state_dict()
    for name, _ in trained.classifier.backbone.named_parameters():
        changed = not torch.equal(before[f"backbone.{name}"], after[f"backbone.{name}"])
        assert changed == (name in moving), name
    for name, buffer in trained.classifier.backbone.named_buffers():
        norm = name.rsplit(".", 1)[0] + ".weight"
        if name.endswith("running_mean"):
            assert torch.equal(before[f"backbone.{name}"], buffer) == (norm not in moving), name
    assert not torch.equal(before["head.1.weight"], after["head.1.weight"])


def test_the_optimizer_holds_exactly_what_trains_with_decay_on_matrices_only():
    for phase in (HEAD, LAST, ALL):
        trained = module(phase)
        groups = trained.parameter_groups()
        held = [p for g in groups for p in g["params"]]
        assert len(held) == len({id(p) for p in held})
        assert {id(p) for p in held} == {id(p) for p in trained.parameters() if p.requires_grad}
        assert all(p.ndim >= 2 for g in groups if g["weight_decay"] > 0 for p in g["params"])
        assert all(p.ndim < 2 for g in groups if g["weight_decay"] == 0 for p in g["params"])


def test_layer_decay_halves_the_rate_block_by_block_towards_the_stem():
    trained = module(ALL)
    blocks = backbone_blocks(trained.classifier.backbone)
    rates = {id(p): g["lr"] for g in trained.parameter_groups() for p in g["params"]}
    parameters = dict(trained.classifier.backbone.named_parameters())
    for depth, block in enumerate(reversed(blocks)):
        assert {rates[id(parameters[n])] for n in block} == {1e-4 * 0.5**depth}


def test_a_phase_puts_frozen_layers_into_eval_mode_and_later_ones_back():
    trained = module(HEAD, ALL)
    assert not any(m.training for m in trained.classifier.backbone.modules())
    assert all(m.training for m in trained.classifier.head.modules())
    trained.enter_phase(1)
    assert all(m.training for m in trained.classifier.modules())
    trained.enter_phase(0)
    assert not any(m.training for m in trained.classifier.backbone.modules())


def test_a_vits_embeddings_are_not_decayed():
    trained = module(ALL, backbone="test_vit")
    decayed = {id(p) for g in trained.parameter_groups() if g["weight_decay"] > 0 for p in g["params"]}
    assert id(trained.classifier.backbone.pos_embed) not in decayed
    assert id(trained.classifier.backbone.patch_embed.proj.weight) in decayed


def test_the_head_of_the_tutorial_and_the_plain_one():
    tutorial = module(HEAD).classifier.head
    kinds = [type(layer).__name__ for layer in tutorial]
    assert kinds == ["Dropout", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert [tutorial[0].p, tutorial[1].out_features, tutorial[4].p] == [0.3, 256, 0.15]
    plain = module(HEAD, head=HeadConfig(hidden=None, dropout=0.0)).classifier.head
    assert [type(layer).__name__ for layer in plain] == ["Dropout", "Linear"]


def test_trainable_parameters_are_counted_per_phase():
    trained = module(HEAD, ALL)
    head = sum(p.numel() for p in trained.classifier.head.parameters())
    assert trained.trainable_parameters() == head == 256 * 256 + 256 + 512 + 4 * 256 + 4
    trained.enter_phase(1)
    assert trained.trainable_parameters() == sum(p.numel() for p in trained.classifier.parameters())
