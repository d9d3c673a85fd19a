"""A Hugging Face model directory, read from local files alone: config.json, safetensors and tokenizer.json.

Nothing is downloaded, no code of the directory is run and nothing is unpickled; weights come out as float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from workloads.checkpoint import CheckpointError, file_id, fill, read_tensors
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.llm.encoder import Encoder, EncoderShape

CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
REMEDY = "save the model with `save_pretrained(folder)` and name that folder"


def load_decoder(folder: Path) -> Decoder:
    """A new float decoder in eval mode with the weights of a model directory.

    Raises:
        CheckpointError: a file is missing or damaged, or the tensors are not the decoder's or not finite.
        ConfigError: the configuration is not one of a decoder that can be built.
    """
    shape = DecoderShape.from_config(_read_json(folder / CONFIG_FILE))
    tensors = {name: tensor for name, tensor in _tensors(folder) if not name.endswith("rotary_emb.inv_freq")}
    if shape.tied and "model.embed_tokens.weight" in tensors:
        tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"].clone())
    with torch.device("meta"):
        model = Decoder(shape)  # its own random weights would be replaced: none are drawn
    return _filled(model, tensors, folder)


def load_encoder(folder: Path) -> Encoder:
    """A new float encoder in eval mode with the weights of a model directory; heads and poolers are left out.

    Raises:
        CheckpointError: a file is missing or damaged, or the tensors are not the encoder's or not finite.
        ConfigError: the configuration is not one of an encoder that can be built.
    """
    shape = EncoderShape.from_config(_read_json(folder / CONFIG_FILE))
    named = ((name.removeprefix("bert."), tensor) for name, tensor in _tensors(folder))
    tensors = {name: t for name, t in named if not name.startswith(("pooler.", "cls.", "embeddings.position_ids"))}
    with torch.device("meta"):
        model = Encoder(shape)
    return _filled(model, tensors, folder)


Network = TypeVar("Network", bound=nn.Module)


def _filled(model: Network, tensors: dict[str, Tensor], folder: Path) -> Network:
    """A model without storage, given the tensors of a directory."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"weights in {folder} must be finite, but {name} holds inf or NaN; {REMEDY}")
    fill(model.to_empty(device="cpu"), tensors, folder, remedy=REMEDY)
    return model.eval()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model directory.

    Raises:
        CheckpointError: tokenizer.json is missing or damaged.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise CheckpointError(f"a model directory must have a {TOKENIZER_FILE}, but {folder} has none; {REMEDY}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        reason = " ".join(str(error).split())
        raise CheckpointError(f"tokenizer must be readable, but {path} is not ({reason}); {REMEDY}") from error


def encode(tokenizer: Tokenizer, text: str) -> Tensor:
    """The tokens of a text without special ones, int64 (tokens,)."""
    return torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64)


def files_of(folder: Path) -> tuple[Path, ...]:
    """The files of a model directory that decide what is computed, those with weights last.

    Raises:
        CheckpointError: the index of the weights is damaged.
    """
    index = folder / INDEX_FILE
    names = [WEIGHTS_FILE]
    if index.is_file() and not (folder / WEIGHTS_FILE).is_file():
        found = _read_json(index).get("weight_map")
        if not isinstance(found, dict) or any(Path(name).name != name for name in map(str, found.values())):
            raise CheckpointError(f"{index} must map tensors to files beside it, but it does not; {REMEDY}")
        names = sorted(set(found.values()))
    return tuple(folder / name for name in (CONFIG_FILE, TOKENIZER_FILE, *names))


def folder_id(folder: Path) -> str:
    """SHA-256 hashes of the files of a model directory, as one string.

    Raises:
        CheckpointError: a file cannot be read.
    """
    return "+".join(file_id(path, remedy=REMEDY) for path in files_of(folder))


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in files_of(folder)[2:]:
        for name, tensor in read_tensors(path, remedy=REMEDY).items():
            yield name, tensor.float()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"a model directory must have a {path.name}, but {path}: {error.strerror}; {REMEDY}"
        ) from None
    except ValueError:
        raise CheckpointError(f"{path} must be JSON, but it cannot be parsed; {REMEDY}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must be a JSON object, but it is {type(found).__name__}; {REMEDY}")
    return found
