"""Names of layers and sites from the names of ONNX nodes, so that a report on a file reads like one on its model."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MACHINERY = re.compile(
    r"(act_quant|weight_quant|input_quant|output_quant|bias_quant|export_handler(_\d+)?|activation_impl)"
)
_LONGEST = 120

QUANTIZER_SUFFIX = ".quant"
"""Behind the name of a site in the name of its quantizer node, where this project names the nodes."""

CODES_SUFFIX = ".codes"
"""Behind that in the name of the node that makes codes, where another one makes values of them."""

GROUPS_SUFFIX = ".groups"
"""Behind the name of a quantizer in that of the tensor whose channels are split into its groups."""


def layer_name(node_name: str) -> str:
    """``block1.conv1`` for the node ``/block1/conv1/Conv``; other names stay, less what is not printable.

    A name that begins with / is the path of the module that made the node (torch writes them so), then the operator; the
    parts of Brevitas' own machinery are left out, and of `head/head.1` the second part says it all.
    """
    if not node_name.startswith("/"):
        return _printable(node_name)
    parts: list[str] = []
    for part in node_name.strip("/").split("/")[:-1]:
        if _MACHINERY.fullmatch(part):
            continue
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return _printable(".".join(parts)) or _printable(node_name)


def site_name(node_name: str) -> str:
    """The name of the site that the quantizer node of that name makes."""
    return layer_name(node_name).removesuffix(CODES_SUFFIX).removesuffix(QUANTIZER_SUFFIX)


def unique(name: str, taken: Iterable[str]) -> str:
    """`name`, or `name_1`, `name_2`, ... whichever is not taken."""
    used = set(taken)
    numbered = (f"{name}_{n}" for n in range(1, len(used) + 2))
    return name if name not in used else next(n for n in numbered if n not in used)


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:_LONGEST]
