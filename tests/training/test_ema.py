"""Averaged weights: what they are, and that they are what is validated, tested and saved."""

import numpy as np
import pytest
import torch
from small_runs import small, train

from landsift.models.predictor import load_model

SETTINGS = (
    "training.precision=32",
    "training.ema=0.9",
    "tracking.tsne_every=0",
    "strategy=[{epochs: 2, lr_head: 2.0e-3, blocks: all, lr_backbone: 2.0e-3}]",
)


def configured(*changes):
    return small(*SETTINGS, *changes)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return train(configured(), store, tmp_path_factory.mktemp("run") / "r")


def test_the_saved_model_holds_the_averages_of_the_best_epoch(run):
    best = run.path / "checkpoints" / run.evaluation["checkpoint"]
    state = torch.load(best, weights_only=True)["state_dict"]
    saved = load_model(run.path)._classifier.state_dict()
    differing = 0
    for name, value in saved.items():
        part, _, rest = name.partition(".")
        assert torch.equal(value, state[f"averages.{part}.module.{rest}"]), name
        differing += not torch.equal(value, state[f"classifier.{name}"])
    assert differing > 10


def test_averages_are_no_parameters_that_train(run, store, tmp_path):
    plain = train(configured("training.ema=null"), store, tmp_path / "r")
    assert run.manifest["phases"][0]["trainable"] == plain.manifest["phases"][0]["trainable"]


def test_the_loss_and_accuracy_of_an_epoch_are_those_of_the_averages(run):
    row, table = run.metrics[run.evaluation["epoch"]], run.predictions.query("split == 'val'")
    of_label = [patch[f"p_{patch['label']}"] for _, patch in table.iterrows()]
    assert row["val_loss"] == pytest.approx(-np.log(of_label).mean(), rel=1e-4)
    assert row["val_acc"] == pytest.approx((table["label"] == table["predicted"]).mean(), abs=1e-6)


def test_an_average_lags_behind_the_weights_and_follows_the_recursion(store, tmp_path, monkeypatch):
    """average <- decay * average + (1 - decay) * weights, the decay of step n being 1 - n ** (-2/3), at most 0.9."""
    from landsift.training.module import PatchModule

    weights = []
    original = PatchModule.on_train_batch_end

    def spy(self, *arguments):
        original(self, *arguments)
        weights.append(self.classifier.head[1].weight.detach().clone())

    monkeypatch.setattr(PatchModule, "on_train_batch_end", spy)
    config = configured("strategy=[{epochs: 1, lr_head: 5.0e-2, schedule: constant}]")
    start = None
    original_enter = PatchModule.enter_phase

    def enter(self, index):
        nonlocal start
        original_enter(self, index)
        start = self.classifier.head[1].weight.detach().clone()

    monkeypatch.setattr(PatchModule, "enter_phase", enter)
    run = train(config, store, tmp_path / "r")
    average = start
    for step, weight in enumerate(weights, start=1):
        decay = min(0.9, 1 - step ** (-2 / 3))
        average = decay * average + (1 - decay) * weight
    assert len(weights) == 5
    torch.testing.assert_close(load_model(run.path)._classifier.head[1].weight, average)
    assert (average - weights[-1]).abs().max() > 1e-3


def test_a_phase_begins_with_averages_that_are_the_weights(store, tmp_path):
    """A head that trains on a backbone must be validated on that very backbone, not on an earlier average of it."""
    phases = "strategy=[{epochs: 1, lr_head: 2.0e-3, blocks: all, lr_backbone: 2.0e-3}, {epochs: 3, lr_head: 5.0e-3}]"
    run = train(configured(phases), store, tmp_path / "r")
    state = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    names = [name for name in state if name.startswith("classifier.backbone.")]
    assert len(names) > 10
    for name in names:
        assert torch.equal(state[name], state[name.replace("classifier.backbone.", "averages.backbone.module.")]), name


def test_a_teacher_is_a_network_of_its_own():
    """Forwarded without gradients, its decay set from step to step, saved and loaded with what holds it."""
    from landsift.training.ema import WeightAverage

    torch.manual_seed(0)
    student = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    holder = torch.nn.ModuleDict({"student": student, "teacher": WeightAverage(student, decay=0.5)})
    teacher, inputs = holder["teacher"], torch.randn(8, 4)
    before = student[0].weight.detach().clone()
    student(inputs)
    with torch.no_grad():
        student[0].weight += 1.0
    teacher.update(student)
    torch.testing.assert_close(teacher.module[0].weight, before + 0.5)
    teacher.decay = 0.75
    teacher.update(student)
    torch.testing.assert_close(teacher.module[0].weight, before + 0.625)
    torch.testing.assert_close(teacher.module[1].running_mean, 0.625 * student[1].running_mean)
    assert teacher.module[1].num_batches_tracked == 1
    assert not teacher(inputs).requires_grad
    copy = torch.nn.ModuleDict({"student": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))})
    copy["teacher"] = WeightAverage(copy["student"], decay=0.5)
    copy.load_state_dict(holder.state_dict())
    assert torch.equal(copy["teacher"](inputs), teacher(inputs))
    copy["teacher"].decay = 0.75
    for held in (copy, holder):
        held["teacher"].update(held["student"])
    assert torch.equal(copy["teacher"](inputs), teacher(inputs))
