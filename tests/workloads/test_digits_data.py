"""The digits' splits share nothing, are drawn the same every time, and are what their docstrings say."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from workloads.vision.digits_data import CLASSES, SPLITS, data_hash, make_split, split_sources

GOLDEN = {
    # SHA-256 of pixels and labels. Another value means another task: the checkpoint has to be trained again.
    "calibration": "a242bcf365ded0c4a14a977dbd2005ef40b18671414cdbf9516d5f61c97f3512",
    "test": "cba9398c5566aa5ecad720430f1d420133debfd42bd57c0bc53e5371175ec8fa",
}


def test_the_splits_partition_the_source_digits() -> None:
    parts = split_sources()
    everything = np.concatenate(list(parts.values()))
    assert sorted(everything.tolist()) == list(range(1797))
    target = load_digits().target
    for name, part in parts.items():
        assert set(target[part]) == set(range(CLASSES)), name
        assert len(part) == pytest.approx(1797 * SPLITS[name].share, abs=CLASSES), name


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_two_splits_show_ink_of_the_same_source_digit(one: str, other: str) -> None:
    shown = [set(make_split(name, images=2500).sources.ravel().tolist()) for name in (one, other)]
    assert shown[0]
    assert shown[0].isdisjoint(shown[1])


def test_no_source_digit_is_in_the_set_twice() -> None:
    images = load_digits().images.reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797


@pytest.mark.parametrize("name", ["calibration", "test"])
def test_the_drawing_is_that_of_the_committed_checkpoint(name: str) -> None:
    assert data_hash(make_split(name)) == GOLDEN[name]


@pytest.mark.parametrize("name", ["calibration", "test"])
def test_shapes_range_and_labels(name: str) -> None:
    digits = make_split(name)
    count = SPLITS[name].images
    assert digits.images.shape == (count, 1, 32, 32)
    assert digits.images.dtype == np.float32
    assert digits.labels.shape == (count,)
    assert digits.labels.dtype == np.int64
    levels = digits.images * np.float32(255)
    np.testing.assert_allclose(levels, np.rint(levels), rtol=0, atol=2e-5)
    assert digits.images.min() == 0.0
    assert 0.9 < digits.images.max() <= 1.0
    np.testing.assert_array_equal(digits.labels, load_digits().target[digits.sources[:, 0]])
    assert np.bincount(digits.labels, minlength=CLASSES).min() > 0.08 * count


def test_a_distractor_is_never_the_digit_itself_and_every_source_is_used() -> None:
    sources = make_split("test").sources
    assert (sources[:, 1:] != sources[:, :1]).all()
    assert set(sources[:, 0]) == set(split_sources()["test"])


def test_equal_arguments_give_equal_bytes_and_another_seed_gives_others() -> None:
    first, again, other = (make_split("test", seed, images=300) for seed in (7, 7, 8))
    assert first.images.tobytes() == again.images.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert data_hash(first) != data_hash(other)


def test_the_hash_sees_one_level_of_one_pixel_and_one_label() -> None:
    digits = make_split("calibration", images=3)
    before = data_hash(digits)
    digits.images[1, 0, 5, 5] += np.float32(1 / 255)
    changed = data_hash(digits)
    digits.labels[2] += 1
    assert len({before, changed, data_hash(digits)}) == 3


def test_the_digit_is_visible_where_it_is_drawn() -> None:
    # Averaged over faint and noisy images, ink raises the middle of the canvas above its border.
    mean = make_split("test").images.mean(axis=(0, 1))
    border = np.concatenate([mean[0], mean[-1], mean[:, 0], mean[:, -1]]).mean()
    assert mean[12:20, 12:20].mean() > border + 0.05


def test_an_unknown_split_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"^split must be one of train, validation, calibration, test, but got 'dev'$"):
        make_split("dev")


def test_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^images must be at least 1, but got 0; leave it out for 2000$"):
        make_split("test", images=0)
