"""A table with the words that must be read before it: what `summary` and `compare` return."""

from dataclasses import dataclass
from html import escape
from os import PathLike
from textwrap import fill

import pandas as pd

WIDTH = 100
"""Characters of a line of text."""
TEXT = ("unit", "diagnosis", "prior")
"""Columns of words, set to the left."""


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Numbers, how to print them, and what to say first.

    Attributes
    ----------
    table : DataFrame
        The numbers, unrounded.
    printed : DataFrame of str
        The same cells as they are printed.
    messages : tuple of str
        Problems, in plain words, printed above the table; empty where there are none.
    title : str
        What the table is.
    notes : tuple of str
        What is needed to read the table, printed below it.
    """

    table: pd.DataFrame
    printed: pd.DataFrame
    messages: tuple[str, ...] = ()
    title: str = ""
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the numbers, unrounded."""
        return self.table.copy()

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the numbers, unrounded, to a CSV file."""
        self.table.to_csv(path)

    def __str__(self) -> str:
        body = self.printed.reset_index()
        columns = {name: [str(name), *body[name].tolist()] for name in body.columns}
        width = {name: max(map(len, cells)) for name, cells in columns.items()}
        left = {body.columns[0], *TEXT}
        lines = [
            "  ".join(
                cells[i].ljust(width[name]) if name in left else cells[i].rjust(width[name])
                for name, cells in columns.items()
            ).rstrip()
            for i in range(len(body) + 1)
        ]
        rule = "-" * max(map(len, lines))
        above = messages_text(self.messages)
        titled = [self.title, ""] if self.title else []
        return "\n".join(
            [*above, *titled, lines[0], rule, *lines[1:], rule, *(fill(note, WIDTH) for note in self.notes)]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return messages_html(self.messages) + self.table_html() + notes_html(self.notes)

    def table_html(self) -> str:
        """Return the table alone as HTML, with row and column headers marked as such."""
        name = escape(str(self.printed.index.name or ""))
        columns = [(str(c), ' class="text"' if c in TEXT else "") for c in self.printed.columns]
        head = "".join(f'<th scope="col"{kind}>{escape(c)}</th>' for c, kind in columns)
        rows = "".join(
            f'<tr><th scope="row">{escape(str(label))}</th>'
            + "".join(f"<td{kind}>{escape(str(v))}</td>" for v, (_, kind) in zip(cells, columns, strict=True))
            + "</tr>"
            for label, cells in zip(self.printed.index, self.printed.to_numpy(), strict=True)
        )
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        return (
            f'<table class="popbayes">{caption}<thead><tr><th scope="col">{name}</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )


def messages_text(messages: tuple[str, ...]) -> list[str]:
    """Problems as lines of text, each marked by an exclamation mark, and an empty line; nothing for none."""
    return (
        [*(fill(f"! {message}", WIDTH, subsequent_indent="  ") for message in messages), ""]
        if messages
        else []
    )


def messages_html(messages: tuple[str, ...]) -> str:
    """Problems as an HTML list; nothing where there are none."""
    if not messages:
        return ""
    items = "".join(f"<li>{escape(message)}</li>" for message in messages)
    return f'<div class="popbayes-problems"><strong>Read this first</strong><ul>{items}</ul></div>'


def notes_html(notes: tuple[str, ...]) -> str:
    """Notes as HTML paragraphs."""
    return "".join(f'<p class="popbayes-note">{escape(note)}</p>' for note in notes)
