const panel = document.getElementById("panel");

function showCell() {
  const cell = indexOf(state.place);
  panel.replaceChildren(
    el("h2", {}, D.axes.length ? condition(state.place) : "The cell"),
    ...cellNotice(cell),
    el("div", { className: "scroll" }, methodTable(cell)),
    el("div", { className: "pair" },
      plotBox("progress", "Best so far"), plotBox("landscape", "Weights tried, fused (★ best)")),
    ...cellSlices(cell),
    ...cellFailures(cell),
  );
  panel.dataset.cell = cell;
  drawProgress(cell);
  drawLandscape(cell);
  drawConvergence(cell);
  for (const row of document.querySelectorAll("#atlas tbody tr")) {
    row.classList.toggle("chosen", Number(row.dataset.cell) === cell);
  }
}

const plotBox = (id, title) => el("section", {}, el("h3", {}, title), el("div", { id, className: "plot" }));

function cellNotice(cell) {
  const done = trialsOf[cell].length;
  if (done >= planned) return [];
  const text = done ? `${done} of ${planned} trials of this cell have ended: its values can still improve.`
    : "No trial of this cell has ended yet.";
  return [el("p", { className: "notice" }, text)];
}

function methodTable(cell) {
  const head = ["method", "NRMSE", ...D.elements, "haadf", "tv", "good trials"];
  const body = el("tbody");
  for (const method of D.methods) {
    const trials = trialsOf[cell].filter((t) => t.method === method.key);
    const best = bestOf(trials);
    const acts = (name) => best && best[name] != null && !(name === "haadf" && quantity("haadf").values[cell] == null);
    body.append(el("tr", {},
      el("th", { scope: "row" }, method.label),
      el("td", {}, best ? fixedPoint(best.nrmse) : "no result"),
      ...D.elements.map((name) => el("td", {}, fixedPoint(best?.[`nrmse_${name}`]))),
      ...["haadf", "tv"].map((name) => el("td", {}, acts(name) ? number(best[name]) : "–")),
      el("td", {}, `${trials.filter((t) => !t.failure).length} of ${method.budget}`)));
  }
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))));
  table.append(body);
  return table;
}

/** Best so far against the number of trials; methods of one trial are levels. */
function drawProgress(cell) {
  const traces = [];
  for (const method of D.methods) {
    const trials = trialsOf[cell].filter((t) => t.method === method.key).sort((a, b) => a.number - b.number);
    const good = trials.filter((t) => !t.failure);
    if (!good.length) continue;
    let best = Infinity;
    const line = trials.map((t) => (t.failure ? best : (best = Math.min(best, t.nrmse))));
    const colour = { color: method.colour };
    if (method.budget === 1) {
      const last = Math.max(...D.methods.map((m) => m.budget));
      traces.push({ x: [1, last], y: [best, best], mode: "lines", name: method.label, line: { ...colour, dash: "dash" } });
      continue;
    }
    traces.push({ x: trials.map((t) => t.number + 1), y: line.map((v) => (v === Infinity ? null : v)), mode: "lines", name: method.label, legendgroup: method.key, line: { ...colour, shape: "hv" } });
    traces.push({ x: good.map((t) => t.number + 1), y: good.map((t) => t.nrmse), mode: "markers", showlegend: false, legendgroup: method.key, marker: { ...colour, size: 7 },
      hoverinfo: "text", hovertext: good.map((t) => trialText(t)) });
  }
  plotOrSay("progress", traces, "No good trial yet", layout({ height: 340,
    margin: { l: 50, r: 10, t: 10, b: 110 }, legend: LEGEND_BELOW,
    xaxis: { title: { text: "trial" }, rangemode: "tozero" }, yaxis: { title: { text: "NRMSE" } } }));
}

function trialText(t) {
  const weights = ["haadf", "tv"].filter((name) => t[name] != null).map((name) => `${name} ${number(t[name])}`);
  return [`trial ${t.number + 1}: NRMSE ${fixedPoint(t.nrmse)}`, weights.join(", "), `${number(t.seconds)} s, ${plain(t.ended ?? "")}`].join("<br>");
}

/** Points told to the search over the weights; the best is the star, failures are crosses. */
function drawLandscape(cell) {
  const fused = trialsOf[cell].filter((t) => t.method === "fused" && t.haadf > 0 && t.tv > 0);
  const good = fused.filter((t) => !t.failure);
  const bad = fused.filter((t) => t.failure);
  const best = bestOf(good);
  const at = (trials) => ({ type: "scatter", mode: "markers", x: trials.map((t) => t.haadf), y: trials.map((t) => t.tv), hoverinfo: "text" });
  const traces = [
    { ...at(good), hovertext: good.map(trialText), marker: { size: 12, color: good.map((t) => t.nrmse), colorscale: "Viridis", line: { color: css("--ink"), width: 1 }, colorbar: { thickness: 10, title: { text: "NRMSE", side: "right" } } } },
    { ...at(bad), hovertext: bad.map((t) => plain(t.failure)), marker: { symbol: "x", size: 9, color: css("--soft") } },
    { ...at(best ? [best] : []), hovertext: best ? [`best<br>${trialText(best)}`] : [], marker: { symbol: "star-open", size: 22, color: "#d00000", line: { width: 2 } } },
  ];
  const bounds = (name) => { const [low, high] = D.space[name].map(Math.log10); const edge = 0.05 * (high - low); return [low - edge, high + edge]; };
  plotOrSay("landscape", fused.length ? traces : [], "No fused trial yet", layout({ height: 340,
    margin: { l: 50, r: 5, t: 10, b: 40 }, showlegend: false,
    xaxis: { title: { text: "HAADF weight" }, type: "log", range: bounds("haadf"), dtick: 1, tickformat: "~g" },
    yaxis: { title: { text: "TV weight" }, type: "log", range: bounds("tv"), tickvals: decades("tv"), tickformat: "~g" } }));
}

/** 1, 2, 5 of every decade inside the searched range. */
function decades(name) {
  const [low, high] = D.space[name];
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
    for (const step of high / low > 1000 ? [1] : [1, 2, 5]) if (step * 10 ** e >= low && step * 10 ** e <= high) found.push(Number((step * 10 ** e).toPrecision(1)));
  }
  return found;
}

function plotOrSay(id, traces, otherwise, figure) {
  const box = document.getElementById(id);
  if (traces.length) Plotly.newPlot(box, traces, figure, CONFIG);
  else box.append(el("p", { className: "caption" }, `${otherwise}.`));
}

function cellSlices(cell) {
  const found = D.slices[cell];
  const command = `tomoatlas report DIR --cell "${D.cells[cell]}"`;
  if (!found) return [el("p", { className: "caption" }, "Slices and convergence of this cell: ", el("code", {}, command))];
  const columns = found.columns;
  const head = el("tr", {}, el("td"), ...columns.map((c) => el("th", { scope: "col" }, c.label)));
  const image = (name, c, src) => el("img", { src, alt: `${name}, ${c.label}` });
  const all = el("tr", {}, el("th", { scope: "row" }, "all"),
    ...columns.map((c, i) => el("td", {}, image("all elements", c, c.composite), i ? "" : scaleBar(found))));
  const rows = Object.entries(found.elements).map(([name, colour], i) => el("tr", {},
    el("th", { scope: "row" }, name, swatch(colour)),
    ...columns.map((c) => el("td", {}, image(name, c, c.images[i]), c.nrmse ? fixedPoint(c.nrmse[i]) : ""))));
  return [el("h3", {}, "Slices across the tilt axis"),
    el("table", { className: "slices" }, head, all, ...rows),
    el("p", { className: "caption" }, `${found.plane}, beam upwards; best trial of each method, reconstructed again. Above, the `
      + "elements in their colours; below, one by one from 0 (black) to the truth's maximum (yellow), with the NRMSE over the whole volume."),
    ...drift(cell, found),
    el("div", { className: "pair" },
      plotBox("terms", "Convergence, fused: terms"), plotBox("residuals", "Relative residuals"))];
}

function swatch(colour) {
  const made = el("span", { className: "swatch" });
  made.style.background = colour;
  return made;
}

function scaleBar(found) {
  const bar = el("span", { className: "bar" }, `${found.bar.nm} nm`);
  bar.style.width = `${100 * found.bar.part}%`;
  return bar;
}

/** Another version of the solver may reach another score than the journal holds: say so. */
function drift(cell, found) {
  const moved = found.columns.filter((c) => c.nrmse).flatMap((c) => {
    const told = bestOf(trialsOf[cell].filter((t) => t.method === c.method))?.nrmse;
    const now = c.nrmse.reduce((sum, v) => sum + v, 0) / c.nrmse.length;
    return told && Math.abs(now / told - 1) > 0.01 ? [`${c.label} ${fixedPoint(now)} (${fixedPoint(told)})`] : [];
  });
  return moved.length ? [el("p", { className: "notice" }, `Reconstructed again, other scores come out than the journal holds (in brackets): ${moved.join(", ")}. The trials were run with another version.`)] : [];
}

function drawConvergence(cell) {
  const history = D.slices[cell]?.history;
  if (!history) return;
  const lines = (names) => names.filter(([key]) => history[key].some((v) => v > 0))
    .map(([key, name], i) => ({ x: history.iterations, y: history[key].map((v) => (v > 0 ? v : null)), mode: "lines", name, line: { dash: ["solid", "dash", "dot"][i] } }));
  const figure = layout({ height: 300, margin: { l: 55, r: 10, t: 10, b: 70 }, legend: LEGEND_BELOW,
    xaxis: { title: { text: "work / pairs of projections" } }, yaxis: { type: "log", dtick: 1, tickformat: "~g" } });
  plotOrSay("terms", lines([["haadf", "HAADF"], ["chemistry", "chemistry"], ["tv", "TV"]]), "Not recorded", figure);
  plotOrSay("residuals", lines([["primal", "primal"], ["dual", "dual"], ["change", "change"]]), "Not recorded", figure);
}

function cellFailures(cell) {
  const bad = trialsOf[cell].filter((t) => t.failure);
  if (!bad.length) return [];
  const items = [...Map.groupBy(bad, (t) => t.failure)].map(([kind, trials]) =>
    el("li", {}, `${trials.length} × ${kind}`, ...(trials[0].error ? [el("br"), el("small", {}, trials[0].error)] : [])));
  return [el("h3", {}, "Failed trials"), el("ul", {}, ...items)];
}
