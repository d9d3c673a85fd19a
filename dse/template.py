"""The commented configuration that `dse init` writes; ``sweeps/digits.yaml`` is the one of the embedded workload."""

from __future__ import annotations

import yaml

from dse.config import check_name
from workloads.registry import CLASSIFIER, metrics_of

UNSIGNED = ("ue2m1", "ue2m2", "ue2m3", "ue3m2", "ue2m4", "ue3m3")
"""Unsigned minifloats of 3 to 6 bits, two exponent bits or more: each is as wide as an integer that is offered."""

TEMPLATE = """\
# A sweep: which number formats, scales, recipes and accumulators are on the Pareto front of {workload}?
#   dse check FILE    validate, size of the space, time estimate
#   dse run FILE      run; the same command resumes after Ctrl-C or a kill
{name_line}                # results go to results/{name}/
workload: {workload}
seed: 0
objectives: {objectives}# a quality ({qualities}) and a cost (lut, carry8, ff, dsp, bram18, uram, cycles), more if wanted

# The numerics axes; every point is one choice of each. Combinations that cannot exist are left out.
space:
  # intN, intN_narrow (symmetric), eXmY (all codes finite), ocp_e4m3, ocp_e5m2, ... ; e1mY is the integer grid intN_narrow
  weight: [int2_narrow, int3_narrow, int4_narrow, int5_narrow, int6_narrow, int8_narrow,
           e2m1, e3m0, e2m2, e3m1, e2m3, e3m2, ocp_e4m3]
  # integer activations become unsigned where no value can be negative (behind a ReLU); minifloats if they are asked for as
  # unsigned: ue2m2 is e2m1 where values can be negative
  activation: [int3, int4, int5, int6, int8, e2m1, e2m2, e3m1, e2m3, e3m2, ocp_e4m3{unsigned}]
  # one scale per tensor, output channel or group of input channels (the block size); _po2: powers of two (OCP MX: e2m1 with
  # group32_po2), _e4m3: E4M3 beside one float (NVFP4: e2m1 with group16_e4m3)
  weight_scaling: [channel, channel_po2, group16, group16_po2, group32, group32_po2]
  # also tensor_asym (zero point, integers); where layers read vectors and no windows (transformers): token, group32_po2_dynamic
  activation_scaling: [tensor, tensor_po2]
  # rtn: round to nearest; gptq, gpfq, qronos, adaround: choose codes by the outputs of their layer;
  # gptq_float: GPTQ on the float network's inputs, so that all activation formats share its weights (faster);
  # axe, axe_gpfq: GPTQ, GPFQ whose codes are safe in the accumulator that is asked for (integers only)
  # in front, what prepares the float network: rotate (decoders, free), hadamard32 (online rotations in blocks of 32),
  # massdiff32+hadamard32 (with even blocks); rotate+hadamard32+gptq; one of equalize (for weights of one scale per tensor),
  # smoothquant50 (alpha .50), awq4 (searched for INT4); last of them magr10 (alpha .010)
  recipe: [rtn, bias_correction, gptq, gptq+bias_correction, axe]
  # P in bits: auto is the width that each layer's weights are proved to need; a number must be proved for every layer
  accumulator: [auto, "18", "20", "22"]
  # what sums do that P bits do not hold. impossible: nothing, P is proved; saturate, wrap: the network is measured with what
  # its registers really hold, bit by bit (with a number for P; no unit exists that does not hold one product, see rules.edge)
  overflow: [impossible]    # impossible, saturate, wrap
  tile: [none]              # T, products per inner accumulator (with axe, axe_gpfq, saturate or wrap)
  weight_rule: [absmax]     # what scales are fitted to: absmax, mse, percentile99.9
  activation_rule: [auto]   # the same; auto is mse, and absmax for dynamic scales
  kv_cache: [none]          # transformers: format of the keys and values that attention stores, int8, e2m1, ...
  kv_scaling: [token]       # token (and head; dynamic), tensor (static), each with or without _po2

rules:
  edge: int8                # weights and input of the first and the last layer; same: as on the axes
  residual: int8            # both inputs of a residual add; same: as on the axes
  rotation: int12           # what online rotations (hadamardN) read; wider beside activations of more than 6 bits
  layers: []                # exceptions by name or type (conv, depthwise, linear): - {{match: "*.depthwise", weight: int8}}

# Hardware choices cost microseconds: all of them are enumerated on top of every numerics point.
hardware:
  device: XCZU3EG           # XC7Z020, XCZU3EG, XCZU7EV, XCU250, XCU55C, XCVC1902; or a list
  target_fps: 10000         # every layer is folded (PE, SIMD) to reach it; or a list
  clock_mhz: 200            # assumed, not a timing claim
  multiplier: lut           # lut, dsp (integers only), or [lut, dsp]; with dsp, make dsp an objective too
  memory: auto              # weight memory: auto, bram, lutram, uram, external (off-chip); or a list
  model: calibrated         # calibrated, or finn (FINN v0.10.1 compatible, integers only)
  float_bits: 16            # transformers: of the fixed-point numbers that norms, attention and residual stream compute in
  utilization: 1.0          # share of the part that a design may use

search:
  sampler: nsga2            # nsga2, tpe, gp, random
  trials: 200               # numerics points, all different
  batch: 8                  # points asked for at once; more workers than this would wait
  population: 16            # of nsga2

evaluation:
  test_images: null         # null: all that the workload has
  calibration_images: null
  device: cpu               # cuda: networks are measured on a GPU (calibrated on the processor as ever)
  degrade: none             # of test images: noise0.1 (of a pixel's range), blur1 (pixels)
"""


def render(workload: str, name: str) -> str:
    """The configuration text for a workload.

    Raises:
        BitfrontError: no such workload, or a name that no sweep can have.
    """
    qualities = metrics_of(workload)
    objectives = f"[{qualities[0]}, lut]".ljust(15) + " "
    # language models have no rectifier: an unsigned minifloat would be the signed one everywhere
    unsigned = f",\n{' ' * 15}{', '.join(UNSIGNED)}" if qualities == CLASSIFIER else ""
    name_line = yaml.safe_dump({"name": check_name(name)}).strip()  # quoted where YAML reads it otherwise: yes, 1.5
    return TEMPLATE.format(
        workload=workload,
        name=name,
        name_line=name_line,
        objectives=objectives,
        qualities=", ".join(qualities),
        unsigned=unsigned,
    )
