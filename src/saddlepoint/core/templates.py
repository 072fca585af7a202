"""Pages and cards made of templates, which lie beside the module that fills them; names in them are made harmless."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from saddlepoint.core.quoting import for_code, for_html, for_markdown, for_python, for_yaml

_HTML = ".html.jinja"


def render(module: str, name: str, /, **values: Any) -> str:
    """Return a filled template.

    In HTML every value becomes text, or the value of a quoted attribute, by `for_html`; only `Markup` stays as it is,
    which is what this function returns for HTML. In Markdown a name of foreign origin passes through one of the filters
    ``md``, ``code``, ``python`` and ``yaml``, by the place where it stands.

    Args:
        module: ``__file__`` of the module beside which the template lies.
        name: of the template's file, ``NAME.html.jinja`` or ``NAME.md.jinja``.
        values: by the names that the template has for them.

    Raises:
        jinja2.UndefinedError: if the template asks for a value that is not given.
    """
    text = _environment(Path(module).parent).get_template(name).render(values)
    return Markup(text) if name.endswith(_HTML) else text


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=lambda name: str(name).endswith(_HTML), finalize=_harmless,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"md": for_markdown, "code": for_code, "python": for_python, "yaml": for_yaml}
    return environment


@pass_eval_context
def _harmless(context: EvalContext, value: Any) -> Any:
    # Jinja's own escaping leaves hidden characters as they are.
    return Markup(for_html(str(value))) if context.autoescape and not hasattr(value, "__html__") else value
