"""Degraded images are the same for every network and every run, and as degraded as their name says."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hwmodels.errors import BitfrontError
from workloads.metrics import evaluate_top1
from workloads.registry import get_workload
from workloads.vision.degrade import Degradation, parse_degradation


def degradation(name: str) -> Degradation:
    found = parse_degradation(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["noise0.1", "noise1", "blur1", "blur2.5"])
def test_a_degradation_is_read_back_from_its_name(name: str) -> None:
    assert degradation(name).name == name
    assert parse_degradation("none") is None


@pytest.mark.parametrize("name", ["", "fog", "noise", "noise0", "noise1.5", "blur17", "blur-1", "noise1e3"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(
        BitfrontError, match=r"^a degradation must be none, noiseX \(X up to 1, .*write noise0\.1 or blur1"
    ):
        parse_degradation(name)


def test_noise_is_normal_and_belongs_to_the_image_not_to_its_batch() -> None:
    images = torch.full((6, 3, 64, 64), 0.5)
    noisy = degradation("noise0.1")(images, 10)
    assert noisy.std() == pytest.approx(0.1, rel=0.02)
    assert noisy.mean() == pytest.approx(0.5, abs=0.003)
    assert torch.equal(degradation("noise0.1")(images[2:4], 12), noisy[2:4])
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(images, torch.full((6, 3, 64, 64), 0.5))


def test_blur_is_scipys_gaussian_filter() -> None:
    images = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    blurred = degradation("blur1.5")(images, 0)
    expected = gaussian_filter(images.double().numpy(), (0, 0, 1.5, 1.5), mode="nearest", truncate=4 / 1.5)
    # torch's reach is round(3 * 1.5) = 4 pixels; both are then rounded to 8 bits
    assert np.abs(blurred.numpy() - expected).max() <= 0.5 / 255 + 1e-5


@pytest.mark.parametrize("name", ["noise0.2", "blur1"])
def test_degraded_pixels_are_those_of_an_8_bit_camera(name: str) -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    codes = degradation(name)(images, 0) * 255
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-4)
    assert codes.min() >= 0
    assert codes.max() <= 255


def test_a_workload_is_judged_on_degraded_images_and_calibrated_on_plain_ones() -> None:
    plain, noisy = get_workload("digits-resnet"), get_workload("digits-resnet", degrade="noise0.1")
    assert noisy.data_id == f"{plain.data_id}+noise0.1"
    assert noisy.calibration() is plain.calibration()
    (before, labels), (after, same) = plain.test(), noisy.test()
    assert torch.equal(labels, same)
    model = plain.load_model()
    clean = evaluate_top1(model, before[:300], labels[:300]).top1
    assert evaluate_top1(model, after[:300], labels[:300]).top1 < clean - 0.05


def test_text_is_not_degraded() -> None:
    with pytest.raises(
        BitfrontError, match=r"^only images can be degraded, but tiny-llama reads text; leave degrade=blur1"
    ):
        get_workload("tiny-llama", degrade="blur1")
