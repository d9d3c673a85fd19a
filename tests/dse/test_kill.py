"""`kill -9` in the middle of a real sweep, several times, then the same command: the table of an undisturbed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dse.template import render

TRIALS = 6


def write_config(path):
    data = yaml.safe_load(render("digits-resnet", "kill"))
    data["space"] |= {
        "recipe": ["rtn", "bias_correction"],
        "weight": ["int4", "int8", "e2m1"],
        "activation": ["int4", "int8"],
    }
    data["search"] = {"sampler": "tpe", "trials": TRIALS, "batch": 2}
    data["evaluation"] = {"test_images": 100, "calibration_images": 32}
    path.write_text(yaml.safe_dump(data))


def command(config, results, *extra):
    return [sys.executable, "-m", "dse", "run", str(config), "--results", str(results), "--workers", "1", *extra]


def finish(config, results):
    done = subprocess.run(command(config, results, "--json"), check=True, capture_output=True, text=True)
    table = pd.read_csv(results / "kill" / "points.csv").drop(columns="seconds")
    return json.loads(done.stdout), table


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    write_config(folder / "kill.yaml")
    return *finish(folder / "kill.yaml", folder), folder


@pytest.mark.parametrize("stored", [0, 1, 3, 4])
def test_a_killed_sweep_resumes_to_the_same_front(tmp_path, undisturbed, stored):
    write_config(tmp_path / "kill.yaml")
    process = subprocess.Popen(command(tmp_path / "kill.yaml", tmp_path), stderr=subprocess.PIPE, text=True, bufsize=1)
    assert process.stderr is not None
    lines = 0
    if stored == 0:  # before the first point: while the references are measured
        while not (tmp_path / "kill" / "study.db").exists():
            time.sleep(0.02)
    else:
        for _ in process.stderr:
            lines += 1
            if lines == stored:
                break
        time.sleep(0.05 * stored)  # somewhere inside the next point
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    summary, table = finish(tmp_path / "kill.yaml", tmp_path)
    expected_summary, expected, _ = undisturbed
    pd.testing.assert_frame_equal(table, expected)
    assert summary["hypervolume"] == expected_summary["hypervolume"]
    assert summary["trials"] == TRIALS
    # what was stored before the kill was not quantized again
    assert summary["quantizations"] <= expected_summary["quantizations"] - (1 if stored else 0)


def test_fewer_trials_than_stored_add_none_and_say_so(tmp_path, undisturbed):
    shutil.copytree(undisturbed[2] / "kill", tmp_path / "kill")
    write_config(tmp_path / "kill.yaml")
    done = subprocess.run(
        command(tmp_path / "kill.yaml", tmp_path, "--trials", "2"), check=True, capture_output=True, text=True
    )
    assert f"{TRIALS} numerics points are stored, more than the 2 asked for: none is added, all count" in done.stderr
    assert done.stdout.startswith(f"{TRIALS} numerics points (")
    assert "0 quantizations in this run" in done.stdout


@pytest.mark.parametrize("seconds", [0.15, 0.4, 1.0])
def test_ctrl_c_while_the_program_loads_is_quiet(tmp_path, seconds):
    write_config(tmp_path / "kill.yaml")
    process = subprocess.Popen(command(tmp_path / "kill.yaml", tmp_path), stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    # Python ends by the signal itself where it came inside an exec, as of a dataclass; a shell calls both 130
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in said


def two_workers(folder):
    """A sweep with two worker processes in a process group of its own, past its references; and its workers."""
    write_config(folder / "kill.yaml")
    process = subprocess.Popen(
        [*command(folder / "kill.yaml", folder), "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    process.stderr.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def test_ctrl_c_at_a_terminal_reaches_the_workers_too_and_is_one_sentence(tmp_path):
    process, workers = two_workers(tmp_path)
    assert workers
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "leaked" not in said
    assert said.splitlines()[-1].startswith("interrupted; every finished point is stored")


def test_a_worker_that_is_ended_from_outside_is_one_sentence_and_the_sweep_resumes(tmp_path, undisturbed):
    process, workers = two_workers(tmp_path)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert "a worker must live until the sweep ends" in said.splitlines()[-1]
    _, table = finish(tmp_path / "kill.yaml", tmp_path)
    pd.testing.assert_frame_equal(table, undisturbed[1])


def test_ctrl_c_stores_what_is_finished_and_exits_130(tmp_path):
    write_config(tmp_path / "kill.yaml")
    process = subprocess.Popen(command(tmp_path / "kill.yaml", tmp_path), stderr=subprocess.PIPE, text=True, bufsize=1)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "every finished point is stored" in said
    assert "Traceback" not in said
    assert len(pd.read_csv(tmp_path / "kill" / "points.csv")) >= 3
