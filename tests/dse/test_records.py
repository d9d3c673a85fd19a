"""The store: what is added is read back, in order; what is not a store, or is another's, is refused."""

import errno
import json
import sqlite3

import optuna
import pytest

from dse.config import parse_config
from dse.files import FileError, atomic, write_text
from dse.lock import locked
from dse.manifest import MANIFEST_FILE, open_manifest
from dse.records import STUDY_FILE, Accuracy, Record, RecordError, Row, Store
from dse.search import Proposal, finished_trial
from dse.space import make_space
from dse.template import render

SPACE = make_space(parse_config(render("digits-resnet", "x")))


def record(index):
    choice = {a: choices[index % len(choices)] for a, choices in SPACE.axes.items()}
    accuracy = Accuracy(
        top1=0.9,
        top1_low=0.88,
        top1_high=0.92,
        loss=0.3,
        samples=2000,
        widths={"head": 17},
        weight_bits=100,
        seconds=1.0,
    )
    row = Row(id=f"{index}.0", status="ok", family="INT", top1=0.9, lut=1000.0 + index, **choice)
    return Record(index=index, choice=choice, rows=(row,), numerics_key=f"k{index}", accuracy=accuracy)


def trial(made, values=(0.9, 1000.0)):
    return finished_trial(SPACE, Proposal(made.index, made.choice, {}), values, failed=False)


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path, "x", ["maximize", "minimize"], ["top1", "lut"])
    yield made
    made.close()


def test_points_are_read_back_in_the_order_of_their_indices(store, tmp_path):
    for index in (2, 0, 1):
        store.add(record(index), trial(record(index)))
    store.add_reference("int8", record(-1))
    again = Store.open(tmp_path)
    assert [r.index for r, _ in again.trials()] == [0, 1, 2]
    assert [r for r, _ in again.trials()] == [record(0), record(1), record(2)]
    assert [row.id for row in again.rows()] == ["-1.0", "0.0", "1.0", "2.0"]
    again.close()


def test_optuna_reads_the_study_with_its_front(store, tmp_path):
    store.add(record(0), trial(record(0), (0.9, 100.0)))
    store.add(record(1), trial(record(1), (0.8, 200.0)))
    store.add(record(2), trial(record(2), None))
    study = optuna.load_study(study_name="x", storage=f"sqlite:///{tmp_path / STUDY_FILE}")
    assert [t.params["weight"] for t in study.best_trials] == [record(0).choice["weight"]]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    study._storage._backend.engine.dispose()


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(RecordError, match=r"has no study\.db; `dse run` makes one"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + b"\x00" * 4000])
def test_a_file_that_is_not_a_study_is_refused(tmp_path, content):
    (tmp_path / STUDY_FILE).write_bytes(content)
    with pytest.raises(RecordError, match=r"must (be an Optuna study in SQLite|hold one study)"):
        Store.open(tmp_path)


def test_a_study_with_foreign_records_is_refused(store, tmp_path):
    foreign = trial(record(0))
    foreign.user_attrs["record"] = json.loads('{"index": "x"}')
    store._study.add_trial(foreign)
    with pytest.raises(RecordError, match="must hold bitfront's records"):
        store.rows()


def test_a_study_with_damaged_records_is_refused(store, tmp_path):
    store.add(record(0), trial(record(0)))
    store.close()
    with sqlite3.connect(tmp_path / STUDY_FILE) as database:
        database.execute("UPDATE trial_user_attributes SET value_json = substr(value_json, 1, 20)")
    database.close()
    with pytest.raises(RecordError, match=r"must be an Optuna study in SQLite, but it cannot be read"):
        store.rows()


def test_a_study_that_cannot_be_written_says_why_and_keeps_what_it_has(store, tmp_path):
    store.add(record(0), trial(record(0)))
    with sqlite3.connect(tmp_path / STUDY_FILE) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON trials BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    database.close()
    with pytest.raises(
        RecordError, match=r"study\.db must be a study that can be written.*: database or disk is full;"
    ):
        store.add(record(1), trial(record(1)))
    assert store.rows() == list(record(0).rows)


def test_a_study_without_its_manifest_is_not_taken_over(tmp_path):
    config = parse_config(render("digits-resnet", "x"))
    open_manifest(tmp_path, config)
    Store.create(tmp_path, "x", ["maximize", "minimize"], ["top1", "lut"]).close()
    open_manifest(tmp_path, config)
    (tmp_path / MANIFEST_FILE).unlink()
    with pytest.raises(RecordError, match=r"must have the manifest\.json of its study\.db"):
        open_manifest(tmp_path, config)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("odd")])
def test_a_full_disk_is_one_sentence_with_the_file_that_was_asked_for(tmp_path, error):
    message = rf"a\.txt must be a file that can be written, but it cannot: .*{error.args[-1]}"
    with pytest.raises(FileError, match=message), atomic(tmp_path / "a.txt"):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half_written():
        with atomic(path) as temporary:
            temporary.write_text("ha")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        half_written()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_one_run_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(RecordError, match="one `dse run` at a time"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_rows_refuse_numbers_that_are_none():
    with pytest.raises(ValueError, match="finite"):
        Row(id="0", status="ok", family="INT", top1=float("nan"))
