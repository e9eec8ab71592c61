"""The report: one page of HTML that needs no network, from a history.

Its plots are drawn by Vega-Lite: a plot is data and a description, which a test can look at; it draws SVG, which
prints well; and vl-convert-python brings its script along as a package, so that nothing has to be copied into this
project or fetched by the page.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...keep.files import whole
from ..encodings import harmless
from . import charts
from .content import SPARK_NIGHTS, Content, content, counted
from .plots import SPARK, Plot

__all__ = ["Content", "ReportError", "content", "page", "write"]

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""How the page's own script gets at the library."""
HERE = Path(__file__).parent
NEEDS = "the report needs jinja2 and vl-convert-python (pip install jinja2 vl-convert-python)"


class ReportError(Exception):
    """The report cannot be made; the message says why, in one line."""


def write(file: Path, contents: Content, title: str) -> None:
    """Write the report; it is whole or not there.

    Raises
    ------
    ReportError
        If a package is missing, or the file cannot be written.
    """
    text = page(contents, title)
    try:
        file = file.resolve()  # through links, to the page that is published
        if file.exists() and not file.is_file():
            raise ReportError(f"{file} is no regular file")
        file.parent.mkdir(parents=True, exist_ok=True)
        # Names of files that are not in the encoding of the locale are as they were.
        with whole(file.parent, text.encode("utf-8", "surrogateescape")) as partial:
            partial.replace(file)
    except OSError as error:
        raise ReportError(f"{file} cannot be written: {error.strerror}") from None


def page(contents: Content, title: str) -> str:
    """Return the page as HTML.

    Raises
    ------
    ReportError
        If a package is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise ReportError(NEEDS) from None
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=lambda value: harmless(value) if type(value) is str else value,  # not what is markup already
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}  # a sixth less
    return environment.get_template("page.html.j2").render(
        title=title,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        contents=contents,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        library=library(),
        data=_data(contents),
        counts=counted,
        spark=SPARK,
        spark_nights=SPARK_NIGHTS,
    )


@functools.cache
def library() -> str:
    """Return the script of Vega and Vega-Lite.

    Raises
    ------
    ReportError
        If vl-convert-python is not installed.
    """
    try:
        import vl_convert
    except ImportError:
        raise ReportError(NEEDS) from None
    script: str = vl_convert.javascript_bundle(SNIPPET)
    return f"(() => {{{script}\n}})();".replace("</script", "<\\/script")


def _data(contents: Content) -> dict[str, Any]:
    """Return what the page's own script draws."""
    specs: dict[str, Any] = {
        "nights": charts.nights(),
        "waterfall": charts.waterfall(),
        "scaling": charts.scaling(),
    }
    plots: dict[str, Any] = {}
    nights: dict[str, Any] = {}
    for part in contents.parts:
        for cell in (*part.cells, *part.beside):
            nights[cell.anchor] = cell.nights
            plots |= {f"{cell.anchor}-p{n}": _plot(plot) for n, plot in enumerate(cell.plots)}
            if cell.pairs:
                plots[f"{cell.anchor}-pairs"] = _plot(cell.pairs)
        plots |= {f"{part.anchor}-p{n}": _plot(plot) for n, plot in enumerate(part.plots)}
    plots |= {f"curve-p{n}": _plot(plot) for n, plot in enumerate(contents.curves)}
    data = {
        "specs": specs,
        "plots": plots,
        "nights": nights,
        "states": charts.POINT_STATES,
        "shapes": len(charts.MACHINE_SHAPES),
    }
    json.dumps(data, allow_nan=False)  # a page with NaN in it would not open
    return data


def _plot(plot: Plot) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(plot).items() if key != "note"}
