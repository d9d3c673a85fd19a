"""`dse layers`: QSNR, crest factor and accumulator width of every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dse.files import as_json


def layers(
    config: Annotated[Path, typer.Argument(help="The configuration (YAML): its workload, rules and first choices.")],
    weight: Annotated[str | None, typer.Option(help="Weight format, instead of the configuration's first.")] = None,
    activation: Annotated[str | None, typer.Option(help="Activation format, likewise.")] = None,
    weight_scaling: Annotated[str | None, typer.Option(help="channel, group32_po2, ..., likewise.")] = None,
    activation_scaling: Annotated[str | None, typer.Option(help="tensor, token, ..., likewise.")] = None,
    recipe: Annotated[str | None, typer.Option(help="rtn, gptq, ..., likewise.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Print what a quantization does to each layer: QSNR and crest factor of weights and inputs, accumulator width.

    Example: dse layers sweep.yaml --weight e2m1 --activation int4
    """
    from dse.config import load_config
    from dse.executors import single_thread
    from dse.layers import describe_layers, layers_table

    single_thread()
    chosen = {
        "weight": weight,
        "activation": activation,
        "weight_scaling": weight_scaling,
        "activation_scaling": activation_scaling,
        "recipe": recipe,
    }
    document = describe_layers(load_config(config), chosen)
    if json:
        typer.echo(as_json(document), nl=False)
        return
    Console(width=None if Console().is_terminal else 150).print(layers_table(document))
    typer.echo(document["definition"], err=True)
