"""Running one of Brevitas' export managers on a quantized network, and leaving the network as it was."""

from __future__ import annotations

import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from dse.export.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.quantize import QuantizedModel


def run_manager(manager_path: str, model: QuantizedModel, example_input: Tensor, *, opset: int) -> onnx.ModelProto:
    """The ONNX model of a network with batch 1.

    Args:
        manager_path: module and class name of a Brevitas export manager.
        opset: version of the standard ONNX operators.

    Raises:
        ExportError: the manager fails; with its reason.
    """
    with warnings.catch_warnings():
        # Brevitas' import and torch's exporter (TorchScript) touch deprecated corners of torch
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="fast_hadamard_transform")  # an optional kernel, not used
        module_name, _, manager_name = manager_path.rpartition(".")
        manager: Any = getattr(import_module(module_name), manager_name)
        try:
            with tempfile.TemporaryDirectory() as folder:  # not every manager returns what it exports
                file = Path(folder) / "model.onnx"
                manager.export(
                    model.module, args=example_input[:1], export_path=str(file), opset_version=opset, dynamo=False
                )
                exported = onnx.load(file)
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ExportError(f"the network must be exportable by Brevitas, but it is not: {reason}.") from error
        finally:
            manager.set_export_mode(model.module, enabled=False)
            for part in model.module.modules():
                if getattr(part, "export_handler", None) is not None:
                    part.export_handler = None  # type: ignore[assignment]  # another format needs handlers of its own
    return exported
