"""The networks that can be named by their constructor, and how a checkpoint's weights come into them.

A checkpoint is safetensors, or what `torch.save` wrote of a state dict, which is read with `weights_only`: no code in it runs.
Only `module:function` runs code, that of the function which the user names.
"""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from hwmodels.errors import BitfrontError
from workloads.checkpoint import CheckpointError, file_id, fill, read_tensors
from workloads.vision.mobilenet import MobileNetV2
from workloads.vision.resnet import ResNet18
from workloads.vision.transformer import VisionTransformer, from_torchvision

REMEDY: Final = "give the state dict of that network, as safetensors or by torch.save"
_WRAPPERS = ("state_dict", "model")  # keys under which training scripts keep the state dict beside other things


class ModelError(BitfrontError):
    """A network that no constructor has, or whose constructor does not work."""


@dataclass(frozen=True)
class BuiltIn:
    """A network that is named by its constructor.

    Args:
        make: makes it for a number of classes and an image size (pixels).
        head: the weight with as many rows as there are classes.
        rename: makes its own tensors of torchvision's.
    """

    make: Callable[[int, int], nn.Module]
    head: str
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict


def vit_b_32(classes: int = 1000, size: int = 224) -> VisionTransformer:
    """ViT-B/32 (arXiv 2010.11929, table 1): 88,224,232 parameters with 1,000 classes and 224 pixels."""
    return VisionTransformer(
        size=size, patch=32, channels=3, width=768, heads=12, layers=12, hidden=3072, classes=classes
    )


BUILT_IN: Final[Mapping[str, BuiltIn]] = MappingProxyType(
    {
        "resnet18": BuiltIn(lambda classes, _: ResNet18(classes), "fc.weight"),
        "mobilenet_v2": BuiltIn(lambda classes, _: MobileNetV2(classes), "classifier.1.weight"),
        "vit_b_32": BuiltIn(vit_b_32, "heads.head.weight", from_torchvision),
    }
)
"""The built-in networks by name."""


def build(model: str, checkpoint: Path | None, *, size: int) -> nn.Module:
    """The float network in eval mode, with the checkpoint's weights.

    Args:
        model: a key of :data:`BUILT_IN`, or ``module:function``, which is imported from the current folder or the
            environment and called without arguments; it returns the network.
        checkpoint: None: the function returns the network with its weights.
        size: height and width of the images (pixels).

    Raises:
        ModelError: there is no such network, or its function fails or returns something else.
        CheckpointError: the checkpoint is missing, damaged, another network's, or not finite.
    """
    if model in BUILT_IN:
        if checkpoint is None:
            raise ModelError(f"{model} must be given a checkpoint, but got none; {REMEDY}.")
        made = _built_in(model, checkpoint, size)
    else:
        made = call(model)
        if checkpoint is not None:
            _fill(made, read_weights(checkpoint), checkpoint)
    for name, tensor in made.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"the weights of {model} must be finite, but {name} holds inf or NaN; {REMEDY}")
    return made.float().eval()


def _built_in(model: str, checkpoint: Path, size: int) -> nn.Module:
    tensors, known = read_weights(checkpoint), BUILT_IN[model]
    head = tensors.get(known.head)
    if head is None or head.ndim != 2:
        raise CheckpointError(f"checkpoint {checkpoint} must hold {known.head} of {model}, but it does not; {REMEDY}")
    with torch.device("meta"):
        made = known.make(len(head), size)
    made = made.to_empty(device="cpu")
    _fill(made, known.rename(tensors), checkpoint)
    return made


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    ready = {
        name: tensor.to(own[name].dtype) if name in own and own[name].is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    for name, tensor in own.items():  # old checkpoints leave these counters out; a network in eval mode reads none
        if name.endswith("num_batches_tracked"):
            ready.setdefault(name, torch.zeros_like(tensor))
    fill(model, ready, path, remedy=REMEDY)


def call(model: str) -> nn.Module:
    """What ``module:function`` returns: code of the user's runs.

    Raises:
        ModelError: it cannot be imported or called, or returns no network.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", model):
        raise ModelError(f"a model must be one of {', '.join(BUILT_IN)} or module:function, but got {model!r}.")
    module_name, _, function_name = model.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:  # not there when dse is called by its own name
        sys.path.insert(0, here)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # weights that it draws are the same in every process
            made = getattr(import_module(module_name), function_name)()
    except Exception as error:  # anything may go wrong in the user's code
        reason = " ".join(str(error).split()) or "no message"
        raise ModelError(
            f"the function {model} must import and return a network, but it raised {type(error).__name__}: {reason}."
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    if not isinstance(made, nn.Module):
        raise ModelError(f"the function {model} must return a torch.nn.Module, but it returned {type(made).__name__}.")
    return made


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without the prefix that data-parallel training leaves.

    Raises:
        CheckpointError: the file is missing or damaged, or holds no state dict.
    """
    if path.suffix == ".safetensors":
        found: object = read_tensors(path, remedy=REMEDY)
    elif not path.is_file():
        raise CheckpointError(f"checkpoint must exist, but {path} is missing; {REMEDY}")
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickles that torch did not write; they are read or refused
                found = torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split(".")[0].split())
            raise CheckpointError(f"checkpoint must be readable, but {path} is not ({reason}); {REMEDY}") from error
    for key in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise CheckpointError(f"checkpoint {path} must hold tensors by name, but it holds something else; {REMEDY}")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def weights_id(model: str, checkpoint: Path | None) -> str:
    """SHA-256 of the checkpoint, or without one of the weights that the function returns; with it, of the function's file.

    Raises:
        ModelError, CheckpointError: as :func:`build`.
    """
    if model in BUILT_IN and checkpoint is not None:
        return file_id(checkpoint, remedy=REMEDY)
    digest = hashlib.sha256()
    for name, tensor in call(model).state_dict().items() if checkpoint is None else ():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().double().numpy().tobytes())
    source = getattr(sys.modules.get(model.partition(":")[0]), "__file__", None)
    code = "" if source is None else file_id(Path(source), remedy="name a module with a file")
    weights = digest.hexdigest() if checkpoint is None else file_id(checkpoint, remedy=REMEDY)
    return f"{weights}+{code}"
