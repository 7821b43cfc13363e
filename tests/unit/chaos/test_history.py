"""The files of a history: what is written is what is read, whatever ended the writer."""

from pathlib import Path

import pytest

from chaos.history import (
    FILES,
    Attempt,
    Fate,
    Fault,
    FinalRow,
    History,
    Log,
    Record,
    RelayEvent,
    Run,
    digest,
    fingerprint,
    label,
    read,
)
from tests.unit.chaos.hand import arrival, attempt

RUN = Run(7, 0.0, 9.5, replicas=2, in_flight_max=10, emptied=9.0, versions={"python": "3.11"})
RECORDS: tuple[Record, ...] = (
    RUN,
    attempt(1),
    arrival(1, 1),
    Fault("kill", "relay-1", 1.0, 2.0, repeats_max=3, refusals=["unroutable"]),
    RelayEvent("relay-1", "tick", 1.5, {"claimed": 3, "doubts": {"relay_died": 1}}),
    FinalRow(1, "m1", "sent", 0, 1, None, 2.0),
)


def written(folder: Path, *records: Record) -> None:
    log = Log(folder)
    for each in records:
        log.add(each)
    log.close()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written(tmp_path, *RECORDS)

    run, attempts, arrivals, faults, events, rows = RECORDS
    assert isinstance(run, Run)
    assert read(tmp_path).events == ()
    assert read(tmp_path, events=True) == History(run, (attempts,), [arrivals], [faults], [events], [rows])  # type: ignore[list-item, arg-type]


def test_every_kind_has_a_file_of_its_own() -> None:
    assert {type(each) for each in RECORDS} == FILES.keys()
    assert len(set(FILES.values())) == len(FILES)


def test_several_records_may_be_written_at_once(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.add(RUN)
    log.add(attempt(1), attempt(2))
    log.add()

    assert read(tmp_path).attempts == (attempt(1), attempt(2))


def test_the_last_line_of_an_attempt_counts(tmp_path: Path) -> None:
    written(tmp_path, RUN, attempt(1, Fate.UNKNOWN), attempt(2, Fate.UNKNOWN), attempt(1))

    assert [each.fate for each in read(tmp_path).attempts] == [Fate.COMMITTED, Fate.UNKNOWN]


def test_a_line_whose_writer_died_does_not_count(tmp_path: Path) -> None:
    written(tmp_path, RUN, attempt(1), attempt(2))
    file = tmp_path / FILES[Attempt]
    file.write_bytes(file.read_bytes()[:-20])

    assert read(tmp_path).attempts == (attempt(1),)


def test_arrivals_come_in_the_order_of_their_positions(tmp_path: Path) -> None:
    written(tmp_path, RUN, arrival(2, 2), arrival(1, 1))

    assert [each.position for each in read(tmp_path).arrivals] == [1, 2]


def test_a_history_without_a_run_is_none(tmp_path: Path) -> None:
    written(tmp_path, attempt(1))

    with pytest.raises(FileNotFoundError):
        read(tmp_path)


def test_the_fingerprint_changes_with_any_byte_and_only_then(tmp_path: Path) -> None:
    written(tmp_path, *RECORDS)
    before = fingerprint(tmp_path)
    (tmp_path / "relay-1.log").write_text("not of the history")

    assert fingerprint(tmp_path) == before
    written(tmp_path, attempt(2))
    assert fingerprint(tmp_path) != before


def test_a_label_is_about_what_is_said_and_not_how() -> None:
    plain = label({"a": 1, "b": [True]}, {"type": "order", "priority": None})

    assert plain == label({"b": [True], "a": 1}, {"type": "order"})
    assert plain != label({"a": 1, "b": [False]}, {"type": "order"})
    assert plain != label({"a": 1, "b": [True], "type": "order"}, {})
    assert digest(b"a") != digest(b"b")
