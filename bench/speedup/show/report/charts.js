// The plots, as specifications of Vega-Lite (https://vega.github.io/vega-lite/docs/): each is a function of the rows
// and of what else is said of the plot. Colours are names of the style sheet, so that light, dark and paper need no
// new drawing.
const charts = (() => {
  const color = (name) => `var(--${name})`;
  const MACHINES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-right", "stroke", "wedge"];
  const STATES = {
    learning: ["quiet", "circle"], ok: ["line", "circle"], suspect: ["warn", "diamond"],
    regressed: ["bad", "triangle-down"], improved: ["good", "triangle-up"], recovered: ["good", "triangle-up"],
    incomparable: ["quiet", "cross"],
  };
  const states = Object.keys(STATES);
  const tooltip = { content: "data" };
  const number = (field, title, more) => ({ field, type: "quantitative", title: title ?? null, ...more });
  const name = (field, more) => ({ field, type: "nominal", title: null, ...more });
  const scaled = (domain, range) => ({ scale: { domain, range }, legend: null });
  const legend = {
    scale: { range: ["line", "warn", "good", "bad", "quiet"].map(color) },
    legend: { orient: "top", columns: 2, labelLimit: 260 },
  };
  const fromZero = { scale: { zero: true }, axis: { tickCount: 5 } };

  const runs = (rows) => {
    const some = (field, side) =>
      rows.some((row) => row[field] !== "" && row[field] !== null && row.side === (side ?? row.side));
    // A tick at midnight is a day; others are there if there are only a few runs.
    const label = "utcFormat(datum.value, utchours(datum.value) || utcminutes(datum.value) ? '%H:%M' : '%d %b')";
    const axis = { labelOverlap: true, grid: false, labelExpr: label, labelFlush: true, tickCount: 6 };
    const x = { field: "run", type: "temporal", title: null, axis, scale: { type: "utc" } };
    const near = { scale: { zero: false, nice: false }, axis: { tickCount: 5 } };
    const span = (low, high) => ({ x, y: number(low, null, near), y2: { field: high } });
    const upright = (field, mark) => ({
      transform: [{ filter: `datum.${field} !== ''` }], mark: { type: "rule", ...mark }, encoding: { x },
    });
    // Words beside a line, on the side where there is room: versions at the top, changes below.
    const words = (what, side) => ({
      transform: [{ filter: `datum.${what} !== '' && datum.side === '${side}'` }],
      mark: {
        type: "text", fontSize: 10, limit: 170, align: side, dx: side === "left" ? 3 : -3,
        baseline: what === "version" ? "top" : "bottom", color: color(what === "version" ? "quiet" : "ink"),
      },
      encoding: { x, y: { value: what === "version" ? 0 : "height" }, text: { field: what } },
    });
    const band = { type: "area", color: color("band"), opacity: 1, interpolate: "step-after" };
    const hover = {
      name: "hover", select: { type: "point", on: "pointerover", nearest: true, encodings: ["x"] },
    };
    return {
      height: 230,
      layer: [
        ...(some("band_low") ? [{ mark: band, encoding: span("band_low", "band_high") }] : []),
        ...(some("version") ? [upright("version", { color: color("quiet"), strokeDash: [2, 3] })] : []),
        ...(some("event") ? [upright("event", { color: color("warn"), strokeWidth: 1.5 })] : []),
        ...["version", "event"].flatMap((what) =>
          ["left", "right"].filter((side) => some(what, side)).map((side) => words(what, side))),
        ...(some("low")
          ? [{ mark: { type: "rule", color: color("line"), opacity: 0.45 }, encoding: span("low", "high") }] : []),
        {
          mark: { type: "line", color: color("line"), strokeWidth: 1, opacity: 0.6 },
          encoding: { x, y: number("value", null, near) },
        },
        {
          params: [hover],
          mark: { type: "point", filled: true, opacity: 1, tooltip },
          encoding: {
            x,
            y: number("value", null, near),
            size: { condition: { param: "hover", empty: false, value: 110 }, value: 26 },
            color: name("state", scaled(states, states.map((state) => color(STATES[state][0])))),
            shape: name("shape", scaled(
              [...states, ...MACHINES.keys()], [...states.map((state) => STATES[state][1]), ...MACHINES])),
          },
        },
      ],
    };
  };

  const waterfall = () => {
    const x = name("step", { sort: null, axis: { labelAngle: 0, labelOverlap: false, labelLimit: 70 } });
    const kinds = scaled(["total", "loss", "gain"], ["line", "bad", "good"].map(color));
    return {
      height: 230,
      layer: [
        {
          mark: { type: "bar", tooltip, minBandSize: 8 },
          encoding: { x, y: number("begin", "speedup", fromZero), y2: { field: "end" }, color: name("kind", kinds) },
        },
        {
          mark: { type: "text", dy: -7, color: color("ink"), fontSize: 10 },
          encoding: { x, y: number("top", "speedup", fromZero), text: { field: "label" } },
        },
      ],
    };
  };

  const scaling = () => {
    const x = number("cpus", "CPU limit", { scale: { type: "log", base: 2, nice: false }, axis: { format: "d" } });
    const layer = (mark, y, more) => ({
      mark, encoding: { x, y: number(y, "speedup", fromZero), color: name("sweep", legend), ...more },
    });
    return {
      height: 260,
      layer: [
        layer({ type: "line", strokeDash: [5, 4], opacity: 0.7 }, "ideal"),
        layer({ type: "rule" }, "low", { y2: { field: "high" } }),
        layer({ type: "line", point: { size: 55, filled: true }, tooltip }, "speedup"),
      ],
    };
  };

  const engines = (rows) => {
    const shares = rows.map((row) => row.share);
    // An interval from two pairs can be wider than all the rest.
    const domain = [Math.min(...shares) - 0.04, Math.max(...shares, 1) + 0.01];
    const x = { scale: { domain, nice: false }, axis: { tickCount: 5, labelOverlap: true } };
    const y = name("engine", { sort: null, axis: { labelLimit: 120 } });
    const mark = { color: color("line"), tooltip };
    return {
      height: 28 * rows.length,
      layer: [
        {
          mark: { type: "rule", strokeWidth: 2, color: color("line"), clip: true },
          encoding: { y, x: number("low", "engine efficiency", x), x2: { field: "high" } },
        },
        {
          mark: { type: "point", filled: true, size: 70, ...mark },
          encoding: { y, x: number("share", "engine efficiency", x) },
        },
      ],
    };
  };

  const curve = (rows, plot) => {
    const scale = plot.log ? { type: "log", base: 2, nice: false } : { zero: false };
    const axis = { tickCount: 10, labelOverlap: true, ...(plot.log ? { format: "~s" } : {}) };
    const x = number("x", plot.headings.x, { scale, axis });
    const y = number("y", plot.headings.y, { scale, axis: { tickCount: 6, labelOverlap: true } });
    const marks = {
      points: { type: "point", filled: true, size: 18, opacity: 0.5, tooltip },
      line: { type: "line", point: { filled: true, size: 40 }, tooltip },
    };
    const drawn = Object.keys(marks).filter((kind) => rows.some((row) => row.drawn === kind));
    return {
      height: 260,
      layer: drawn.map((kind) => ({
        transform: [{ filter: `datum.drawn === '${kind}'` }],
        mark: marks[kind],
        encoding: { x, y, color: name("line", { ...legend, sort: null }) },
      })),
    };
  };

  return { runs, waterfall, scaling, engines, curve, states, shapes: MACHINES.length };
})();
