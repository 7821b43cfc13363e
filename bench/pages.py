"""`python -m bench.pages`: draw the plots of docs/performance and write its tables anew, from the result kept there."""

import re
from collections.abc import Mapping
from pathlib import Path

from bench import report
from bench.charts import charts
from bench.result import Result, of_json

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FOLDER = DOCS / "performance.md", DOCS / "performance"
RESULT = FOLDER / "result.json"
BLOCK = re.compile(r"(?P<begin><!-- made: (?P<name>\w+) -->\n)(?P<text>.*?)(?P<end><!-- /made -->)", re.DOTALL)


def written(page: str, result: Result) -> str:
    """Put every made part into a page anew: `facts`, `bars`, or the tables of a scenario."""
    blocks = _blocks(result)
    return BLOCK.sub(lambda found: found["begin"] + blocks.get(found["name"], MISSING) + found["end"], page)


MISSING = "Not measured in this run.\n"


def _blocks(result: Result) -> Mapping[str, str]:
    tables = {name: "\n".join(map(report.markdown, found.tables)) for name, found in result.found.items()}
    return tables | {"facts": report.listed(result.facts), "bars": report.bars(result.found)}


def main() -> None:
    """Write them."""
    result = of_json(RESULT.read_text())
    PAGE.write_text(written(PAGE.read_text(), result))
    for name, svg in charts(result).items():
        (FOLDER / name).write_text(svg)


if __name__ == "__main__":
    main()
