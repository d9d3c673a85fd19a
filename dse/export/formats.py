"""Which number formats each exporter can write, and the refusal of all others before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dse.export.errors import ExportError
from dse.export.quantizers import FP8
from hwmodels.datapath import Granularity, Overflow, TensorQuant
from hwmodels.formats import IntFormat
from hwmodels.ops import Numerics

Quants = Iterator[tuple[str, TensorQuant]]


@dataclass(frozen=True)
class Exporter:
    """A file format, what it can hold in words, and the test for one tensor."""

    name: str
    holds: str
    takes: Callable[[TensorQuant], bool]


def _qonnx_takes(quant: TensorQuant) -> bool:
    """Quant and FloatQuant have any width and any scale that broadcasts, constant or computed; FloatQuant has subnormals."""
    return isinstance(quant.format, IntFormat) or quant.format.subnormals


def _qcdq_takes(quant: TensorQuant) -> bool:
    """(De)QuantizeLinear store integers of 8 bits, which Clip narrows, and FP8; with one constant scale, or one along an axis.

    Not zero points: QuantizeLinear adds them after it rounds, hardware before; ties fall differently.
    """
    fmt, scaling = quant.format, quant.scaling
    stored = fmt.bits <= 8 if isinstance(fmt, IntFormat) else fmt in FP8
    return stored and not (scaling.dynamic or scaling.zero_point or scaling.granularity is Granularity.GROUP)


def _finn_takes(quant: TensorQuant) -> bool:
    """FINN maps integers: as QCDQ has them (the rest of its rules are in :mod:`dse.finn.rules`)."""
    return _qcdq_takes(quant) and isinstance(quant.format, IntFormat)


EXPORTERS: Mapping[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        Exporter("qonnx", "integers and minifloats with subnormals, on any scale", _qonnx_takes),
        Exporter(
            "qcdq",
            "integers of up to 8 bits and OCP's FP8, on constant scales per tensor or channel around zero",
            _qcdq_takes,
        ),
        Exporter("finn", "integers of up to 8 bits on constant scales per tensor or channel around zero", _finn_takes),
    )
}
"""The exporters by name: the choices of ``dse export --to``."""


def check_exportable(numerics: Numerics, exporter: str) -> None:
    """Refuse a network with a format that an exporter cannot write.

    Raises:
        ExportError: names the layer or site, its format, what the exporter holds and which other exporter would do; or a
            layer whose sums may overflow.
    """
    if exporter not in EXPORTERS:
        raise ExportError(f"an exporter must be one of {', '.join(EXPORTERS)}, but got {exporter!r}.")
    for name, layer in numerics.layers.items():
        if layer.accumulator.overflow is not Overflow.IMPOSSIBLE:
            raise ExportError(
                f"the sums of an exported network must be exact, because ONNX has no other, but layer {name} may "
                f"{layer.accumulator.overflow} at {layer.accumulator.bits} bits; choose a point whose overflow is impossible."
            )
    for where, quant in quants(numerics):
        if not EXPORTERS[exporter].takes(quant):
            others = [other.name for other in EXPORTERS.values() if all(other.takes(q) for _, q in quants(numerics))]
            remedy = f"use --to {others[0]}" if others else "no exporter has it yet"
            raise ExportError(
                f"{exporter} holds {EXPORTERS[exporter].holds}, but {quant.format} scaled per {quant.scaling} is asked for at "
                f"{where}; {remedy}."
            )


def quants(numerics: Numerics) -> Quants:
    """Every layer's weights and every site of a network, with a name for messages."""
    yield from ((f"the weights of layer {name}", layer.weight) for name, layer in numerics.layers.items())
    yield from ((f"the site {name}", quant) for name, quant in numerics.sites.items())
