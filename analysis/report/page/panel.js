const panel = document.getElementById("panel");

function showCell() {
  const cell = indexOf(state.place);
  panel.replaceChildren(
    el("h2", {}, D.axes.length ? condition(state.place) : "The cell"),
    ...cellNotice(cell),
    scrolling("The methods in this cell", methodTable(cell)), ...sharedNote(cell),
    ...cellActions(cell),
    plotBox("progress", "Best so far"),
    trialTable(cell),
    ...drawnNotice(cell),
    ...cellLandscapes(cell),
    ...cellSlices(cell),
    ...cellFailures(cell),
  );
  panel.dataset.cell = cell;
  drawProgress(cell);
  drawLandscapes(cell);
  drawConvergence(cell);
  markChosen();
}

/** The chosen cell's row in the table of all cells. */
function markChosen() {
  for (const row of document.querySelectorAll("#atlas tbody tr")) {
    row.classList.toggle("chosen", Number(row.dataset.cell) === indexOf(state.place));
  }
}

const plotBox = (id, ...title) => el("section", {}, ...title.map((text) => el("h3", {}, text)), named(el("div", { id, className: "plot" }), "group", title[0] ?? id.replace("-", ", ")));

function cellNotice(cell) {
  const done = ended(cell);
  if (finished(cell)) return [];
  const text = done ? `${done} of ${planned(cell)} trials of this cell have ended: its values can still improve.`
    : "No trial of this cell has ended yet.";
  return [el("p", { className: "notice" }, text)];
}

/** That a cell has more trials than the page draws. */
function drawnNotice(cell) {
  const [few, all] = [trialsOf[cell].length, ended(cell)];
  if (few >= all) return [];
  return [el("p", { className: "caption" }, `Drawn: ${few} of the ${all} trials of this cell, the best of each method and others `
    + "at even steps; numbers of trials count all.")];
}

/** A box that scrolls sideways, with keys too. */
const scrolling = (name, ...children) => named(el("div", { className: "scroll", tabIndex: 0 }, ...children), "region", name);

/** Every trial that the charts of a cell draw, as rows. */
function trialTable(cell) {
  const [method, ...others] = trialColumns.map(([, of]) => of);
  const row = (t) => el("tr", {}, el("th", { scope: "row" }, method(t)), ...others.map((of) => el("td", {}, of(t) || "–")));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...trialColumns.map(([name]) => el("th", { scope: "col" }, name)))));
  const made = el("details", { id: "trials" }, el("summary", {}, "Its trials as a table"), scrolling("Trials of this cell", table));
  // Filled when it is opened: a cell may have thousands.
  made.addEventListener("toggle", () => { if (made.open && !table.tBodies.length) table.append(el("tbody", {}, ...trialsOf[cell].map(row))); });
  return made;
}

/** Which methods were run in another cell, for all that differ in HAADF alone. */
function sharedNote(cell) {
  const shared = D.methods.filter((method) => method.lenders[cell] !== cell);
  if (!shared.length) return [];
  const where = condition(placeOf(shared[0].lenders[cell]));
  return [el("p", { className: "caption" }, `Run once for all cells that differ in HAADF alone, at ${where}: ${shared.map((method) => method.label).join("; ")}.`)];
}

/** All methods with their scores and weights; ``counts``: with the number of good trials. */
function methodTable(cell, counts = true) {
  const head = ["method", "NRMSE", ...D.elements, ...weightNames, ...(counts ? ["good trials"] : [])];
  const body = el("tbody");
  for (const method of D.methods) {
    const at = method.lenders[cell], trials = countingIn(cell, method);
    const best = bestOf(trials);
    const acts = (name) => best && best[name] != null && !(name !== "tv" && quantity("haadf").values[cell] == null);
    const good = `${method.ended[at] - method.failed[at]} of ${method.planned[at]}`;
    body.append(el("tr", {},
      el("th", { scope: "row" }, term(method.label)),
      el("td", {}, best ? fixedPoint(best.nrmse) : "no result"),
      ...D.elements.map((name) => el("td", {}, fixedPoint(best?.[`nrmse_${name}`]))),
      ...weightNames.map((name) => el("td", {}, acts(name) ? number(best[name]) : "–")),
      ...(counts ? [el("td", {}, good)] : [])));
  }
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, term(name))))));
  table.append(body);
  return table;
}

/** Best so far against the number of trials; methods of one trial are levels. */
function drawProgress(cell) {
  const traces = [];
  for (const method of D.methods) {
    const at = method.lenders[cell], trials = countingIn(cell, method).sort((a, b) => a.number - b.number);
    const good = trials.filter((t) => !t.failure);
    if (!good.length) continue;
    let best = Infinity;
    const line = trials.map((t) => (t.failure ? best : (best = Math.min(best, t.score))));
    const colour = { color: method.colour };
    if (method.planned[at] === 1) {
      // A level, to compare with; where no method has several trials it would have no length.
      const last = Math.max(2, ...D.methods.map((m) => m.planned[cell]));
      traces.push({ x: [0, last], y: [best, best], mode: "lines", name: method.label, line: { ...colour, dash: "dash" } });
      continue;
    }
    traces.push({ x: trials.map((t) => t.number + 1), y: line.map((v) => (v === Infinity ? null : v)), mode: "lines", name: method.label, legendgroup: method.key, line: { ...colour, shape: "hv" } });
    traces.push({ x: good.map((t) => t.number + 1), y: good.map((t) => t.score), mode: "markers", showlegend: false, legendgroup: method.key, marker: { ...colour, size: 7 },
      hoverinfo: "text", hovertext: good.map((t) => trialText(t)) });
  }
  const bests = D.methods.map((method) => [method, bestOf(countingIn(cell, method))]).filter(([, best]) => best);
  const says = bests.map(([method, best]) => `${method.label} ${fixedPoint(best.score)} at trial ${best.number + 1}`).join(", ");
  const longest = Math.max(...traces.flatMap((trace) => trace.x));
  plotOrSay("progress", traces, "No good trial yet", layout({ height: 310,
    margin: { l: 50, r: 10, t: 10, b: 85 }, legend: LEGEND_BELOW,
    xaxis: { title: { text: "trial", standoff: 6 }, rangemode: "tozero", ...(longest > 10 ? {} : { dtick: 1 }) }, yaxis: { title: { text: D.score } } }),
  `Best ${D.score} so far over the number of trials. Best of each method: ${says}.`);
}

function trialText(t) {
  const score = D.score === "NRMSE" ? "" : `${D.score} ${fixedPoint(t.score)}, `;
  return [`trial ${t.number + 1}: ${score}NRMSE ${fixedPoint(t.nrmse)}`, weightText(t), `${number(t.seconds)} s, ${plain(t.ended ?? "")}`].join("<br>");
}

function plotOrSay(id, traces, otherwise, figure, says) {
  const box = document.getElementById(id);
  if (traces.length) plotted(box, traces, figure, CONFIG, says);
  else box.append(el("p", { className: "caption" }, `${otherwise}.`));
}

function cellSlices(cell) {
  const found = D.slices[cell];
  const command = `tomoatlas report ${D.folder} --cell "${D.cells[cell]}"`;
  if (!found) return [el("p", { className: "caption" }, "Slices and convergence of this cell: ", el("code", {}, ...unbroken(command)))];
  const columns = found.columns;
  const head = el("tr", {}, el("td"), ...columns.map((c) => el("th", { scope: "col" }, c.label)));
  const image = (name, c, src) => el("img", { src, alt: `${name}, ${c.label}` });
  const all = el("tr", {}, el("th", { scope: "row" }, "all"),
    ...columns.map((c, i) => el("td", {}, image("all elements", c, c.composite), i ? "" : scaleBar(found))));
  const rows = Object.entries(found.elements).map(([name, colour], i) => el("tr", {},
    el("th", { scope: "row" }, name, swatch(colour)),
    ...columns.map((c) => el("td", {}, image(name, c, c.images[i]), c.nrmse ? fixedPoint(c.nrmse[i]) : ""))));
  return [el("h3", {}, "Slices across the tilt axis"),
    scrolling("Slices of every method", el("table", { className: "slices" }, head, all, ...rows)),
    el("p", { className: "caption" }, `${found.plane}, beam upwards; best trial of each method, reconstructed again. Above, the `
      + "elements in their colours; below, one by one from 0 (black) to the truth's maximum (yellow), with the NRMSE over the whole volume."),
    ...found.differences.map((text) => el("p", { className: "notice" }, `${text}.`)),
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

function drawConvergence(cell) {
  const history = D.slices[cell]?.history;
  if (!history) return;
  const lines = (names) => names.filter(([key]) => history[key].some((v) => v > 0))
    .map(([key, name], i) => ({ x: history.iterations, y: history[key].map((v) => (v > 0 ? v : null)), mode: "lines", name, line: { dash: ["solid", "dash", "dot"][i] } }));
  const figure = (y) => layout({ height: 300, margin: { l: 60, r: 10, t: 10, b: 75 }, legend: LEGEND_BELOW,
    xaxis: { title: { text: "work / pairs of projections", standoff: 6 } },
    yaxis: { title: { text: y }, type: "log", dtick: 1, exponentformat: "power" } });
  plotOrSay("terms", lines([["haadf", "HAADF"], ["chemistry", "chemistry"], ["tv", "TV"]]), "Not recorded", figure("term of the objective"),
    "Terms of the objective over the work of the best fused trial, on a logarithmic scale: HAADF, chemistry and TV.");
  plotOrSay("residuals", lines([["primal", "primal"], ["dual", "dual"], ["change", "change"]]), "Not recorded", figure("relative residual"),
    "Relative residuals over the work of the best fused trial, on a logarithmic scale: primal, dual and change.");
}

function cellFailures(cell) {
  const bad = trialsOf[cell].filter((t) => t.failure);
  if (!bad.length) return [];
  const items = [...grouped(bad, (t) => t.failure)].map(([kind, trials]) =>
    el("li", {}, `${trials.length} × ${kind}`, ...(trials[0].error ? [el("br"), el("small", {}, trials[0].error)] : [])));
  const part = bad.length < failed(cell) ? ` (${bad.length} of ${failed(cell)})` : "";
  return [el("h3", {}, `Failed trials${part}`), el("ul", {}, ...items)];
}
