"""The report: one page of HTML that needs no network, from a history.

Its plots are drawn by Vega-Lite: a plot is data and a description, which a test can look at; it draws SVG, which
prints well; and vl-convert-python brings its script along as a package, so that nothing has to be copied into this
project or fetched by the page. The descriptions are in ``charts.js``, the data come from `plots`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...keep.files import put
from ..encodings import harmless
from .content import SPARK_RUNS, Content, counted

__all__ = ["Content", "ReportError", "page", "write"]

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src"
"""What the page may load: nothing. Of scripts it runs those that it was made with, and none that is made of text."""
DIGITS = 5
"""Significant digits of a figure in the page."""


class ReportError(Exception):
    """The report cannot be made; the message says why, in one line."""


def write(file: Path, contents: Content) -> None:
    """Write the report; it is whole or not there.

    Raises
    ------
    ReportError
        If a package is missing, or the file cannot be written.
    """
    text = page(contents)
    try:
        file = Path(os.path.realpath(file))  # through links, to the page that is published
        if file.exists() and not file.is_file():
            raise ReportError(f"{file} is no regular file")
        file.parent.mkdir(parents=True, exist_ok=True)
        put(file, text.encode())
    except OSError as error:
        raise ReportError(f"{file} cannot be written: {error.strerror}") from None


def page(contents: Content) -> str:
    """Return the page as HTML, or raise a ReportError if a package is missing."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        scripts = [_library(), *((HERE / name).read_text(encoding="utf-8") for name in ("charts.js", "page.js"))]
    except ImportError:
        raise ReportError("the report needs two packages: pip install jinja2 vl-convert-python") from None
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=lambda value: harmless(value) if type(value) is str else value,  # not what is markup already
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_function"] = lambda data, **_: json.dumps(
        _short(data), allow_nan=False, separators=(",", ":")
    )
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return environment.get_template("page.html.j2").render(
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        contents=contents,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        scripts=scripts,
        policy=" ".join([POLICY, *(f"'sha256-{one}'" for one in hashes)]),
        counts=counted,
        spark_runs=SPARK_RUNS,
    )


@functools.cache
def _library() -> str:
    """Return the script of Vega and Vega-Lite."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"(() => {{{script}\n}})();".replace("</script", "<\\/script")


def _short(data: Any) -> Any:
    """Return data with figures of few digits, and ``None`` for what JSON cannot say."""
    if isinstance(data, float):
        return float(f"{data:.{DIGITS}g}") if math.isfinite(data) else None
    if isinstance(data, dict):
        return {name: _short(one) for name, one in data.items()}
    return [_short(one) for one in data] if isinstance(data, list) else data
