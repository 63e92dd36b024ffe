"""Texts from anywhere as plain text of Markdown, LaTeX and CSV, where signs mean something.

Each becomes one line. What no page shows, such as the codes that a terminal obeys or that turn the
direction of writing, becomes an escape, as in messages.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from esc_sr.errors import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": "$-$",
    "…": r"\ldots{}",
    "–": "--",
    "∞": r"$\infty$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
}


# Spreadsheets take a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_cell(cell: object) -> object:
    """Keep a text from being taken for a formula by an apostrophe; numbers stay what they are.

    One that has such an apostrophe already gets another, so that different texts stay different.

    Example:
        >>> csv_cell("=HYPERLINK(1)"), csv_cell("baby"), csv_cell(-1.5)
        ("'=HYPERLINK(1)", 'baby', -1.5)
    """
    if not isinstance(cell, str):
        return cell
    shown = printable(cell)
    return f"'{shown}" if cell.lstrip("'").startswith(_FORMULA) else shown


def latex_caption(text: str) -> list[str]:
    """Return the lines of a table's caption in LaTeX, for plain text."""
    lines = textwrap.wrap(
        latex_text(text),
        width=96,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [r"  \caption{%", *lines, r"  }"]


def latex_text(text: str) -> str:
    r"""Return a text that LaTeX prints as it is.

    Example:
        >>> print(latex_text("100 % of a_b"))
        100 \% of a\_b
    """
    return "".join(_LATEX.get(character, character) for character in printable(text))


def latex_line(cells: Sequence[str]) -> str:
    """Return one line of a table, of cells that are LaTeX already."""
    # Behind the end of the line before, a bracket or a star would be taken for its option.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return f"{guard}{' & '.join(cells)} \\\\"


def markdown_text(text: str) -> str:
    r"""Keep Markdown from reading signs as markup; underscores within words are none.

    Example:
        >>> print(markdown_text("*a* | b_c"))
        \*a\* \| b_c
    """
    text = re.sub(r"([\\|*<`~\[\]]|&(?=#?\w+;))", r"\\\1", printable(text))
    text = re.sub(r"^(?=>|(?:#{1,6}|[-+])(?: |$))", r"\\", text)  # of a heading, list or quote
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", text)


def markdown_code(text: str) -> str:
    r"""Return a text as code within a line or a cell of Markdown.

    Example:
        >>> print(markdown_code("a`|b"))
        ``a`\|b``
    """
    text = printable(text).replace("|", r"\|")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{space}{text}{space}{fence}"
