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
  const config = {
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: color("quiet"), titleColor: color("quiet"), gridColor: color("grid"), domainColor: color("rule"),
      tickColor: color("rule"), titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11,
    },
    legend: { labelColor: color("ink"), titleColor: color("quiet"), labelFontSize: 11, symbolStrokeWidth: 2 },
  };
  const tooltip = { content: "data" };
  const number = (field, title, more) => ({ field, type: "quantitative", title: title ?? null, ...more });
  const name = (field, more) => ({ field, type: "nominal", title: null, ...more });
  const scaled = (domain, range) => ({ scale: { domain, range }, legend: null });
  const legend = {
    scale: { range: ["line", "warn", "good", "bad", "quiet"].map(color) },
    legend: { orient: "top", columns: innerWidth < 560 ? 1 : 2, labelLimit: 260 },
  };
  const fromZero = { scale: { zero: true }, axis: { tickCount: 5 } };
  const dots = (size) => ({ type: "point", filled: true, size, tooltip });

  const runs = (rows) => {
    // A tick at midnight is a day; others are there if there are only a few runs.
    const label = "utcFormat(datum.value, utchours(datum.value) || utcminutes(datum.value) ? '%H:%M' : '%d %b')";
    const axis = { labelOverlap: true, grid: false, labelExpr: label, labelFlush: true, tickCount: 6 };
    const x = { field: "run", type: "temporal", title: null, axis, scale: { type: "utc" } };
    const near = { scale: { zero: false, nice: false }, axis: { tickCount: 5 } };
    const value = number("value", null, near);
    const where = (field, layer) => {
      const some = rows.filter((row) => row[field] !== "" && row[field] !== null);
      return some.length ? [{ data: { values: some }, ...layer }] : [];
    };
    const span = (low, high, mark) => where(low, { mark, encoding: { x, y: number(low, null, near), y2: { field: high } } });
    const upright = (field, mark) => where(field, { mark: { type: "rule", ...mark }, encoding: { x } });
    // Words beside a line, on the side where there is room: versions at the top, changes below.
    const words = (field, y, mark) => where(field, {
      mark: {
        type: "text", fontSize: 10, limit: 170, align: { expr: "datum.side" },
        dx: { expr: "datum.side === 'left' ? 3 : -3" }, ...mark,
      },
      encoding: { x, y: { value: y }, text: { field } },
    });
    const shapes = [...states.map((state) => STATES[state][1]), ...MACHINES];
    return {
      height: 230,
      layer: [
        ...span("band_low", "band_high", { type: "area", color: color("band"), opacity: 1, interpolate: "step-after" }),
        ...upright("version", { color: color("quiet"), strokeDash: [2, 3] }),
        ...upright("event", { color: color("warn"), strokeWidth: 1.5 }),
        ...words("version", 0, { baseline: "top", color: color("quiet") }),
        ...words("event", "height", { baseline: "bottom", color: color("ink") }),
        ...span("low", "high", { type: "rule", color: color("line"), opacity: 0.45 }),
        { mark: { type: "line", color: color("line"), strokeWidth: 1, opacity: 0.6 }, encoding: { x, y: value } },
        {
          params: [{ name: "hover", select: { type: "point", on: "pointerover", nearest: true, encodings: ["x"] } }],
          mark: { ...dots(), opacity: 1 },
          encoding: {
            x,
            y: value,
            size: { condition: { param: "hover", empty: false, value: 110 }, value: 26 },
            color: name("state", scaled(states, states.map((state) => color(STATES[state][0])))),
            shape: name("shape", scaled([...states, ...MACHINES.keys()], shapes)),
          },
        },
      ],
    };
  };

  const waterfall = () => {
    const x = name("step", { sort: null, axis: { labelAngle: 0, labelOverlap: false, labelLimit: 70 } });
    const y = (field) => number(field, "speedup", fromZero);
    const bar = { type: "bar", tooltip, minBandSize: 8 };
    const text = { type: "text", dy: -7, color: color("ink"), fontSize: 10 };
    const kind = name("kind", scaled(["total", "loss", "gain"], ["line", "bad", "good"].map(color)));
    return {
      height: 230,
      layer: [
        { mark: bar, encoding: { x, y: y("begin"), y2: { field: "end" }, color: kind } },
        { mark: text, encoding: { x, y: y("top"), text: { field: "label" } } },
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
    const y = name("engine", { sort: null, axis: { labelLimit: 120 } });
    const x = (field) => number(field, "engine efficiency", {
      scale: { domain, nice: false }, axis: { tickCount: 5, labelOverlap: true },
    });
    const rule = { type: "rule", strokeWidth: 2, color: color("line"), clip: true };
    return {
      height: 28 * rows.length,
      layer: [
        { mark: rule, encoding: { y, x: x("low"), x2: { field: "high" } } },
        { mark: { ...dots(70), color: color("line") }, encoding: { y, x: x("share") } },
      ],
    };
  };

  const curve = (rows, plot) => {
    const scale = plot.log ? { type: "log", base: 2, nice: false } : { zero: false };
    const axis = { labelOverlap: true, ...(plot.log ? { format: "~s" } : {}) };
    const x = number("x", plot.headings.x, { scale, axis: { ...axis, tickCount: 10 } });
    const y = number("y", plot.headings.y, { scale, axis: { labelOverlap: true, tickCount: 6 } });
    const marks = {
      points: { ...dots(18), opacity: 0.5 },
      line: { type: "line", point: { filled: true, size: 40 }, tooltip },
    };
    const kinds = Object.keys(marks).filter((kind) => rows.some((row) => row.drawn === kind));
    return {
      height: 260,
      layer: kinds.map((kind) => ({
        transform: [{ filter: `datum.drawn === '${kind}'` }],
        mark: marks[kind],
        encoding: { x, y, color: name("line", { ...legend, sort: null }) },
      })),
    };
  };

  return { runs, waterfall, scaling, engines, curve, states, config, shapes: MACHINES.length };
})();
