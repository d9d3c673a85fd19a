"""Cost one operator given as a CSV row, in the column names of the tables sampled from FINN v0.10.1.

`tests/golden/finn/*.csv` shows every column. Columns that hold FINN's own results are ignored, columns that FINN derives
(`adjusted_depth`, `impl_style` and `buffer_depth` of windows) may be left out and are checked where given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hwmodels.finn.datatypes import FinnType
from hwmodels.finn.dot_product import MEM_MODES, RAM_STYLES, RES_TYPES, THRESHOLD_RAM_STYLES, Backend
from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.fields import Fields
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.parts import dsp_block
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.thresholding import ThresholdingHls, ThresholdingRtl
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_hls import WindowHls
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.resources import Resources

RESULT_COLUMNS = frozenset({"BRAM_18K", "BRAM_efficiency", "LUT", "URAM", "URAM_efficiency", "DSP", "cycles"})
"""Columns of the tables that hold FINN's results; they are not parameters."""

DESCRIPTION_COLUMNS = frozenset({"network", "layer", "part", "tool"})
"""Columns that say what a row is about; no operator but the matrix-vector units asks for the part."""

MEASURED_PREFIX = "measured_"
"""Of the columns that hold what an implementation measured (see :mod:`hwmodels.calibration.vivado`)."""

THRESHOLDING_TABLE_VECTORS = 64
"""Input vectors of every sampled thresholding row: that table has no column for them."""


def _check_derived(row: Fields, name: str, derived: int | str) -> None:
    """A derived column may be absent, but where it is given it must agree."""
    if not row.has(name):
        return
    given = row.integer(name, least=0) if isinstance(derived, int) else row.text(name, "text")
    if given != derived:
        raise row.error(name, f"{derived}, which follows from the other columns")


def _part(row: Fields) -> str:
    part = row.text("part", "an AMD part name such as xc7z020clg400-1")
    try:
        dsp_block(part)
    except FinnModelError as error:
        raise FinnModelError(f"column part of {row.op}: {error}") from error
    return part


def _mvau_hls(row: Fields) -> FinnOperator:
    return Mvau(
        backend="hls",
        part=_part(row),
        cols=row.integer("MW"),
        rows=row.integer("MH"),
        vectors=row.dims("numVec"),
        pe=row.integer("PE"),
        simd=row.integer("SIMD"),
        activation=row.finn_type("idt"),
        weight=row.finn_type("wdt"),
        output=row.finn_type("odt"),
        accumulator=row.finn_type("acc"),
        no_activation=row.flag("noAct"),
        mem_mode=row.choice("mem_mode", MEM_MODES),
        ram_style=row.choice("ram_style", RAM_STYLES),
        threshold_ram_style=row.choice("ram_style_thr", THRESHOLD_RAM_STYLES),
        res_type=row.choice("resType", RES_TYPES),
    )


def _mvau_rtl(row: Fields) -> FinnOperator:
    return Mvau(
        backend="rtl",
        part=_part(row),
        cols=row.integer("MW"),
        rows=row.integer("MH"),
        vectors=row.dims("numVec"),
        pe=row.integer("PE"),
        simd=row.integer("SIMD"),
        activation=row.finn_type("idt"),
        weight=row.finn_type("wdt"),
        # the RTL unit has no thresholds: nothing it is costed for depends on its output type
        output=row.finn_type("odt", default="INT32"),
        no_activation=True,
        ram_style=row.choice("ram_style", RAM_STYLES),
    )


def _vvau(backend: Backend) -> Callable[[Fields], FinnOperator]:
    def build(row: Fields) -> FinnOperator:
        _part(row)  # checked like the others, although no formula of the VVAU depends on it
        return Vvau(
            backend=backend,
            channels=row.integer("Channels"),
            kernel=row.pair("Kernel"),
            out_dim=row.pair("Dim"),
            pe=row.integer("PE"),
            simd=row.integer("SIMD"),
            activation=row.finn_type("idt"),
            weight=row.finn_type("wdt"),
            output=row.finn_type("odt"),
            no_activation=row.flag("noAct"),
            ram_style=row.choice("ram_style", RAM_STYLES),
            res_type=row.choice("resType", RES_TYPES),
        )

    return build


def _window_hls(row: Fields) -> FinnOperator:
    return WindowHls(
        channels=row.integer("IFMChannels"),
        in_dim=row.pair("IFMDim"),
        out_dim=row.pair("OFMDim"),
        kernel=row.pair("K"),
        stride=row.pair("Stride"),
        simd=row.integer("SIMD"),
        activation=row.finn_type("idt"),
        ram_style=row.choice("ram_style", RAM_STYLES),
    )


def _window_rtl(row: Fields) -> FinnOperator:
    window = WindowRtl(
        channels=row.integer("IFMChannels"),
        in_dim=row.pair("IFMDim"),
        out_dim=row.pair("OFMDim"),
        kernel=row.pair("K"),
        stride=row.pair("Stride"),
        dilation=row.pair("Dilation"),
        simd=row.integer("SIMD"),
        parallel_window=row.flag("parallel_window"),
        depthwise=row.flag("depthwise"),
        activation=row.finn_type("idt"),
        ram_style=row.choice("ram_style", RAM_STYLES),
    )
    _check_derived(row, "impl_style", window.impl_style)
    _check_derived(row, "buffer_depth", window.buffer_depth)
    return window


def _threshold_output(row: Fields) -> FinnType:
    """The output type; FINN's estimates look at its width and never at the number of thresholds."""
    output = row.finn_type("odt")
    most = 2**output.bits - 1
    if row.has("numSteps") and row.integer("numSteps") > most:
        raise row.error("numSteps", f"at most {most}, since {output.name} has {most + 1} values")
    return output


def _thresholding_rtl(row: Fields) -> FinnOperator:
    output = _threshold_output(row)
    return ThresholdingRtl(
        channels=row.integer("NumChannels"),
        pe=row.integer("PE"),
        threshold=row.finn_type("idt"),
        output=output,
        vectors=(THRESHOLDING_TABLE_VECTORS,),
        depth_trigger_bram=row.integer("depth_trigger_bram", least=0),
        depth_trigger_uram=row.integer("depth_trigger_uram", least=0),
    )


def _thresholding_hls(row: Fields) -> FinnOperator:
    _threshold_output(row)
    return ThresholdingHls(
        channels=row.integer("NumChannels"),
        pe=row.integer("PE"),
        activation=row.finn_type("idt"),
        vectors=(THRESHOLDING_TABLE_VECTORS,),
        # the tables write the memory style behind the operator's name
        ram_style="block" if row.op.endswith(":block") else "distributed",
    )


def _fifo(row: Fields) -> FinnOperator:
    fifo = Fifo(
        depth=row.integer("depth", least=2),
        width=row.integer("width"),
        impl_style=row.choice("impl_style", ("rtl", "vivado")),
        ram_style=row.choice("ram_style", RAM_STYLES),
    )
    _check_derived(row, "adjusted_depth", fifo.adjusted_depth)
    return fifo


def _width_converter(row: Fields) -> FinnOperator:
    return WidthConverter(in_width=row.integer("inWidth"), out_width=row.integer("outWidth"))


ROW_OPERATORS: Mapping[str, Callable[[Fields], FinnOperator]] = MappingProxyType(
    {
        "MVAU_hls": _mvau_hls,
        "MVAU_rtl": _mvau_rtl,
        "VVAU_hls": _vvau("hls"),
        "VVAU_rtl": _vvau("rtl"),
        "ConvolutionInputGenerator_hls": _window_hls,
        "ConvolutionInputGenerator_rtl": _window_rtl,
        "Thresholding_rtl": _thresholding_rtl,
        "Thresholding_hls:distributed": _thresholding_hls,
        "Thresholding_hls:block": _thresholding_hls,
        "StreamingFIFO_rtl": _fifo,
        "StreamingDataWidthConverter_rtl": _width_converter,
        "StreamingDataWidthConverter_hls": _width_converter,
    }
)
"""What reads the row of each operator; the key is the text of column `op`."""


def read_row(row: Mapping[str, str]) -> FinnOperator:
    """The operator that a CSV row describes.

    Args:
        row: text by column name, as `csv.DictReader` gives it; empty columns count as absent, so that rows of several
            operators can share one file.

    Raises:
        FinnModelError: column `op` names no known operator, a column is missing, unknown, has a value outside what is
            supported, or the folding does not divide; the text names the column, the value and what would do.
    """
    op = row.get("op") or ""
    if op not in ROW_OPERATORS:
        raise FinnModelError(f"column op must be one of {', '.join(ROW_OPERATORS)}, but got {op!r}.")
    if None in row:
        raise FinnModelError(f"a row of {op} must not have more values than there are columns.")
    fields = Fields(op, "column", {name: value for name, value in row.items() if name != "op"})
    operator = ROW_OPERATORS[op](fields)
    known = RESULT_COLUMNS | DESCRIPTION_COLUMNS
    unknown = [name for name in fields.unread() if name not in known and not name.startswith(MEASURED_PREFIX)]
    if unknown:
        raise FinnModelError(
            f"column {unknown[0]} is not known for {op}, but holds {row[unknown[0]]!r}; known are "
            f"{', '.join(sorted(fields.read))}."
        )
    return operator


def cost_row(row: Mapping[str, str]) -> tuple[Resources, int]:
    """(resources, cycles per frame) of the operator that a CSV row describes, equal to FINN v0.10.1's estimates.

    This is the compatibility mode: it repeats what FINN says where that is known to be wrong, too; each operator's
    module says where. FIFOs and width converters have 0 cycles, since a row does not know their streams.

    Raises:
        FinnModelError: as `read_row`.
    """
    operator = read_row(row)
    return operator.resources(), operator.cycles()
