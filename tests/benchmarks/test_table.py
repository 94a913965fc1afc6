"""What the table says of a figure: reached, missed, or not to be told."""

from __future__ import annotations

import pytest

from tests.benchmarks.table import Figure, Table


@pytest.mark.parametrize(
    ("reach", "ours", "kafkas", "verdict"),
    [
        ("≥ 1.5 × Kafka", [3.0, 1.0, 5.0], [2.0], "yes"),
        ("≥ 1.5 × Kafka", [2.9], [2.0, 1.0, 9.0], "no: ≥ 1.5 × Kafka"),
        ("≥ 1.5 × Kafka", [3.0], [], ""),
        ("≥ 250,000/s and ≥ 1.5 × Kafka", [300_000.0], [100_000.0], "yes"),
        ("≥ 250,000/s and ≥ 1.5 × Kafka", [300_000.0], [250_000.0], "no: ≥ 1.5 × Kafka"),
        ("≥ 250,000/s and ≥ 1.5 × Kafka", [200_000.0], [200_000.0], "no: ≥ 250,000 and ≥ 1.5 × Kafka"),
        ("≥ 250,000/s and ≥ 1.5 × Kafka", [300_000.0], [], ""),
        ("≥ 250,000/s and ≥ 1.5 × Kafka", [200_000.0], [], "no: ≥ 250,000"),
        ("≤ 9.2 s", [8.8], [], "yes"),
        ("≤ 3 ×", [3.1], [1.0], "no: ≤ 3"),
        ("none", [0.01], [0.05], ""),
        ("", [], [1.0], ""),
    ],
)
def test_a_figure_says_whether_it_was_reached(reach: str, ours: list[float], kafkas: list[float], verdict: str) -> None:
    assert Figure("x", "s", reach, ours, kafkas).verdict == verdict


def test_the_table_has_a_row_for_each_figure_and_names_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    for kafka, values in ((False, (150.0, 250.0)), (True, (100.0,))):
        for value in values:
            table.add("writing", "MB/s", "≥ 40 MB/s and ≥ 2 × Kafka", value, kafka=kafka)
    table.add("reading", "MB/s", "≥ 1 × Kafka", 12.5, kafka=False)
    table.add("starting", "s", "≤ 1.5 s", 2.0, kafka=False)
    assert table.markdown().splitlines()[2:] == [
        "| writing | ≥ 40 MB/s and ≥ 2 × Kafka | 200 MB/s | 2 | 100 MB/s | 2.00 | yes |",
        "| reading | ≥ 1 × Kafka | 12.50 MB/s | 1 |  |  |  |",
        "| starting | ≤ 1.5 s | 2.00 s | 1 |  |  | no: ≤ 1.5 |",
    ]
    assert table.missed() == ["starting: ≤ 1.5"]
    assert "kafka  writing: 100.00 MB/s" in capsys.readouterr().err
