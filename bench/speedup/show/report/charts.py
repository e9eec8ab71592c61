"""The plots of the report, as specifications of Vega-Lite (https://vega.github.io/vega-lite/docs/).

A specification has no data in it: the page puts them in. ``$ink``, ``$quiet``, ``$line``, ``$band``, ``$bad``,
``$good``, ``$warn`` and ``$series`` stand for colours of its style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...judge.verdict import STATES

Spec = dict[str, Any]

POINT_STATES = list(STATES)
"""States of a night in one quantity, in the order in which the page numbers them."""
_STATE_COLORS = ["$quiet", "$line", "$warn", "$bad", "$good", "$good", "$quiet"]
MACHINE_SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-right", "stroke", "wedge"]
GLYPHS = "●■◆▲✚▶–➤"
"""The same shapes in text."""
_STATE_SHAPES = ["circle", "circle", "diamond", "triangle-down", "triangle-up", "triangle-up", "cross"]


def _field(name: str, title: str | None = None, **more: Any) -> Spec:
    return {"field": name, "type": "quantitative", "title": title, **more}


TIME_LABEL = "utcFormat(datum.value, utchours(datum.value) || utcminutes(datum.value) ? '%H:%M' : '%d %b')"
"""A tick at midnight is a day; others are there if there are only a few nights."""


def _time(name: str, **more: Any) -> Spec:
    axis = {"labelOverlap": True, "grid": False, "labelExpr": TIME_LABEL, "labelFlush": True, "tickCount": 6}
    return {"field": name, "type": "temporal", "title": None, "axis": axis, "scale": {"type": "utc"}, **more}


def nights() -> Spec:
    """Return the plot of one quantity by night: band of the baseline, intervals, nights, changes, versions.

    A layer with a name is left out where no night has anything in the field of that name.
    """
    y: Spec = {"scale": {"zero": False, "nice": False}, "axis": {"tickCount": 5}}
    x = _time("night")
    return {
        "height": 230,
        "layer": [
            {
                "name": "band_low",
                "mark": {"type": "area", "color": "$band", "opacity": 1, "interpolate": "step-after"},
                "encoding": {"x": x, "y": _field("band_low", **y), "y2": {"field": "band_high"}},
            },
            {
                "name": "version",
                "transform": [{"filter": "datum.version !== ''"}],
                "mark": {"type": "rule", "color": "$quiet", "strokeDash": [2, 3]},
                "encoding": {"x": x},
            },
            {
                "name": "event",
                "transform": [{"filter": "datum.event !== ''"}],
                "mark": {"type": "rule", "color": "$warn", "strokeWidth": 1.5},
                "encoding": {"x": x},
            },
            *(_label(what, side, x) for what in ("version", "event") for side in ("left", "right")),
            {
                "name": "low",
                "mark": {"type": "rule", "color": "$line", "opacity": 0.45},
                "encoding": {"x": x, "y": _field("low", **y), "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "color": "$line", "strokeWidth": 1, "opacity": 0.6},
                "encoding": {"x": x, "y": _field("value", **y)},
            },
            {
                "params": [
                    {
                        "name": "hover",
                        "select": {"type": "point", "on": "pointerover", "nearest": True, "encodings": ["x"]},
                    }
                ],
                "mark": {"type": "point", "filled": True, "opacity": 1, "tooltip": {"content": "data"}},
                "encoding": {
                    "x": x,
                    "y": _field("value", **y),
                    "size": {"condition": {"param": "hover", "empty": False, "value": 110}, "value": 26},
                    "color": {
                        "field": "state",
                        "type": "nominal",
                        "scale": {"domain": POINT_STATES, "range": _STATE_COLORS},
                        "legend": None,
                    },
                    "shape": {
                        "field": "shape",
                        "type": "nominal",
                        "scale": {
                            "domain": [*POINT_STATES, *range(len(MACHINE_SHAPES))],
                            "range": [*_STATE_SHAPES, *MACHINE_SHAPES],
                        },
                        "legend": None,
                    },
                },
            },
        ],
    }


def _label(what: str, side: str, x: Spec) -> Spec:
    """Return the words beside a line: versions at the top, changes below; on the side where there is room."""
    top = what == "version"
    mark = {
        "type": "text",
        "align": "left" if side == "right" else "right",
        "baseline": "top" if top else "bottom",
        "dx": 3 if side == "right" else -3,
        "color": "$quiet" if top else "$ink",
        "fontSize": 10,
        "limit": 170,
    }
    field = f"{what}_{side}"
    return {
        "name": field,
        "transform": [{"filter": f"datum.{field} !== ''"}],
        "mark": mark,
        "encoding": {"x": x, "y": {"value": 0 if top else "height"}, "text": {"field": field}},
    }


def waterfall() -> Spec:
    """Return the plot of what each factor makes of the ideal speedup."""
    x: Spec = {
        "field": "step",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelAngle": 0, "labelOverlap": False, "labelLimit": 70},
    }
    y: Spec = {"scale": {"zero": True}, "axis": {"tickCount": 5}}
    return {
        "height": 230,
        "layer": [
            {
                "mark": {"type": "bar", "tooltip": {"content": "data"}, "minBandSize": 8},
                "encoding": {
                    "x": x,
                    "y": _field("begin", "speedup", **y),
                    "y2": {"field": "end"},
                    "color": {
                        "field": "kind",
                        "type": "nominal",
                        "scale": {"domain": ["total", "loss", "gain"], "range": ["$line", "$bad", "$good"]},
                        "legend": None,
                    },
                },
            },
            {
                "mark": {"type": "text", "dy": -7, "color": "$ink", "fontSize": 10},
                "encoding": {"x": x, "y": _field("top", "speedup", **y), "text": {"field": "label"}},
            },
        ],
    }


def scaling() -> Spec:
    """Return the plot of the speedup against the CPU limit, with the ideal, per sweep."""
    x = _field(
        "cpus", "CPU limit", scale={"type": "log", "base": 2, "nice": False}, axis={"format": "d", "values": None}
    )
    y: Spec = {"scale": {"zero": True}, "axis": {"tickCount": 5}}
    color = {
        "field": "sweep",
        "type": "nominal",
        "title": None,
        "scale": {"range": "$series"},
        "legend": {"orient": "top", "columns": 2, "labelLimit": 260},
    }
    return {
        "height": 260,
        "layer": [
            {
                "mark": {"type": "line", "strokeDash": [5, 4], "opacity": 0.7},
                "encoding": {"x": x, "y": _field("ideal", "speedup", **y), "color": color},
            },
            {
                "mark": {"type": "rule"},
                "encoding": {"x": x, "y": _field("low", "speedup", **y), "y2": {"field": "high"}, "color": color},
            },
            {
                "mark": {"type": "line", "point": {"size": 55, "filled": True}, "tooltip": {"content": "data"}},
                "encoding": {"x": x, "y": _field("speedup", "speedup", **y), "color": color},
            },
        ],
    }


def engines(shares: Sequence[float]) -> Spec:
    """Return the plot of engines side by side: what of the speedup is their own doing, with its interval."""
    y = {"field": "engine", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 120}}
    # An interval from two pairs can be wider than all the rest.
    domain = [min(shares) - 0.04, max(*shares, 1.0) + 0.01]
    x: Spec = {"scale": {"domain": domain, "nice": False}, "axis": {"tickCount": 5, "labelOverlap": True}}
    return {
        "height": 28 * len(shares),
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": "$line", "clip": True},
                "encoding": {"y": y, "x": _field("low", "engine efficiency", **x), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": "$line", "tooltip": {"content": "data"}},
                "encoding": {"y": y, "x": _field("share", "engine efficiency", **x)},
            },
        ],
    }


def curve(x_title: str, y_title: str, *, lines: bool = True, clouds: bool = False, log: bool = False) -> Spec:
    """Return the plot of lines and clouds of points, by name; with `log`, both axes are logarithmic, of base 2."""
    scale = {"type": "log", "base": 2, "nice": False} if log else {"zero": False}
    x = _field(
        "x", x_title, scale=scale, axis={"tickCount": 10, "labelOverlap": True, **({"format": "~s"} if log else {})}
    )
    y = _field("y", y_title, scale=scale, axis={"tickCount": 6, "labelOverlap": True})
    color = {
        "field": "line",
        "type": "nominal",
        "sort": None,
        "title": None,
        "scale": {"range": "$series"},
        "legend": {"orient": "top", "columns": 2, "labelLimit": 260},
    }
    tooltip = {"content": "data"}
    marks: list[tuple[bool, str, Spec]] = [
        (clouds, "points", {"type": "point", "filled": True, "size": 18, "opacity": 0.5, "tooltip": tooltip}),
        (lines, "line", {"type": "line", "point": {"filled": True, "size": 40}, "tooltip": tooltip}),
    ]
    return {
        "height": 260,
        "layer": [
            {
                "transform": [{"filter": f"datum.drawn === '{drawn}'"}],
                "mark": mark,
                "encoding": {"x": x, "y": y, "color": color},
            }
            for wanted, drawn, mark in marks
            if wanted
        ],
    }
