"""The files of an exported datapath: Verilog, memories, testbenches, a Makefile that runs them, a description and a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse.export.rtl_check import Part, Vectors
from dse.export.rtl_design import Integers, LayerDesign
from dse.files import as_json
from hwmodels.rtl.corners import Corners, corner_testbench
from hwmodels.rtl.layer import (
    layer_verilog,
    requantizer_verilog,
    row_verilog,
    scales_file,
    thresholds_file,
    weights_file,
)
from hwmodels.rtl.layer_bench import layer_testbench, scale_words, threshold_words, vector_files, weight_words
from hwmodels.rtl.reference import codes_of
from hwmodels.rtl.segment import SegmentUnit
from hwmodels.rtl.thresholds import ThresholdUnit
from hwmodels.rtl.verilog import module_names, renamed

Files = dict[str, str]


def part_names(designs: Sequence[LayerDesign]) -> dict[Part, str]:
    """A module name for every distinct unit of a row and every distinct requantizer, in the order of their first use."""
    names: dict[Part, str] = {}
    for design in designs:
        for part in (design.unit.row, design.unit.requantizer):
            if part is not None and part not in names:
                base = _part_name(part)
                taken = sum(name == base or name.startswith(f"{base}_v") for name in names.values())
                names[part] = base if not taken else f"{base}_v{taken + 1}"
    return names


def _part_name(part: Part) -> str:
    if isinstance(part, ThresholdUnit):
        return f"search_{part.output.name}_of_{part.sum_bits}"
    path = part.datapath
    name = f"dot_{path.weight.format.name}_{path.activation.format.name}_p{path.accumulator.bits}_x{part.lanes}"
    return name if not isinstance(part, SegmentUnit) else f"{name}_s{part.segment}_to{part.outer_bits}"


def part_files(part: Part, name: str, given: Corners | None) -> Files:
    """The module of a part under its name, and the testbench of a dot-product unit on its corner vectors."""
    text, top = requantizer_verilog(part) if isinstance(part, ThresholdUnit) else row_verilog(part)
    names = {
        module: module.replace(top, name, 1) if module.startswith(top) else f"{name}_{module}"
        for module in module_names(text)
    }
    files = {f"rtl/{name}.v": renamed(text, names)}
    if given is not None:
        assert not isinstance(part, ThresholdUnit)
        files[f"test/{name}_test.v"] = renamed(corner_testbench(part, given), {**names, f"{top}_test": f"{name}_test"})
    return files


def layer_files(design: LayerDesign, names: Mapping[Part, str], vectors: Vectors, thresholds: Integers | None) -> Files:
    """The module of a layer, its memories, its testbench and what that reads."""
    unit, name = design.unit, design.name
    search = "" if unit.requantizer is None else names[unit.requantizer]
    weights = codes_of(design.path.weight.format, design.result.codes)
    files = {
        f"rtl/{name}.v": f"// {design.result.name}: {unit.rows} x {unit.cols}, PE {unit.pe}, SIMD {unit.row.lanes}\n"
        + layer_verilog(name, unit, names[unit.row], search),
        f"test/{name}_test.v": layer_testbench(name, unit, len(vectors.inputs)),
        weights_file(name): weight_words(unit, weights),
        **vector_files(name, unit, vectors.inputs, vectors.sums, vectors.codes),
    }
    if design.scales is not None:
        files[scales_file(name)] = scale_words(unit, design.scales.codes)
    if thresholds is not None:
        for (row, stage), text in threshold_words(unit, thresholds).items():
            files[thresholds_file(name, row, stage)] = text
    return files


def describe(design: LayerDesign, names: Mapping[Part, str], site: str | None) -> dict[str, Any]:
    """What `design.json` says of a layer."""
    unit, path = design.unit, design.path
    row = unit.row
    described: dict[str, Any] = {
        "module": design.name,
        "unit": names[row],
        "rows": unit.rows,
        "cols": unit.cols,
        "depthwise": unit.depthwise,
        "pe": unit.pe,
        "simd": row.lanes,
        "simd_of_point": design.folding.simd,
        "words_per_row": unit.words,
        "cycles_per_vector": unit.words * unit.folds,
        "weight": str(path.weight),
        "activation": str(path.activation),
        "zero_point": design.zero_point,
        "accumulator": {
            "bits": path.accumulator.bits,
            "overflow": str(path.accumulator.overflow),
            "dropped_bits": design.dropped,
        },
        "tile": None,
        "sum_bits": unit.sum_bits,
        "latency": unit.latency,
        "requantizer": None,
    }
    if isinstance(row, SegmentUnit):
        described["tile"] = {"products": row.segment, "units": row.units, "outer_bits": row.outer_bits}
        if row.scale is not None:
            described["tile"]["scale"] = row.scale.name
    if unit.requantizer is not None:
        described["requantizer"] = {
            "unit": names[unit.requantizer],
            "output": unit.requantizer.output.name,
            "site": site,
            "latency": unit.requantizer_latency,
        }
    return described


def design_json(about: Mapping[str, Any], layers: Mapping[str, Any], names: Mapping[Part, str]) -> str:
    """The text of `design.json`: what was exported, every layer, and every unit with the layers that it serves."""
    units: dict[str, Any] = {}
    for part, name in names.items():
        users = [
            layer for layer, each in layers.items() if name in (each["unit"], (each["requantizer"] or {}).get("unit"))
        ]
        units[name] = {"file": f"rtl/{name}.v", "layers": users}
        if isinstance(part, ThresholdUnit):
            units[name] |= {"instances": sum(layers[user]["pe"] for user in users)}
        else:
            units[name] |= {
                "instances": sum(layers[user]["pe"] for user in users),
                "lanes": part.lanes,
                "pipeline": part.pipeline,
            }
    return as_json({**about, "layers": layers, "units": units})


def makefile(benches: Sequence[str]) -> str:
    """Run every testbench in Icarus (`make`) or in Verilator (`make verilator`); a wrong word fails the target."""
    return _MAKEFILE.replace("@BENCHES@", " ".join(benches))


_MAKEFILE = r"""# make            every testbench in Icarus Verilog (Debian, Ubuntu: apt install iverilog)
# make verilator  the same in Verilator 5 or later (apt install verilator)
# make lint       Verilator's own opinion of the design, without its advice on widths
BENCHES := @BENCHES@
SOURCES := $(wildcard rtl/*.v)
RIGHT := (^0 of [0-9]+ vectors wrong)|(: ([0-9]+) of \3 words of sums seen, 0 wrong; ([0-9]+) of \4 words of codes seen, 0 wrong)

icarus: $(BENCHES:%=build/%.icarus)
verilator: $(BENCHES:%=build/%.verilator)

build/%.icarus: test/%_test.v $(SOURCES)
	@mkdir -p build
	iverilog -g2001 -s $*_test -o build/$*.vvp $(SOURCES) $<
	vvp -n build/$*.vvp > $@.log; cat $@.log
	grep -Eq '$(RIGHT)' $@.log
	@touch $@

build/%.verilator: test/%_test.v $(SOURCES)
	@mkdir -p build
	verilator --binary --timing -Wno-fatal -Wno-lint -Wno-style --top-module $*_test --Mdir build/$*.obj -o run $(SOURCES) $<
	build/$*.obj/run > $@.log; cat $@.log
	grep -Eq '$(RIGHT)' $@.log
	@touch $@

lint:
	for top in $(filter layer_%,$(BENCHES)); do \
	verilator --lint-only -Wall -Wno-WIDTH -Wno-DECLFILENAME -Wno-UNUSEDSIGNAL --top-module $$top $(SOURCES) || exit 1; \
	done

clean:
	rm -rf build

.PHONY: icarus verilator lint clean
"""

README = """# The compute datapath of {name}

{design}

`design.json` maps every layer to its module and unit, with PE, SIMD, accumulator, tile and latency; `report.json` says what was
simulated and compared. `make` runs every testbench in Icarus Verilog, `make verilator` in Verilator; run them here, because
memories are read by paths relative to this folder.

- `rtl/dot_*.v`: dot-product units (multipliers, aligners, adder tree, accumulator; `_s` ones cut sums into segments).
- `rtl/search_*.v`: requantizers by thresholds, a binary search that settles a bit of the code every two cycles.
- `rtl/layer_*.v`: a layer: a ROM of weights, PE units of SIMD lanes, PE requantizers with a ROM of thresholds for each stage.
- `data/*.hex`: the memories, and the vectors of the testbenches. `test/*.v`: the testbenches, all self-checking.

A layer takes one word of SIMD activation codes per enabled cycle, lane 0 in the lowest bits. The words of a vector come
rows / PE times, once for each group of PE rows (columns in the order kernel row, kernel column, input channel); a depthwise layer
takes the words of its PE channels instead. `sums_valid` and `codes_valid` say when PE sums or codes leave. What makes windows,
buffers and streams between layers is not here.

What an accumulator does with a sum that it cannot hold stands in `design.json`. Where that is impossible it is built to wrap,
which is never seen: its width is proved from the weights in the ROM. The testbenches of the units have other weights, and there
sums do overflow. Thresholds are those of the network's own quantizer (float scale, bias, rectification, rounding), so codes are
its codes. Group scales in float are held as 16-bit mantissas; `report.json` states what that changes.
"""
