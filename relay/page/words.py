"""How numbers, times and texts from outside are written, on the page and in the terminal. Pure."""

from datetime import UTC, datetime

UNKNOWN = "\N{EM DASH}"
TEXT_CHARS_MAX = 300
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
_ROUGH = 100
"""From here on the tenth tells nothing."""
_KIB = 1024


def duration(seconds: float) -> str:
    """Write seconds as a person would: 0.4 s, 12 s, 3 min 20 s, 5 h 2 min, 3 d 4 h."""
    if seconds < 60:  # noqa: PLR2004 -- a minute
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 -- a tenth matters below
    whole = int(seconds)
    names = [name for name, _ in _UNITS] + ["s"]
    sizes = [size for _, size in _UNITS] + [1]
    first = next(place for place, size in enumerate(sizes) if whole >= size)
    rest = whole % sizes[first] // sizes[first + 1]
    head = f"{whole // sizes[first]} {names[first]}"
    return f"{head} {rest} {names[first + 1]}" if rest else head


def count(number: float) -> str:
    """Write 12345 as 12,345."""
    return f"{number:,.0f}"


def rate(per_second: float | None) -> str:
    """Write a rate with the digits that tell something."""
    if per_second is None:
        return UNKNOWN
    return f"{per_second:.1f}" if 0 < per_second < _ROUGH and per_second % 1 else count(per_second)


def times(number: object) -> str:
    """Write how often."""
    return "once" if str(number) == "1" else f"{number} times"


def size(number: float) -> str:
    """Write bytes as 412 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < _KIB:
            return f"{number:.1f} {unit}" if unit != "B" and number < 10 else f"{number:.0f} {unit}"  # noqa: PLR2004
        number /= _KIB
    return f"{number:,.1f} TiB"


def milliseconds(seconds: float) -> str:
    """Write a latency."""
    return f"{seconds * 1000:.1f} ms"


def moment(text: object) -> datetime | None:
    """Read a time as `/status` writes it; None for what is none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(at: datetime, *, today: datetime) -> str:
    """Write a time in UTC, with its date when that is another."""
    at, today = at.astimezone(UTC), today.astimezone(UTC)
    return f"{at:%H:%M:%S} UTC" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def plain(value: object, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Make one printable line of a text from outside: no escape sequence, nothing that turns the way of writing."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    text = " ".join(text.split())
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
