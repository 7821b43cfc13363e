"""HTML that cannot be put together wrongly: whatever is not markup already is escaped. Pure."""

from html import escape

VOID = frozenset({"meta", "link", "path", "rect", "line", "circle"})
"""Elements without content; those of SVG are closed by a slash, which HTML does not mind."""


class Markup(str):
    """Text that is HTML; made by `tag` and `join` only."""

    __slots__ = ()


def tag(element: str, /, *content: str, **attributes: str | None) -> Markup:
    """Return an element; of an attribute's name a last underscore falls away and others become hyphens.

    An attribute that is None is left out.
    """
    inside = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in VOID:
        return Markup(f"<{element}{inside}/>")
    return Markup(f"<{element}{inside}>{join(*content)}</{element}>")


def join(*content: str) -> Markup:
    """Return the parts one after the other, escaped where they are no markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in content))
