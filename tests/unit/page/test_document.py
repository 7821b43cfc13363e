"""The page as HTML: what it shows, what it does without, and that nothing from outside gets into it unescaped."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from relay import page
from relay.page.document import REFRESH_S, style
from relay.page.tag import VOID
from tests import statuses
from tests.statuses import status

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\x1b[31m\u202e\x00"


class Tree(HTMLParser):
    """The elements and words of a page; fails where one is not closed as it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def shown(**changes: Any) -> Tree:
    return Tree(page.html(status(**changes)))


def test_it_shows_all_there_is_to_know() -> None:
    text = shown().text

    for words in (
        "Flowing for 25 min, since 13:15:05 UTC",
        "Postgres flowing , answers in 0.8 ms",
        "Oldest row 0.2 s",
        "Waiting 12 rows 3 to be retried",
        "Out 270 rows/s this relay, 7 in hand",
        "Time to empty now",
        "Failed 2 rows need a person",
        "88123 unroutable 10 times 13:37:05 UTC unroutable: 312",
        "87001 invalid once 2026-11-25 13:40:05 UTC invalid: header",
        "Replicas: 2",
        "orders-relay-7c9f (this one) 0.1.0",
        "Dead rows 23,111 (2 %)",
        "Last autovacuum 11 min ago",
        "transaction reporting nightly 13 min 32 s 50,211 pid 4711",
        "RELAY_DATABASE_URL postgresql://relay:***@db.internal:5432/shop",
        "a server was gone",
    ):
        assert words in text, text


def test_an_outage_says_which_server_since_when_and_in_its_own_words() -> None:
    tree = shown(broker=statuses.gone())

    assert "Outage for 5 min, since 13:35:05 UTC RabbitMQ cannot be used." in tree.text
    assert "refused: [Errno 111] Connect call failed ('10.2.0.7', 5672)" in tree.text
    assert "It was asked 12 times whether it is back." in tree.text
    assert "card state bad" in [each.get("class") for each in tree.all("section")]


def test_before_the_first_sample_it_says_so_and_shows_no_number() -> None:
    nothing = {"every_seconds": 10.0, "points": []}
    text = shown(backlog=None, history=nothing, table=None, replicas=[], failures=[]).text

    assert "The table has not been sampled yet" in text
    assert text.count("not sampled yet") == 4
    assert "Oldest row \N{EM DASH} not sampled yet" in text
    assert text.count("No samples yet.") == 2
    assert "Newest failures Not looked at yet. Replicas None seen yet. Table Not looked at yet; the first look" in text
    assert "No row has failed." in shown(failures=[]).text


def test_numbers_that_stand_still_say_as_of_when_they_are() -> None:
    old = {"every_seconds": 10.0, "points": statuses.points(ago_s=130)}
    text = shown(database=statuses.gone(reason="unreachable", detail="no route"), history=old).text

    assert "Postgres cannot be used." in text
    assert "The numbers are as of 13:37:55 UTC, 2 min 10 s ago: no sample could be taken since." in text
    assert "The numbers are as of" not in shown().text


def test_what_a_login_may_not_see_is_said() -> None:
    assert "Grant pg_monitor" in shown(table=statuses.table(complete=False)).text
    assert "Grant" not in shown().text


def test_without_a_configuration_there_is_no_word_of_it() -> None:
    assert "Configuration" not in shown(config=None).text


def everywhere(value: Any) -> Any:
    """Put a hostile text wherever there is one."""
    if isinstance(value, dict):
        return {
            key: value[key] if key in {"at", "since", "started_at", "holder"} else everywhere(value[key])
            for key in value
        }
    if isinstance(value, list):
        return [everywhere(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("side", [statuses.flowing, statuses.gone])
def test_nothing_from_outside_is_taken_for_markup(side: Any) -> None:
    bad = everywhere(dict(status(broker=side())))
    bad |= {"config": {HOSTILE: HOSTILE}, "broker": bad["broker"] | {"state": side()["state"]}}
    text = page.html(bad)
    tree = Tree(text)

    assert tree.all("script", "img") == []
    assert "alert(1)" in tree.text
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text) is None
    assert {tag for tag, _ in tree.elements} <= {tag for tag, _ in shown().elements} | {"p", "code"}


def test_nothing_is_fetched_and_nothing_runs() -> None:
    tree = shown()

    assert not tree.all("script", "img", "iframe", "object", "form", "base")
    for _, attributes in tree.elements:
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "src", "srcset"}]
    assert {each["href"] for each in tree.all("a")} == {"?refresh=off", "status", "metrics"}
    [icon] = tree.all("link")
    assert str(icon["href"]).startswith("data:image/svg+xml,")
    assert not re.search(r"url\(|@import|@font-face|//", style())


def test_the_policy_lets_in_this_style_sheet_and_nothing_else() -> None:
    text = page.html(status())
    [sheet] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()

    assert page.policy() == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def test_it_asks_again_by_itself_until_it_is_told_not_to() -> None:
    def refreshes(text: str) -> list[str | None]:
        return [each["content"] for each in Tree(text).all("meta") if each.get("http-equiv") == "refresh"]

    assert refreshes(page.html(status())) == [str(REFRESH_S)]
    still = page.html(status(), refresh=False)
    assert refreshes(still) == []
    assert "?" in {each["href"] for each in Tree(still).all("a")}


def test_the_tab_tells_the_state() -> None:
    assert "<title>Flowing · orders-relay-7c9f · outbox-relay</title>" in page.html(status())
    assert "<title>Outage · orders-relay-7c9f · outbox-relay</title>" in page.html(status(broker=statuses.gone()))
    icons = {str(shown(broker=side).all("link")[0]["href"]) for side in (statuses.flowing(), statuses.gone())}
    assert len(icons) == 2


def test_pictures_and_tables_can_be_read_aloud() -> None:
    tree = shown()

    pictures = tree.all("svg")
    assert [each["role"] for each in pictures] == ["img", "img"]
    assert pictures[0]["aria-label"] == "Age of the oldest row, the last 1 h: oldest now 0.2 s, highest 40 s"
    assert len(tree.all("title")) == 3
    assert all(each.get("scope") in {"col", "row"} for each in tree.all("th"))
    assert len(tree.all("h1")) == 1
    assert tree.all("html") == [{"lang": "en"}]


def test_an_answer_of_another_version_is_shown_as_far_as_it_goes() -> None:
    old = {"name": "old", "version": "0.0.9", "broker": {"state": "flowing"}, "database": {"state": "dreaming"}}

    assert "Unknown" in Tree(page.html(old)).text
    wrongs: tuple[Any, ...] = ("x", 7, [], None, {"points": [None, {"at": 3}, {"at": "x"}]})
    for wrong in wrongs:
        Tree(page.html(dict.fromkeys(status(), wrong)))


def contrast(first: str, second: str) -> float:
    """How far two colours are apart, as WCAG 2 counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[begin : begin + 2], 16) / 255 for begin in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", style(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", light if scheme == "light" else dark))

    grounds: dict[str, tuple[str, ...]] = {tone: ("card", f"{tone}-ground") for tone in ("good", "warn", "bad")}
    grounds |= {"ink": ("card", "ground", "good-ground", "warn-ground", "bad-ground"), "soft": ("card", "ground")}
    grounds |= {"in": ("card", "ground"), "out": ("card",), "age": ("card",)}
    for text, behind in grounds.items():
        for ground in behind:
            assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)
