"""A design point: numerics and hardware as two separate values, each with a key of its own.

Accuracy depends on the numerics key alone and is evaluated once per key; hardware choices are enumerated on top of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from hwmodels.datapath import Granularity, Multiplier
from hwmodels.float_parts import FLOAT_BITS
from workloads.numerics import NumericsSpec, is_minifloat


@dataclass(frozen=True)
class Hardware:
    """What cost depends on beside the numerics.

    Args:
        device: name of the part.
        target_fps: frames per second that every layer must reach.
        clock_mhz: clock frequency (MHz) assumed for it; not a timing claim.
        multiplier: primitive of the multipliers.
        memory: weight memory style: auto, bram, lutram, uram or external (off-chip).
        model: calibrated or finn.
        float_bits: of the fixed-point numbers in which norms, attention and the residual stream of a language model compute.
    """

    device: str
    target_fps: float
    clock_mhz: float
    multiplier: Multiplier = Multiplier.LUT
    memory: str = "auto"
    model: str = "calibrated"
    float_bits: int = FLOAT_BITS

    @property
    def key(self) -> str:
        """The hardware key: a hash of all fields; what has its default since it exists is left out, for equal keys."""
        described = asdict(self)
        if self.float_bits == FLOAT_BITS:
            del described["float_bits"]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DesignPoint:
    """One row of a sweep: how the network is quantized and what it runs on."""

    numerics: NumericsSpec
    hardware: Hardware

    @property
    def key(self) -> str:
        """Identifies the design: everything asked of numerics (P too, where no recipe uses it) and of hardware."""
        asked = json.dumps(self.numerics.as_dict(), sort_keys=True)
        return hashlib.sha256(f"{asked}|{self.hardware.key}".encode()).hexdigest()[:16]


FAMILIES = ("INT", "minifloat", "mixed", "INT, block scale", "minifloat, block scale")


def family(spec: NumericsSpec) -> str:
    """The family of a numerics spec: INT, minifloat, mixed (one each), with block scale where weights have group scales."""
    kinds = {is_minifloat(spec.weight.format), is_minifloat(spec.activation.format)}
    stem = "mixed" if len(kinds) == 2 else "minifloat" if kinds == {True} else "INT"
    if spec.weight.scaling.granularity is Granularity.GROUP:
        return f"{'INT' if not is_minifloat(spec.weight.format) else 'minifloat'}, block scale"
    return stem
