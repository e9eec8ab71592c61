"use strict";
(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const drawn = new Map(); // figure -> what vegaEmbed made of it, null while it does
  const MOST = 90; // runs of a plot at first

  // --- Values -------------------------------------------------------------------------------------------------
  const rowsOf = (columns) => {
    const names = Object.keys(columns);
    return columns[names[0]].map((_, n) => Object.fromEntries(names.map((name) => [name, columns[name][n]])));
  };
  const quantityOf = (figure) => find(".choice input:checked", figure)?.value ?? "cost";
  const plotOf = (figure) => figure.dataset.plot && JSON.parse(figure.dataset.plot);
  const runsOf = (figure) => {
    const { quantities, machines, unit, ...common } = JSON.parse(figure.dataset.runs);
    const several = machines.length > 1;
    return rowsOf({ ...common, ...quantities[quantityOf(figure)] }).map((row) => ({
      ...row,
      unit,
      shape: several ? row.machine % charts.shapes : charts.states[row.state],
      machine: several ? machines[row.machine] : "",
      when: row.run.slice(0, 16).replace("T", " "),
      run: `${row.run}Z`,
      state: charts.states[row.state],
    }));
  };
  const shownRuns = (figure) => {
    const rows = runsOf(figure).slice(find(".all input", figure)?.checked ?? true ? 0 : -MOST);
    return rows.map((row, n) => ({ ...row, side: n < rows.length / 2 ? "left" : "right" }));
  };
  const told = (value) => String(value ?? "–");
  const aboutRun = (figure, row) => [
    row.when,
    `${quantityOf(figure)} ${row.value}${row.low === null ? "" : ` [${row.low}, ${row.high}]`} ${row.unit}`.trim(),
    row.state,
    row.pairs && `${row.pairs} pairs`,
    row.machine && `on ${row.machine}${row.offset && `, ${row.offset} taken out`}`,
    row.commit && `commit ${row.commit}`,
    row.version && `new: ${row.version}`,
    row.event,
  ].filter(Boolean);

  // --- Plots --------------------------------------------------------------------------------------------------
  const nothing = () => Promise.reject(new Error("this page loads nothing"));
  const draw = async (figure) => {
    drawn.get(figure)?.finalize();
    drawn.set(figure, null); // being drawn: nobody else need do it
    const plot = plotOf(figure);
    const rows = plot ? rowsOf(plot.columns) : shownRuns(figure);
    const about = (row) => {
      if (plot) return Object.entries(plot.headings).map(([key, heading]) => `${heading}: ${told(row[key])}`);
      const parts = aboutRun(figure, row);
      find(".readout", figure).textContent = parts.join(" · ");
      return parts;
    };
    const chart = charts[plot?.spec ?? "runs"](rows, plot);
    const fitted = { width: "container", autosize: { type: "fit-x", contains: "padding" }, data: { values: rows } };
    drawn.set(figure, await window.vegaEmbed(find(".canvas > div", figure), { ...chart, ...fitted }, {
      mode: "vega-lite", renderer: "svg", actions: false, config: charts.config,
      tooltip: { id: "tip", disableDefaultStyle: true, formatTooltip: (row, plain) => plain(about(row).join("\n")) },
      ast: true, // expressions are interpreted: this page may not make code of text
      loader: { load: nothing, sanitize: nothing },
    }));
    figure.dataset.drawn = "true";
  };
  const figures = all("figure.plot");
  const isVisible = (figure) => figure.getClientRects().length > 0;
  const isNear = (figure) => Math.abs(figure.getBoundingClientRect().top) < 2 * innerHeight;
  // Those in view at once, then the others one after the other, so that all are there on paper.
  const idle = window.requestIdleCallback ?? ((call) => setTimeout(call, 50));
  const drawRest = async () => {
    const left = figures.filter((figure) => isVisible(figure) && !drawn.has(figure));
    if (!left.length) return;
    const near = left.filter(isNear);
    await Promise.allSettled((near.length ? near : left.slice(0, 1)).map(draw));
    idle(drawRest);
  };
  addEventListener("load", drawRest);

  // --- One run after the other, by keyboard -------------------------------------------------------------------
  for (const figure of all("figure.runs")) {
    let at = null;
    figure.addEventListener("keydown", (event) => {
      const rows = shownRuns(figure);
      const last = rows.length - 1;
      const moves = { ArrowLeft: (at ?? last + 1) - 1, ArrowRight: (at ?? last) + 1, Home: 0, End: last };
      if (event.target !== figure || !(event.key in moves)) return;
      event.preventDefault();
      at = Math.max(0, Math.min(last, moves[event.key]));
      find(".readout", figure).textContent = aboutRun(figure, rows[at]).join(" · ");
      all("g.mark-symbol path", figure).forEach((point, n) => point.classList.toggle("at", n === at));
    });
    all(".choice input, .all input", figure).forEach((input) => input.addEventListener("change", () => {
      draw(figure);
      fill(find("details", figure));
    }));
  }

  // --- The table behind a plot ----------------------------------------------------------------------------------
  const RUN = {
    when: "run", value: "value", low: "from", high: "to (95 %)", state: "state", pairs: "pairs", commit: "commit",
    version: "new version", event: "change",
  };
  const line = (row, tag, texts, isFigure) => texts.forEach((text, n) => {
    const cell = row.appendChild(document.createElement(tag));
    cell.textContent = told(text);
    cell.className = isFigure[n] ? "n" : "";
  });
  const fill = (details) => {
    const figure = details.closest("figure");
    if (!details.open || !figure) return;
    const plot = plotOf(figure);
    const headings = plot?.headings ?? { ...RUN, value: quantityOf(figure) };
    const rows = (plot ? rowsOf(plot.columns) : runsOf(figure).reverse())
      .map((row) => Object.keys(headings).map((key) => row[key]));
    const isFigure = Object.keys(headings).map((_, n) => rows.every((row) => typeof (row[n] ?? 0) === "number"));
    const table = document.createElement("table");
    line(table.createTHead().insertRow(), "th", Object.values(headings), isFigure);
    const body = table.createTBody();
    rows.forEach((row) => line(body.insertRow(), "td", row, isFigure));
    find(".scroll", details).replaceChildren(table);
  };
  all("details.behind").forEach((details) => details.addEventListener("toggle", () => fill(details)));

  // --- Which cells ------------------------------------------------------------------------------------------
  for (const part of all(".part")) {
    const words = find(".words", part);
    const ticks = all(".filter input[type=checkbox]", part);
    const lines = [...find(".overview", part).tBodies[0].rows];
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/);
      const states = ticks.filter((tick) => tick.checked).map((tick) => tick.value);
      const hits = lines.filter(({ dataset }) =>
        states.includes(dataset.state) && wanted.every((word) => dataset.name.toLowerCase().includes(word)));
      for (const line of lines) {
        line.hidden = find(find("a", line).hash).hidden = !hits.includes(line);
      }
      idle(drawRest);
      const some = hits.length < lines.length;
      find(".found", part).textContent = some ? `${hits.length} of ${lines.length} series` : "";
    };
    [words, ...ticks].forEach((input) => input.addEventListener("input", apply));
  }
  addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target?.hidden) return;
    target.hidden = false;
    target.scrollIntoView();
    idle(drawRest);
  });
})();
