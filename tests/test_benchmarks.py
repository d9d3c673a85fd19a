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
