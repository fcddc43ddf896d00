"""Names in messages: those of `popbayes.wording`."""

from popbayes.wording import listed, nearest

__all__ = ["listed", "nearest"]
