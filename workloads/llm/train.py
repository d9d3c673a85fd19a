"""Train `tiny-llama`: `python -m workloads.llm.train [--steps N] [--output FOLDER]`; needs the extra `llm`.

The committed tokenizer and weights are this command's output with its defaults (a quarter of an hour on one core). What is
trained is Hugging Face's own LlamaForCausalLM with the committed config.json. It can be stopped at any time: the same
command goes on from the last state it saved. The last step's weights are kept, whatever they are, as float16: that
rounding is part of the float model. No text but the training split's has a say in them or in the tokenizer, and the
test split is measured once, afterwards, for the metadata.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from workloads.checkpoint import save_checkpoint
from workloads.llm.corpus import documents
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.llm.huggingface import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from workloads.llm.tiny_llama import END_OF_TEXT, FOLDER, WORKLOAD, corpus_tokens

STEPS: Final = 4000
VOCABULARY: Final = 1024

_WINDOW = 256  # tokens of a training sequence
_BATCH = 8  # sequences a step
_LEARNING_RATE = 3e-3  # peak: linear warm-up, then half a cosine down to a twentieth
_WARM_UP = 0.03  # of the steps that the cosine is laid out for
_WEIGHT_DECAY = 0.1  # of matrices, not of the norms' gains
_CLIP = 1.0  # largest norm of a step's gradient
_SAVED = 100  # steps between two saved states


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A byte-level byte-pair encoding with :data:`VOCABULARY` tokens; it knows every byte, so any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def windows_of(stream: Tensor, epoch: int, seed: int) -> Tensor:
    """The stream cut into windows, from another offset and in another order every epoch: (windows, tokens + 1)."""
    random = torch.Generator().manual_seed(seed * 1000 + epoch)
    offset = int(torch.randint(_WINDOW, (1,), generator=random))
    cut = stream[offset:].unfold(0, _WINDOW + 1, _WINDOW)
    return cut[torch.randperm(len(cut), generator=random)]


def learning_rate(step: int, steps: int) -> float:
    """The learning rate of a step, 0 to steps - 1: a cosine laid out for half as many steps again, and cut short.

    The last eighth follows the cosine of `steps` itself, so the rate falls at once by a factor of 5 there. No tuning: the
    committed training was planned for 6,000 steps and, for want of time, went over to the end of 4,000 after step 3,500.
    """
    laid_out = steps * 3 // 2 if step < steps * 7 // 8 else steps
    warm_up = max(1, round(_WARM_UP * laid_out))
    if step < warm_up:
        return _LEARNING_RATE * (step + 1) / warm_up
    done = (step - warm_up) / max(1, laid_out - warm_up)
    return _LEARNING_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def train(
    model: nn.Module, stream: Tensor, *, steps: int, seed: int, state: Path, report: Callable[[int, float], None]
) -> None:
    """Train a causal language model in place on a stream of tokens, (tokens,); `report` gets every step and its loss.

    The same arguments on the same machine, torch and number of threads give the same weights, however often the training
    was stopped: `state` holds weights, moments and the step to go on from.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    gains = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    first = _restore(model, optimizer, state)
    epoch_steps = (len(stream) // _WINDOW - 1) // _BATCH
    epoch, windows = -1, stream
    model.train()
    for step in range(first, steps):
        if step // epoch_steps != epoch:
            epoch = step // epoch_steps
            windows = windows_of(stream, epoch, seed)
        batch = windows[(step % epoch_steps) * _BATCH :][:_BATCH]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        logits = model(input_ids=batch[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        optimizer.zero_grad()
        report(step, loss.item())
        if (step + 1) % _SAVED == 0 or step + 1 == steps:
            _save(model, optimizer, state, step + 1)
    model.eval()


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, step: int) -> None:
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        moments = optimizer.state[parameter]
        tensors |= {
            f"{name}|weight": parameter.detach(),
            f"{name}|m": moments["exp_avg"],
            f"{name}|v": moments["exp_avg_sq"],
        }
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(save(tensors, metadata={"step": str(step)}))
    part.replace(path)


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Put the saved state back, if there is one; return the step to go on with."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file, torch.no_grad():
        step = int(file.metadata()["step"])
        for name, parameter in model.named_parameters():
            parameter.copy_(file.get_tensor(f"{name}|weight"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": file.get_tensor(f"{name}|m"),
                "exp_avg_sq": file.get_tensor(f"{name}|v"),
            }
    return step


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure once on the test split and write tokenizer and weights; return the exit status."""
    from transformers import LlamaConfig, LlamaForCausalLM

    parser = argparse.ArgumentParser(prog="python -m workloads.llm.train", description="Train tiny-llama.")
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights and windows; default: %(default)s")
    parser.add_argument("--output", type=Path, default=FOLDER, help="model directory; default: %(default)s")
    options = parser.parse_args(arguments)

    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    if folder != FOLDER:
        shutil.copy(FOLDER / CONFIG_FILE, folder)
    train_tokenizer([document.text for document in documents("train")]).save(str(folder / TOKENIZER_FILE))
    stream = corpus_tokens("train", folder)
    torch.manual_seed(options.seed)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder))
    state = folder / "training.safetensors"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=options.steps)

        def show(step: int, loss: float) -> None:
            progress.update(task, completed=step + 1, description=f"training, loss {loss:.3f}")

        train(model, stream, steps=options.steps, seed=options.seed, state=state, report=show)
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    stored = Decoder(DecoderShape.from_config(json.loads((folder / CONFIG_FILE).read_text())))
    stored.load_state_dict(model.state_dict())
    stored.eval()
    workload = replace(WORKLOAD, folder=folder)
    metrics = workload.judge(stored, *workload.test())(stored)
    metadata = {
        "format": "pt",
        "workload": workload.name,
        "perplexity": str(metrics.perplexity),
        "tokens": str(metrics.samples),
        "steps": str(options.steps),
        "seed": str(options.seed),
        "train_tokens": str(len(stream)),
        "test_data": workload.data_id,
        **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
    save_checkpoint(model, folder / WEIGHTS_FILE, metadata)
    state.unlink(missing_ok=True)
    low, high = metrics.columns()["perplexity_low"], metrics.columns()["perplexity_high"]
    print(
        f"test perplexity {metrics.perplexity:.2f} (95 % interval {low:.2f} to {high:.2f}, {metrics.samples} tokens): "
        f"{folder / WEIGHTS_FILE}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
