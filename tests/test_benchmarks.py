"""The benchmarks run, and what they compare is equal."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_cost_models_benchmark_finds_both_paths_equal() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "cost_model.py", "--points", "2000", "--scalar-points", "4"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rates = [float(rate.replace(",", "")) for rate in re.findall(r"([\d,]+) points/s", done.stdout)]
    assert len(rates) == 3
    assert min(rates) > 0
    assert "of the first 4 points are equal to the last bit" in done.stdout


def test_the_recipes_benchmark_measures_and_says_what_is_refused() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from recipes import Setting, measure, table

    setting = Setting("digits-resnet", "int4", "int4", ("rtn", "gptq", "axe", "rotate"), bits=11, tile=64)
    name, rows = measure(setting, 100)
    assert name == "top1"
    rtn, gptq, axe, rotate = rows
    assert rtn.bits > 11 >= axe.bits
    assert min(row.value for row in rows[:3]) > 0.5
    assert gptq.seconds > rtn.seconds
    assert rotate.refused is not None
    lines = list(table(setting, name, rows))
    assert lines[0] == "\n**digits-resnet: int4/channel x int4, first and last layer alike; AXE: P=11, T=64**\n"
    assert lines[-1].startswith("| `rotate` | refused: rotate must find a residual stream")
    assert re.fullmatch(r"\| `axe` \| 0\.\d{4} \| 0\.\d{4} - [01]\.\d{4} \| 11 \| \d+\.\d\d \|", lines[-2])
