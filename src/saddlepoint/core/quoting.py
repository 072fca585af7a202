r"""Foreign names, made harmless for where they go: a terminal, a shell line, HTML, Markdown, YAML, a diagram, a file.

Names of runs, columns, classes, files and models come from elsewhere: from a folder somebody sent, a table, a
request. Whatever shows one, or makes a path of one, passes it through the function of that place. Each leaves an
ordinary name as it is, in any script; none refuses one.

A character is *hidden* if it moves the cursor, turns the direction of text, breaks the line or cannot be written at
all: Unicode's categories Cc, Cf, Zl, Zp and Cs, but for the two joiners that Persian, Hindi and emoji are spelled with.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

_HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
_JOINERS = frozenset("\u200c\u200d")
_MARKUP = re.compile(r"[\\`*_{}\[\]#!]|^[+-]|(?<=^\d)[.)]")
_ENTITIES = {ord(c): f"&#{ord(c)};" for c in "&<>|~$"}
"""No dialect of Markdown takes an entity for markup; some do not know a backslash before these."""

_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789")})
"""Names that are devices under Windows, with any ending."""

LONGEST = 100
"""Bytes of a file name that is made of a foreign name; file systems take 255."""

PLOTTED = 48
"""Letters of a name in a diagram."""


def is_hidden(character: str) -> bool:
    """Say whether a character does something other than being seen; see the module."""
    return character not in _JOINERS and unicodedata.category(character) in _HIDDEN


def for_terminal(text: str, lines: bool = False) -> str:
    r"""Return a text with hidden characters as their Python escapes: ``\x1b``, ``\n``, ``\u202e``.

    Args:
        text: of any origin.
        lines: keep line breaks and tabs, for a text of several lines that is our own but for the names in it.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c in kept or not is_hidden(c) else _escape(c) for c in text)


def for_shell(*arguments: str | Path) -> str:
    r"""Return a line that a POSIX shell reads back as exactly these words.

    Hidden characters are written as ``$'\033'``, which bash, zsh, ksh and the POSIX shell of 2024 read: pasted as they
    are, they would act on the terminal before the shell sees the quotes. A path that begins with a dash gets ``./``,
    so that no command takes it for an option.
    """
    return " ".join(
        _shell_word(f"./{word}" if isinstance(word, Path) and str(word)[:1] == "-" else str(word)) for word in arguments
    )


def for_html(text: str) -> str:
    """Return a text as HTML's text or value of a quoted attribute, hidden characters as their escapes."""
    return html.escape(for_terminal(text))


def for_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line: no HTML, no new cell, no link but a bare address."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", for_terminal(text)).translate(_ENTITIES)


def for_code(text: str) -> str:
    """Return a word as Markdown's code; what could end the code, as plain text."""
    return f"`{text}`" if re.fullmatch(r"[\w.+-]+", text) else for_markdown(text)


def for_yaml(text: str) -> str:
    """Return a text as YAML: quoted as JSON quotes it, on one line. YAML knows no pair of surrogates."""
    return json.dumps(for_terminal(text), ensure_ascii=False)


def for_plot(text: str, most: int = PLOTTED) -> str:
    """Return a text that matplotlib draws as it is, on one line: no formula, and no longer than a panel is wide.

    Args:
        text: of any origin.
        most: letters that there is room for.
    """
    text = for_terminal(text)
    # Matplotlib reads what stands between two dollars as a formula, and fails where it is none.
    return (text if len(text) <= most else f"{text[: most - 3]}...").replace("$", "\\$")


def for_python(text: str) -> str:
    """Return a text as a literal of Python: one line, printable, equal to the text when it is read."""
    return repr(text)


def for_file_name(text: str) -> str:
    """Return a name for one file or folder: letters, digits, ``_``, ``.`` and ``-`` only, no leading dot, never empty.

    It is no path, names no device under Windows, and has at most `LONGEST` bytes. Different names may become the same:
    see `for_file_names`.
    """
    # Not \w, which leaves out the vowel signs of Hindi and Thai.
    kept = "".join(
        c if c in "_." or unicodedata.category(c)[0] in "LMN" else "-" for c in unicodedata.normalize("NFC", text)
    )
    plain = re.sub("-+", "-", kept).strip(".-")
    plain = plain.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore").rstrip(".-") or "_"
    return f"_{plain}" if plain.partition(".")[0].lower() in _RESERVED else plain


def for_file_names(texts: Iterable[str]) -> list[str]:
    """Return names of files for several texts, all different, also where capitals are not told apart."""
    found: list[str] = []
    taken: set[str] = set()
    for text in texts:
        plain, number = for_file_name(text), 1
        name = plain
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def shortened(texts: Sequence[str], most: int = 5) -> str:
    """Return a list for a message, at most so many named, each harmless for a terminal and at most 60 characters."""
    shown = [for_terminal(text if len(text) <= 60 else f"{text[:57]}...") for text in texts[:most]]
    return ", ".join(shown) + (f" and {len(texts) - most:,} more" if len(texts) > most else "")


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _shell_word(word: str) -> str:
    if not any(is_hidden(c) for c in word):
        return shlex.quote(word)
    return "$'" + "".join(_shell_character(c) for c in word) + "'"


def _shell_character(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if not is_hidden(character):
        return character
    # Byte by byte: \u in $'...' needs a locale that has the character, and a surrogate is a byte that was no text.
    # Octal, because it ends after three digits in every shell; \x goes on in some.
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
