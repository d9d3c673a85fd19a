"""Train a network that reads the digits: `python -m workloads.vision.train [NAME] [--epochs N] [--output FILE]`.

The committed checkpoints are this command's output with its defaults. The last epoch's weights are kept, whatever they
are: no image but the training split's has a say in them, and the test split is measured once, afterwards, for the
metadata. The validation split, which shares no digit with either, was there to choose the settings below.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from workloads.checkpoint import save_checkpoint
from workloads.metrics import evaluate_top1
from workloads.registry import get_workload
from workloads.vision.digits import DigitsWorkload
from workloads.vision.digits_data import SEED, SPLITS, data_hash, make_split


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Args:
        epochs: passes over the training split, unless another number is asked for.
        batch: images per step.
        learning_rate: peak of the one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        memory: layout of activations; depthwise layers are twice as fast channels last.
    """

    epochs: int
    batch: int = 125
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    memory: torch.memory_format = torch.contiguous_format


TRAININGS: Final = {
    "digits-resnet": Training(epochs=24),
    "digits-mobilenet": Training(epochs=24, memory=torch.channels_last),
    "digits-vit": Training(epochs=24, batch=64, learning_rate=2e-3, weight_decay=0.05),
}
"""The networks that can be trained here, by their workload's name."""

_WARM_UP = 0.2  # of all steps
_SHIFT = 2  # a batch is moved by up to so many pixels; measured on validation with digits-resnet: +1 % top-1


def train(
    name: str,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    seed: int,
    report: Callable[[float], None] = lambda _: None,
) -> nn.Module:
    """Return a network trained on `images` (images, 1, 32, 32), in eval mode; `report` gets every step's loss.

    The same arguments on the same machine, torch and number of threads give the same weights.
    """
    settings = TRAININGS[name]
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model = _workload(name).network()
    model.to(memory_format=settings.memory)  # type: ignore[call-overload]  # a keyword that the stubs do not know
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=steps_of(len(images), epochs, settings.batch),
        pct_start=_WARM_UP,
    )
    for _ in range(epochs):
        shuffled = torch.randperm(len(images), generator=order)
        for start in range(0, len(images), settings.batch):
            batch = shuffled[start : start + settings.batch]
            inputs = _shifted(images[batch], order).contiguous(memory_format=settings.memory)
            loss = nn.functional.cross_entropy(model(inputs), labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            report(loss.item())
    return model.eval()


def _workload(name: str) -> DigitsWorkload:
    workload = get_workload(name)
    assert isinstance(workload, DigitsWorkload)  # TRAININGS holds no others
    return workload


def steps_of(images: int, epochs: int, batch: int) -> int:
    """Return the number of optimizer steps of a training; the last batch of an epoch may be short."""
    return epochs * -(-images // batch)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the batch moved by up to `_SHIFT` pixels, the border repeated."""
    height, width = images.shape[-2:]
    down, right = torch.randint(0, 2 * _SHIFT + 1, (2,), generator=generator).tolist()
    padded = nn.functional.pad(images, (_SHIFT,) * 4, mode="replicate")
    return padded[..., down : down + height, right : right + width]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure once on the test split and write the checkpoint; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m workloads.vision.train", description="Train a network that reads digits."
    )
    parser.add_argument("name", nargs="?", choices=TRAININGS, default="digits-resnet", help="default: %(default)s")
    parser.add_argument("--epochs", type=_positive, help="default: the network's own number")
    parser.add_argument("--images", type=_positive, default=SPLITS["train"].images, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches; default: %(default)s")
    parser.add_argument("--output", type=Path, help="safetensors file; default: the one that is committed")
    options = parser.parse_args(arguments)
    name, epochs = options.name, options.epochs or TRAININGS[options.name].epochs
    output = options.output or _workload(name).checkpoint

    training = make_split("train", images=options.images)
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    total = steps_of(len(images), epochs, TRAININGS[name].batch)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=total)

        def show(loss: float) -> None:
            progress.update(task, advance=1, description=f"training, loss {loss:.3f}")

        model = train(name, images, labels, epochs=epochs, seed=options.seed, report=show)
    test = make_split("test")
    metrics = evaluate_top1(model, torch.from_numpy(test.images), torch.from_numpy(test.labels))
    metadata = {
        "workload": name,
        "correct": str(metrics.correct),
        "samples": str(metrics.samples),
        "top1": str(metrics.top1),
        "loss": str(metrics.loss),
        "epochs": str(epochs),
        "seed": str(options.seed),
        "data_seed": str(SEED),
        "train_images": str(len(images)),
        "train_data": data_hash(training),
        "test_data": data_hash(test),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "scikit-learn": version("scikit-learn"),
    }
    save_checkpoint(model, output, metadata)
    low, high = metrics.interval()
    print(
        f"test top-1 {metrics.top1:.4f} (95 % interval {low:.4f} to {high:.4f}, {metrics.samples} images), "
        f"loss {metrics.loss:.4f}: {output}"
    )
    return 0


def _positive(text: str) -> int:
    """Return a whole number of at least 1 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but got {text!r}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
