"""What `/status` says, made readable: the page for browsers, and what `relay top` shows of it. Pure."""

from relay.page.document import html, policy

__all__ = ["html", "policy"]
