"""The table of what a doorbell costs producers."""

from bench.doorbell import CLIENTS, WAYS, Rate, as_document, report

RATES = [
    Rate(way, clients, 1000.0 * clients / (place + 1) + run)
    for run in (300, 0, 1)
    for clients in CLIENTS
    for place, way in enumerate(WAYS)
]


def test_the_report_gives_each_way_its_median_and_its_share_of_the_bare_rate() -> None:
    assert report(RATES).splitlines() == [
        "| inserts a second | 1 client | of bare | 16 clients | of bare |",
        "| --- | --- | --- | --- | --- |",
        "| no trigger | 1,001 | 100% | 16,001 | 100% |",
        "| plain NOTIFY | 501 | 50% | 8,001 | 50% |",
        "| doorbell held | 334 | 33% | 5,334 | 33% |",
        "| doorbell free | 251 | 25% | 4,001 | 25% |",
    ]


def test_the_document_holds_the_medians_and_every_run() -> None:
    document = as_document(RATES)
    assert document["inserts_per_second"] == {
        way: {"1": 1000 / (place + 1) + 1, "16": 16000 / (place + 1) + 1} for place, way in enumerate(WAYS)
    }
    assert len(document["runs"]) == len(RATES)
