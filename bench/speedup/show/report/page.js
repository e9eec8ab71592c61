"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const drawn = new Map(); // figure -> what vegaEmbed made of it, null while it does

  // --- Values -------------------------------------------------------------------------------------------------
  const rowsOf = (columns) => {
    const names = Object.keys(columns);
    const length = names.length ? columns[names[0]].length : 0;
    return Array.from({ length }, (_, n) => Object.fromEntries(names.map((name) => [name, columns[name][n]])));
  };
  const MOST = 90; // of a plot at first
  const runRows = (anchor, quantity) => {
    const { quantities, machines, ...common } = data.runs[anchor];
    return rowsOf({ ...common, ...quantities[quantity] }).map((row) => ({
      ...row,
      shape: machines.length > 1 ? row.machine % charts.shapes : charts.states[row.state],
      machine: machines.length > 1 ? machines[row.machine] : "",
      when: row.run.slice(0, 16).replace("T", " "),
      run: `${row.run}Z`,
      state: charts.states[row.state],
    }));
  };
  const told = (value) => String(value ?? "–");
  const about = (row, quantity) => {
    const interval = row.low === null ? "" : ` [${row.low}, ${row.high}]`;
    const parts = [row.when, `${quantity} ${row.value}${interval}`, row.state];
    if (row.pairs) parts.push(`${row.pairs} pairs`);
    if (row.machine) parts.push(`on ${row.machine}${row.offset ? `, ${row.offset} taken out` : ""}`);
    if (row.commit) parts.push(`commit ${row.commit}`);
    if (row.version) parts.push(`new: ${row.version}`);
    if (row.event) parts.push(row.event);
    return parts;
  };

  // --- Plots --------------------------------------------------------------------------------------------------
  const color = (name) => `var(--${name})`;
  const config = {
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: color("quiet"), titleColor: color("quiet"), gridColor: color("grid"), domainColor: color("rule"),
      tickColor: color("rule"), titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11,
    },
    legend: {
      labelColor: color("ink"), titleColor: color("quiet"), labelFontSize: 11, symbolStrokeWidth: 2,
    },
  };
  const showTip = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${Math.max(4, event.clientY - height - 12)}px`;
  };
  const nothing = () => Promise.reject(new Error("this page loads nothing"));
  const draw = async (figure, chart, rows, describe, onShow) => {
    const canvas = figure.querySelector(".canvas");
    const width = Math.max(220, Math.floor(canvas.getBoundingClientRect().width) || 600);
    const spec = {
      ...chart,
      width,
      autosize: { type: "fit-x", contains: "padding" },
      data: { values: rows },
    };
    if (width < 480) {
      spec.layer.forEach(({ encoding }) => { if (encoding.color?.legend) encoding.color.legend.columns = 1; });
    }
    const tooltip = (_, event, item, value) => {
      const datum = item && value ? item.datum?.datum ?? item.datum : null;
      if (!datum) { tip.hidden = true; return; }
      const parts = describe(datum);
      showTip(event, parts.join("\n"));
      onShow?.(parts);
    };
    drawn.get(figure)?.finalize();
    drawn.set(figure, null); // being drawn: nobody else need do it
    const result = await window.vegaEmbed(canvas.firstElementChild, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, config, tooltip,
      ast: true, // expressions are interpreted: this page may not make code of text
      loader: { load: nothing, sanitize: nothing },
    });
    drawn.set(figure, result);
    figure.dataset.drawn = "true";
  };
  const quantityOf = (figure) => figure.querySelector(".choice input:checked")?.value ?? "cost";
  const isCost = (figure) => !figure.querySelector(".choice");
  const shownRows = (figure) => {
    const all = figure.querySelector(".all input")?.checked ?? true;
    const rows = runRows(figure.dataset.runs, quantityOf(figure)).slice(all ? 0 : -MOST);
    rows.forEach((row, n) => { row.side = n < rows.length / 2 ? "left" : "right"; });
    return rows;
  };
  const drawRuns = (figure) => {
    const quantity = quantityOf(figure);
    const said = isCost(figure) ? "times bare:" : quantity;
    const readout = figure.querySelector(".readout");
    const rows = shownRows(figure);
    return draw(figure, charts.runs(rows), rows, (row) => about(row, said),
      (parts) => { readout.textContent = parts.join(" · "); });
  };
  const drawPlot = (figure) => {
    const plot = data.plots[figure.dataset.plot];
    const rows = rowsOf(plot.columns);
    return draw(figure, charts[plot.spec](rows, plot), rows, (row) =>
      Object.entries(plot.headings).map(([key, heading]) => `${heading}: ${told(row[key])}`));
  };
  const redraw = (figure) => (figure.dataset.runs ? drawRuns(figure) : drawPlot(figure));

  const figures = [...document.querySelectorAll("figure.plot")];
  const visible = (figure) => figure.getClientRects().length > 0;
  const redrawAll = () => figures.filter((figure) => drawn.has(figure) && visible(figure)).forEach(redraw);
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !drawn.has(target)) {
        seen.unobserve(target);
        redraw(target);
      }
    }
  }, { rootMargin: "300px" });
  figures.forEach((figure) => seen.observe(figure));
  // Then the others, one after the other, so that all are there on paper.
  const idle = window.requestIdleCallback ?? ((call) => setTimeout(call, 50));
  const drawRest = async () => {
    const next = figures.find((figure) => visible(figure) && !drawn.has(figure));
    if (!next) return;
    seen.unobserve(next);
    await redraw(next);
    idle(drawRest);
  };
  addEventListener("load", () => idle(drawRest));
  let width = innerWidth;
  let timer;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a phone hides its address bar
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(redrawAll, 150);
  });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // --- One run after the other, by keyboard -------------------------------------------------------------------
  for (const figure of document.querySelectorAll("figure.runs")) {
    let at = null;
    figure.addEventListener("keydown", (event) => {
      if (event.target !== figure) return;
      const rows = shownRows(figure);
      const last = rows.length - 1;
      const moves = { ArrowLeft: (at ?? last + 1) - 1, ArrowRight: (at ?? last) + 1, Home: 0, End: last };
      if (!(event.key in moves)) return;
      event.preventDefault();
      at = Math.max(0, Math.min(last, moves[event.key]));
      const said = isCost(figure) ? "times bare:" : quantityOf(figure);
      figure.querySelector(".readout").textContent = about(rows[at], said).join(" · ");
      const points = figure.querySelectorAll("g.mark-symbol path");
      points.forEach((point, n) => {
        point.style.stroke = n === at ? "var(--ink)" : "";
        point.style.strokeWidth = n === at ? "5" : "";
      });
    });
    figure.querySelectorAll(".choice input, .all input").forEach((input) => input.addEventListener("change", () => {
      drawRuns(figure);
      const table = figure.querySelector("details.behind");
      if (table.open) fill(table);
    }));
  }

  // --- The table behind a plot ----------------------------------------------------------------------------------
  const table = (headings, rows) => {
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    for (const heading of Object.values(headings)) {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = heading;
      head.append(th);
    }
    const body = made.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const key of Object.keys(headings)) {
        const value = row[key];
        const cell = line.insertCell();
        cell.textContent = told(value);
        if (typeof value === "number" || value === null) cell.className = "n";
      }
    }
    [...head.cells].forEach((th, n) => { if (body.rows[0]?.cells[n].className === "n") th.className = "n"; });
    return made;
  };
  const RUN = {
    when: "run", value: "value", low: "from", high: "to (95 %)", state: "state", pairs: "pairs", commit: "commit",
    version: "new version", event: "change",
  };
  const fill = (details) => {
    const figure = details.closest("figure");
    const name = details.dataset.plot ?? figure?.dataset.plot;
    const made = name
      ? table(data.plots[name].headings, rowsOf(data.plots[name].columns))
      : table({ ...RUN, value: quantityOf(figure) }, runRows(figure.dataset.runs, quantityOf(figure)).reverse());
    details.querySelector(".scroll").replaceChildren(made);
  };
  document.querySelectorAll("details.behind").forEach((details) =>
    details.addEventListener("toggle", () => { if (details.open) fill(details); }));

  // --- Which part, which cells -------------------------------------------------------------------------------
  const parts = [...document.querySelectorAll(".part")];
  const choice = document.getElementById("part");
  const show = (anchor) => {
    parts.forEach((part) => { part.hidden = part.id !== anchor; });
    idle(drawRest);
  };
  const follow = () => {
    const target = document.getElementById(location.hash.slice(1));
    const part = target?.closest(".part");
    if (!part) return;
    if (choice) { choice.value = part.id; show(part.id); }
    target.hidden = false;
    target.scrollIntoView();
  };
  if (choice) {
    choice.addEventListener("change", () => show(choice.value));
    show(choice.value);
  }
  for (const part of parts) {
    const filter = part.querySelector(".filter");
    const words = filter.querySelector(".words");
    const ticks = [...filter.querySelectorAll("input[type=checkbox]")];
    const lines = [...part.querySelector(".overview").tBodies[0].rows];
    const sections = new Map(lines.map((line) => [line, part.querySelector(line.querySelector("a").hash)]));
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const states = new Set(ticks.filter((tick) => tick.checked).map((tick) => tick.value));
      let count = 0;
      for (const line of lines) {
        const name = line.dataset.name.toLowerCase();
        const hit = states.has(line.dataset.state) && wanted.every((word) => name.includes(word));
        line.hidden = !hit;
        sections.get(line).hidden = !hit;
        count += hit;
      }
      idle(drawRest);
      filter.querySelector(".found").textContent = count === lines.length ? "" : `${count} of ${lines.length} series`;
    };
    words.addEventListener("input", apply);
    ticks.forEach((tick) => tick.addEventListener("change", apply));
  }
  addEventListener("hashchange", follow);
  follow();
})();
