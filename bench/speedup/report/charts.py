"""The plots of the report, as specifications of Vega-Lite (https://vega.github.io/vega-lite/docs/).

A specification has no data in it: the page puts them in. ``$ink``, ``$quiet``, ``$line``, ``$band``, ``$bad``,
``$good``, ``$warn`` and ``$series`` stand for colours of its style sheet.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

POINT_STATES = ["learning", "ok", "suspect", "regressed", "improved", "recovered"]
"""States of a night in one quantity, in the order in which the page numbers them."""
_STATE_COLORS = ["$quiet", "$line", "$warn", "$bad", "$good", "$good"]
_STATE_SHAPES = ["circle", "circle", "diamond", "triangle-down", "triangle-up", "triangle-up"]


def _field(name: str, title: str | None = None, **more: Any) -> Spec:
    return {"field": name, "type": "quantitative", "title": title, **more}


def _time(name: str, **more: Any) -> Spec:
    axis = {"labelOverlap": True, "grid": False, "format": "%d %b", "labelFlush": True, "tickCount": 6}
    return {"field": name, "type": "temporal", "title": None, "axis": axis, "scale": {"type": "utc"}, **more}


def nights() -> Spec:
    """Return the plot of one quantity by night: band of the baseline, intervals, nights, changes, versions."""
    y: Spec = {"scale": {"zero": False, "nice": False}, "axis": {"tickCount": 5}}
    x = _time("night")
    return {
        "height": 230,
        "layer": [
            {
                "mark": {"type": "area", "color": "$band", "opacity": 1, "interpolate": "step-after"},
                "encoding": {"x": x, "y": _field("band_low", **y), "y2": {"field": "band_high"}},
            },
            {
                "transform": [{"filter": "datum.version !== ''"}],
                "mark": {"type": "rule", "color": "$quiet", "strokeDash": [2, 3]},
                "encoding": {"x": x},
            },
            {
                "transform": [{"filter": "datum.version !== ''"}],
                "mark": {
                    "type": "text",
                    "align": "left",
                    "baseline": "top",
                    "dx": 3,
                    "color": "$quiet",
                    "fontSize": 10,
                    "limit": 170,
                },
                "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "version"}},
            },
            {
                "transform": [{"filter": "datum.event !== ''"}],
                "mark": {"type": "rule", "color": "$warn", "strokeWidth": 1.5},
                "encoding": {"x": x},
            },
            {
                "transform": [{"filter": "datum.event !== ''"}],
                "mark": {
                    "type": "text",
                    "align": "left",
                    "baseline": "bottom",
                    "dx": 3,
                    "color": "$ink",
                    "fontSize": 10,
                    "limit": 170,
                },
                "encoding": {"x": x, "y": {"value": "height"}, "text": {"field": "event"}},
            },
            {
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
                        "field": "state",
                        "type": "nominal",
                        "scale": {"domain": POINT_STATES, "range": _STATE_SHAPES},
                        "legend": None,
                    },
                },
            },
        ],
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


def engines() -> Spec:
    """Return the plot of engines side by side: speedup with its interval, and the share that is their own doing."""
    y = {"field": "engine", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 120}}
    x: Spec = {"scale": {"zero": False, "nice": True}}
    return {
        "height": {"step": 26},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": "$line"},
                "encoding": {"y": y, "x": _field("low", "wait × balance × engine", **x), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": "$line", "tooltip": {"content": "data"}},
                "encoding": {"y": y, "x": _field("share", "wait × balance × engine", **x)},
            },
        ],
    }


def curve(x_title: str, y_title: str, *, log: bool = False) -> Spec:
    """Return the plot of lines by name; with `log`, both axes are logarithmic, of base 2."""
    scale = {"type": "log", "base": 2, "nice": False} if log else {"zero": False}
    x = _field("x", x_title, scale=scale, axis={"tickCount": 10, "format": "~s" if log else "", "labelOverlap": True})
    y = _field("y", y_title, scale=scale, axis={"tickCount": 6, "labelOverlap": True})
    color = {
        "field": "line",
        "type": "nominal",
        "sort": None,
        "title": None,
        "scale": {"range": "$series"},
        "legend": {"orient": "top", "columns": 2, "labelLimit": 260},
    }
    return {
        "height": 260,
        "layer": [
            {
                "transform": [{"filter": "datum.drawn === 'line'"}],
                "mark": {"type": "line", "point": {"filled": True, "size": 40}, "tooltip": {"content": "data"}},
                "encoding": {"x": x, "y": y, "color": color},
            },
            {
                "transform": [{"filter": "datum.drawn === 'points'"}],
                "mark": {"type": "point", "filled": True, "size": 18, "opacity": 0.5, "tooltip": {"content": "data"}},
                "encoding": {"x": x, "y": y, "color": color},
            },
        ],
    }
