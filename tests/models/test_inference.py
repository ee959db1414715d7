"""Batch norms folded into convolutions, and batches that a CPU takes in parts, give the same answers."""

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, StdConv2d
from torch import nn

from landsift.models.in_batches import PIXELS_PER_THREAD
from landsift.models.inference import cpu_batch, find_folds, folded, in_chunks


def used(network: nn.Module) -> nn.Module:
    """The network with batch norms as after a training, in double precision."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return network.double()


def answers(network: nn.Module, channels: int = 3) -> torch.Tensor:
    images = torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.inference_mode():
        return network(images)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenetv2_100", "efficientnet_b0", "tf_efficientnet_b0", "resnet18"])
def test_every_batch_norm_is_folded_and_the_answers_stay(name):
    network = used(timm.create_model(name, num_classes=0)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folds = find_folds(network)
    assert len(folds) == norms(network)
    copy = folded(network, folds)
    assert norms(copy) == 0
    assert not copy.training
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(answers(copy), answers(network.eval()), rtol=1e-9, atol=1e-9)


def test_networks_without_batch_norms_are_not_copied():
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    assert find_folds(network) == []
    assert folded(network, []) is network


class Twice(nn.Module):
    """One convolution that is read by two batch norms, and one pair that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.left, self.right = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), BatchNormAct2d(4)
        self.called_twice, self.after = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, images):
        shared = self.read_twice(images)
        once = self.after(self.called_twice(self.left(shared) + self.right(shared)))
        return self.after(self.called_twice(once)).mean((2, 3))


class Standardised(nn.Module):
    """A convolution that changes its weights in its forward, and a batch norm of each batch's own figures."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = StdConv2d(3, 4, 3), BatchNormAct2d(4)
        self.third, self.fourth = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, images):
        return self.fourth(self.third(self.second(self.first(images)))).mean((2, 3))


class Untraceable(nn.Module):
    """A forward that depends on its input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        images = -images if images.mean() > 0 else images
        return self.second(self.first(images)).mean((2, 3))


@pytest.mark.parametrize("network", [Twice(), Standardised(), Untraceable()])
def test_what_cannot_be_folded_stays(network):
    network = network if isinstance(network, Standardised) else used(network)
    assert find_folds(network) == []


def test_an_activation_in_the_norm_stays():
    network = used(nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4))).eval()
    copy = folded(network, find_folds(network))
    assert norms(copy) == 0
    torch.testing.assert_close(answers(copy), answers(network))
    assert answers(copy).min() == 0


def test_a_cpu_takes_what_its_caches_hold():
    threads = torch.get_num_threads()
    assert cpu_batch(224) == 8 * threads
    assert cpu_batch(10_000) == 1
    size = int((threads * PIXELS_PER_THREAD / 3) ** 0.5)
    taken = []
    images = torch.arange(7.0)[:, None]
    out = in_chunks(lambda chunk: taken.append(len(chunk)) or chunk + 1, images, size)
    assert taken == [3, 3, 1]
    assert torch.equal(out, images + 1)
