"""Several processes train what one with their joint batch would."""

import distributed_process
import pytest
import torch

from landsift.training import launch
from landsift.training.ddp import SyncBatchNorm
from landsift.training.ranks import weighted_mean

SCRIPT = distributed_process.__file__


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks held after their trainings."""
    folder = tmp_path_factory.mktemp("ranks")
    launch.run_ranks([SCRIPT, "train_in_two", str(folder)], devices=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("backbone", ["test_convnext", "test_efficientnet", distributed_process.STUDENT])
def test_ranks_hold_the_same_weights_and_history_to_the_last_bit(ranks, backbone):
    first, second = (rank[backbone] for rank in ranks)
    assert [k for k, v in first["weights"].items() if not torch.equal(v, second["weights"][k])] == []
    assert first["rows"] == second["rows"]
    assert first["files"] == ["metrics.json"]
    assert second["files"] == []


def test_two_ranks_train_what_one_process_with_their_joint_batch_trains(ranks, tmp_path):
    alone, rows, kept = distributed_process.trained(tmp_path, "test_convnext", batch_size=8, devices=1)
    together = ranks[0]["test_convnext"]
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together["weights"][name], value, atol=2e-5, rtol=1e-3, msg=name)
    for ours, theirs in zip(together["rows"], rows, strict=True):
        assert ours == {k: v if isinstance(v, str) else pytest.approx(v, rel=1e-4) for k, v in theirs.items()}
    assert torch.equal(together["kept"][0], kept[0])
    torch.testing.assert_close(together["kept"][1], kept[1], atol=1e-4, rtol=1e-3)
    assert ranks[1]["test_convnext"]["kept"] is None


def test_the_first_ranks_choice_is_everyones(ranks):
    assert [rank["from_first"] for rank in ranks] == ["rank 0", "rank 0"]


def test_a_mean_is_weighted_by_patches_not_by_batches():
    values = [torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0])]
    assert weighted_mean(values, [2, 1]) == pytest.approx([2.0, 1 / 3])


def test_batch_norms_over_all_gpus_keep_timms_activations():
    """torch's own conversion makes of a batch norm with activation one without."""
    from landsift.config import ModelConfig
    from landsift.models.backbone import create_backbone

    network = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32).network.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = network(images)
        names, parameters = list(network.state_dict()), [id(p) for p in network.parameters()]
        converted = SyncBatchNorm().apply(network)
        assert torch.equal(converted(images), before)
    assert any(isinstance(m, torch.nn.SyncBatchNorm) for m in converted.modules())
    assert list(converted.state_dict()) == names
    assert [id(p) for p in converted.parameters()] == parameters
