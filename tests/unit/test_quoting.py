"""Foreign names where they are shown or become a path: read back by the very programs they are written for."""

from __future__ import annotations

import ast
import html
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import markdown  # type: ignore[import-untyped]
import pytest

from saddlepoint.core.quoting import (
    LONGEST,
    for_file_name,
    for_file_names,
    for_html,
    for_markdown,
    for_python,
    for_shell,
    for_terminal,
    is_hidden,
    shortened,
)

ORDINARY = ["cat", "größe", "猫", "हिन्दी", "ไทย", "म\u200cम", "👩\u200d🔬", "a b", "it's", "50%", "x_1.0-b"]
ODD = [
    "\x1b[31mred", "\x1b]0;title\x07", "two\nlines", "a\r", "\u202egnp.exe", "\u2066left", "\x9b1m", "\x7f", "\ufeff",
    "\u2028", "$(id)", "`id`", "; id", "'", '"', "\\", "<b>", "</script>", "&amp;", "[a](b)", "![a](b)", "| a |", "# a",
    "../../x", "/etc/x", "C:\\x", "..", ".", "", " ", "-rf", "--out", "~", "*", "NUL", "con.txt", "a\x00b", "{}", "%s",
]  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_are_left_as_they_are(name: str) -> None:
    assert for_terminal(name) == name
    assert html.unescape(for_html(name)) == name


@pytest.mark.parametrize("name", ODD)
def test_no_hidden_character_is_left(name: str) -> None:
    for text in (for_terminal(name), for_shell(name), for_html(name), for_markdown(name), for_python(name)):
        assert not any(is_hidden(c) for c in text)
    assert not any(is_hidden(c) for c in for_file_name(name))


def test_lines_of_our_own_are_kept_where_that_is_asked() -> None:
    assert for_terminal("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@pytest.mark.parametrize("name", [name for name in (*ORDINARY, *ODD) if "\x00" not in name])
def test_a_shell_reads_the_same_words(name: str) -> None:
    line = for_shell("printf", "%s|", name, "end")
    said = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert said.decode() == f"{name}|end|"


def test_a_byte_that_is_no_text_reaches_the_shell_as_that_byte() -> None:
    line = for_shell("printf", "%s", b"a\xffb".decode("utf-8", "surrogateescape"))
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == b"a\xffb"


def test_a_path_that_looks_like_an_option_is_none() -> None:
    assert for_shell("saddle", "sample", Path("-rf")) == "saddle sample ./-rf"
    assert for_shell("saddle", "sample", "-n") == "saddle sample -n"


@pytest.mark.parametrize("name", [*ORDINARY, *ODD])
def test_python_reads_the_same_text(name: str) -> None:
    assert ast.literal_eval(for_python(name)) == name
    assert "\n" not in for_python(name)


@pytest.mark.parametrize("name", [*ORDINARY, *ODD])
def test_html_holds_no_tag_and_no_end_of_an_attribute(name: str) -> None:
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert attrs in ([], [("title", for_terminal(name))])

    Reader().feed(f'<i title="{for_html(name)}">{for_html(name)}</i>')
    assert tags == ["i"]


@pytest.mark.parametrize("name", [*ORDINARY, *ODD])
def test_markdown_shows_the_text_alone(name: str) -> None:
    shown = markdown.markdown(f"x{for_markdown(name)}x", extensions=["tables"])
    assert html.unescape(shown) == f"<p>x{for_terminal(name)}x</p>"


@pytest.mark.parametrize("name", [*ORDINARY, *ODD])
def test_a_file_of_that_name_lies_in_the_folder(name: str, tmp_path: Path) -> None:
    plain = for_file_name(name)
    assert (tmp_path / plain).parent == tmp_path
    assert plain not in ("", ".", "..")
    assert plain[0] not in ".-"
    (tmp_path / plain).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [plain]


def test_scripts_are_kept_in_names_of_files() -> None:
    assert [for_file_name(name) for name in ("größe", "猫", "हिन्दी", "a/b: c", "../x", "nul.txt", "")] == [
        "größe", "猫", "हिन्दी", "a-b-c", "x", "_nul.txt", "_",
    ]  # fmt: skip


def test_long_names_are_cut_between_characters() -> None:
    assert for_file_name("猫" * 200) == "猫" * (LONGEST // 3)


def test_names_of_files_differ_also_by_capitals() -> None:
    assert for_file_names(["a/b", "a:b", "A b", "c", "a-b-2"]) == ["a-b", "a-b-2", "A-b-3", "c", "a-b-2-2"]


def test_a_list_in_a_message_is_short() -> None:
    assert shortened(["a", "b\x1b", "c" * 80, "d"], most=3) == f"a, b\\x1b, {'c' * 57}... and 1 more"
