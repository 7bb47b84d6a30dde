const PUOR = ["#7f3b08", "#b35806", "#e08214", "#fdb863", "#fee0b6", "#f7f7f7", "#d8daeb",
  "#b2abd2", "#8073ac", "#542788", "#2d004b"].map((colour, i) => [i / 10, colour]);

const isMap = D.across != null && D.upwards != null;
const isCurve = D.across != null && D.upwards == null;
const mapBox = document.getElementById("map");

/** The selected cell's place with other indices along the drawn axes. */
function moved(column, row) {
  const place = [...state.place];
  if (D.across != null) place[D.across] = column;
  if (D.upwards != null) place[D.upwards] = row;
  return place;
}

const along = (axis) => (axis == null ? [] : D.axes[axis].values);

/** ``of(cell)`` for every cell of the page that is shown, rows upwards. */
function grid(of) {
  return along(D.upwards).map((_, row) =>
    along(D.across).map((_, column) => of(indexOf(moved(column, row)))));
}

const finite = (values) => values.filter((value) => value != null);

/** Range of colours: that of the whole study, not of one page, rounded outwards. */
function colourRange(q) {
  if (q.kind === "weight" && q.bounds) return q.bounds.map(Math.log10);
  const together = state.common && q.kind === "score"
    ? D.quantities.filter((other) => other.kind === "score").flatMap((other) => other.values)
    : q.values;
  const values = finite(together).map((v) => (q.kind === "weight" ? Math.log10(v) : v));
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (q.kind === "score") {
    const bottom = Math.floor(low * 20) / 20;
    return [bottom, Math.max(Math.ceil(high * 20) / 20, bottom + 0.1)];
  }
  if (q.kind === "gain") {
    const top = Math.max(5, 5 * Math.ceil(Math.max(Math.abs(low), Math.abs(high)) / 5));
    return [low < 0 ? -top : 0, top];
  }
  return q.kind === "count" ? [0, Math.max(1, high)] : [low, Math.max(high, low + 1)];
}

function colourScale(q, range) {
  if (q.kind === "gain" && range[0] < 0) return { colorscale: PUOR };
  if (q.kind === "weight") return { colorscale: "Cividis" };
  return { colorscale: "Viridis", reversescale: q.kind === "gain" };
}

const UNITS = { score: "NRMSE", gain: "gain / %", weight: "weight", count: "trials" };
const unitOf = (q) => (q.key === "score" ? D.score : UNITS[q.kind]);

function colourBar(q, range) {
  const bar = { title: { text: unitOf(q), side: "right" }, thickness: 12, outlinewidth: 0 };
  if (q.kind !== "weight") return bar;
  const ticks = [];
  for (let e = Math.ceil(range[0] - 1e-9); e <= range[1] + 1e-9; e++) ticks.push(e);
  return { ...bar, tickvals: ticks, ticktext: ticks.map((e) => number(10 ** e)) };
}

function hoverText(cell) {
  const lines = [`<b>${plain(condition(placeOf(cell)))}</b>`];
  for (const method of D.methods) {
    const best = bestOf(countingIn(cell, method));
    lines.push(`${plain(method.label)}: ${best ? fixedPoint(best.nrmse) : "no result"}`);
    if (!best) continue;
    lines.push(D.elements.map((name) => `   ${plain(name)} ${fixedPoint(best[`nrmse_${name}`])}`).join(","));
    const weights = weightText(best);
    if (weights) lines.push(`   at ${weights}`);
  }
  return [...lines, ...gains(cell), trialCount(cell)].join("<br>");
}

const gains = (cell) => D.quantities.filter((q) => q.kind === "gain" && q.values[cell] != null)
  .map((q) => `${plain(q.label)}: ${q.values[cell].toFixed(0)} %`);

function trialCount(cell) {
  return `Trials: ${ended(cell)} of ${planned(cell)} ended, ${failed(cell)} failed`;
}

const hoverBox = document.getElementById("hover");

/** All numbers and weights of the cell pointed at, beside it or above or below, never on it. */
function showHover(point) {
  if (!isMap) return;
  const cell = Number(point.customdata);
  hoverBox.replaceChildren(el("strong", {}, condition(placeOf(cell))), methodTable(cell, false),
    ...[...gains(cell), trialCount(cell)].map((line) => el("div", {}, line)));
  hoverBox.hidden = false;
  const place = mapBox.getBoundingClientRect();
  const { xaxis, yaxis } = point;
  const edge = (axis, at, start) => start + axis._offset + axis.l2p(at);
  const [left, right] = [-0.5, 0.5].map((half) => edge(xaxis, point.pointNumber[1] + half, place.x));
  const [top, bottom] = [0.5, -0.5].map((half) => edge(yaxis, point.pointNumber[0] + half, place.y));
  const { width, height } = hoverBox.getBoundingClientRect();
  const [gap, wide, tall] = [8, document.documentElement.clientWidth, innerHeight];
  const beside = right + gap + width <= wide ? right + gap : left - gap - width;
  const [x, y] = beside >= 0 ? [beside, Math.max(0, Math.min(top, tall - height))]
    : [Math.max(0, Math.min(left, wide - width)), bottom + gap + height <= tall ? bottom + gap : top - gap - height];
  hoverBox.style.left = `${x + scrollX}px`;
  hoverBox.style.top = `${y + scrollY}px`;
}

function hideHover() {
  hoverBox.hidden = true;
}

/** Edges of the cells at or below the accuracy: steps, because the axes are categories. */
function outline(values) {
  const inside = (r, c) => values[r]?.[c] != null && values[r][c] <= state.accuracy;
  const known = (r, c) => values[r]?.[c] != null;
  const edges = [];
  values.forEach((row, r) => row.forEach((_, c) => {
    if (!inside(r, c)) return;
    for (const [dr, dc] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      if (!known(r + dr, c + dc) || inside(r + dr, c + dc)) continue;
      const [x, y] = [c + dc / 2, r + dr / 2];
      edges.push(dc ? [x, x, y - 0.5, y + 0.5] : [x - 0.5, x + 0.5, y, y]);
    }
  }));
  return [["#000", 5], ["#fff", 2]].flatMap(([color, width]) =>
    edges.map(([x0, x1, y0, y1]) => ({ type: "line", x0, x1, y0, y1, line: { color, width } })));
}

/** The selected cell: a frame visible on every colour, inside the outline of the accuracy. */
function frame(column, row) {
  const box = { type: "rect", x0: column - 0.41, x1: column + 0.41, y0: row - 0.41, y1: row + 0.41 };
  return [{ ...box, line: { color: "#fff", width: 6 } }, { ...box, line: { color: "#d00000", width: 3 } }];
}

function ticks(axis) {
  const values = along(axis);
  return {
    title: { text: plain(D.axes[axis].label) },
    tickvals: values.map((_, i) => i),
    ticktext: values.map(plain),
    range: [-0.5, values.length - 0.5],
    showgrid: false,
  };
}

/** Whether black is easier to read than white on the colour of a value. */
function isBright(q, range, value) {
  const part = ((q.kind === "weight" ? Math.log10(value) : value) - range[0]) / (range[1] - range[0]);
  const scale = colourScale(q, range);
  if (scale.colorscale === PUOR) return part > 0.13 && part < 0.78;
  return scale.reversescale ? part < 0.57 : part > 0.43;
}

function drawMap() {
  const q = state.quantity;
  const range = colourRange(q);
  const values = grid((cell) => q.values[cell]);
  const cells = grid((cell) => cell);
  const width = mapBox.clientWidth / (along(D.across).length + 3);
  const mark = (cell) => (finished(cell) ? "" : "*");
  const shared = { type: "heatmap", customdata: cells, hoverinfo: "none", xgap: 1, ygap: 1 };
  const holes = { ...shared, showscale: false, texttemplate: "%{text}", textfont: { color: css("--ink") },
    z: values.map((row) => row.map((v) => (v == null ? 0 : null))),
    text: values.map((row) => row.map((v) => (v == null ? "×" : ""))),
    colorscale: [[0, css("--hole")], [1, css("--hole")]] };
  const font = { size: width > 44 ? 13 : 10 };
  const filled = (bright) => {
    const mine = (v) => v != null && (bright || !isBright(q, range, v));
    const written = (v) => v != null && isBright(q, range, v) === bright;
    return { ...shared, zmin: range[0], zmax: range[1], showscale: bright, colorbar: colourBar(q, range),
      ...colourScale(q, range),
      z: values.map((row) => row.map((v) => (mine(v) ? (q.kind === "weight" ? Math.log10(v) : v) : null))),
      text: values.map((row, r) => row.map((v, c) => (written(v) ? shortText(q, v) + mark(cells[r][c]) : ""))),
      texttemplate: width > NUMBERED_PX ? "%{text}" : "", textfont: { ...font, color: bright ? "#000" : "#fff" } };
  };
  const height = Math.min(640, Math.max(300, 46 * along(D.upwards).length + 110));
  const lines = mapContours(q, values, [width, (height - 55) / along(D.upwards).length]);
  const shapes = [...(q.kind === "score" ? outline(values) : []), ...lines.shapes,
    ...frame(state.place[D.across], state.place[D.upwards])];
  plotted(mapBox, [holes, filled(true), filled(false)], layout({ xaxis: ticks(D.across), yaxis: ticks(D.upwards),
    height, shapes, annotations: lines.annotations, margin: { l: 45, r: 5, t: 10, b: 45 } }), CONFIG);
  caption(values.flat(), cells.flat());
}

/** One axis: all methods for a score, one curve for anything else. */
function drawCurve() {
  const q = state.quantity;
  const same = D.quantities.filter((other) => other.group === q.group && other.kind === q.kind);
  const cells = along(D.across).map((_, i) => indexOf(moved(i)));
  const traces = same.map((other) => ({
    type: "scatter", mode: "lines+markers", name: plain(other.label), connectgaps: false,
    x: cells.map((_, i) => i), y: cells.map((cell) => other.values[cell]), customdata: cells,
    hoverinfo: "text", hovertext: cells.map(hoverText),
    opacity: other === q ? 1 : 0.7, line: { width: other === q ? 4 : 2, color: colourOf(other) }, marker: { size: other === q ? 11 : 8 },
  }));
  const log = q.kind === "weight";
  plotted(mapBox, traces, layout({ height: 420, margin: { l: 55, r: 10, t: 60, b: 45 },
    xaxis: ticks(D.across),
    yaxis: { title: { text: unitOf(q) }, type: log ? "log" : "linear", rangemode: log ? "normal" : "tozero" },
    shapes: [{ type: "line", xref: "x", yref: "paper", x0: state.place[D.across], x1: state.place[D.across],
      y0: 0, y1: 1, line: { color: css("--accent"), width: 2, dash: "dot" } }] }), CONFIG);
  caption(cells.map((cell) => q.values[cell]), cells);
}

/** No axis: the methods of the only cell as bars. */
function drawBars() {
  const q = state.quantity;
  const shown = D.quantities.filter((other) => other.kind === q.kind && other.group === q.group);
  const name = (other) => plain(other.label.replace(/^NRMSE, (fused, )?|^Gain over /, "")).replace(/,? (?=\(|best|conv)/g, "<br>");
  plotted(mapBox, [{ type: "bar", x: shown.map(name), y: shown.map((other) => other.values[0]),
    text: shown.map((other) => (other.values[0] == null ? "no result" : number(other.values[0]))), textposition: "outside",
    cliponaxis: false, customdata: shown.map(() => 0), hoverinfo: "text", hovertext: shown.map(() => hoverText(0)),
    marker: { color: shown.map((other) => colourOf(other) ?? COLOURS[0]) } }],
  layout({ height: 380, xaxis: { tickangle: 0 },
    yaxis: { title: { text: unitOf(q) }, rangemode: "tozero", type: q.kind === "weight" ? "log" : "linear" } }), CONFIG);
  caption([q.values[0]], [0]);
}

function caption(values, cells) {
  const q = state.quantity;
  const known = finite(values);
  const range = [...new Set([Math.min(...known), Math.max(...known)].map((v) => number(v)))].join(" to ");
  const parts = [`${q.label}: ${known.length ? range : "no result yet"}.`];
  if (q.kind === "score" && cells.length > 1) {
    const good = known.filter((v) => v <= state.accuracy).length;
    parts.push(`${good} of ${cells.length} cells are at or below ${state.accuracy}${isMap && good && good < known.length ? " (outlined)" : ""}; lower is better.`);
  }
  if (known.length < values.length) {
    const why = q.key === "haadf" ? "no result, or no HAADF tilts for the weight to act on" : "no result";
    parts.push(`${isMap ? "×" : "A gap"}: ${why} (${values.length - known.length} of ${values.length}).`);
  }
  if (isMap && cells.some((cell) => !finished(cell))) parts.push("*: trials still to come.");
  if (isMap) parts.push(...contoursText(q, cells));
  document.getElementById("caption").textContent = parts.join(" ");
}

/** The map's numbers as a table with headings, for those who do not see colours. */
function tabulate() {
  const q = state.quantity, [columns, rows] = [along(D.across), along(D.upwards)];
  const name = (axis) => (axis == null ? "" : D.axes[axis].label);
  const head = [`${name(D.upwards)} ↓ ${name(D.across)} →`, ...columns].map((text) => el("th", { scope: "col" }, text));
  const cell = (r, c) => { const value = q.values[indexOf(moved(c, r))]; return el("td", {}, value == null ? "no result" : q.kind === "score" ? fixedPoint(value) : number(value)); };
  const body = (rows.length ? rows : [q.label]).map((text, r) => el("tr", {}, el("th", { scope: "row" }, text), ...columns.map((_, c) => cell(r, c))));
  document.getElementById("grid-table").replaceChildren(el("caption", {}, q.label),
    el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body.reverse()));
}

/** What the map is, and how it is worked with keys. */
function mapLabel() {
  const drawn = [[D.across, "across"], [D.upwards, "upwards"]].filter(([axis]) => axis != null);
  const over = drawn.map(([axis, way]) => `${D.axes[axis].label} ${way}`).join(", ");
  return `${state.quantity.label}${over ? ` over ${over}. Arrow keys choose a cell; the table below holds the same numbers` : ""}.`;
}

/** Announce the chosen cell in a sentence; the panel itself would be read as a whole. */
function announce() {
  const cell = indexOf(state.place), value = state.quantity.values[cell];
  document.getElementById("said").textContent = `${condition(state.place)}: ${state.quantity.label} ${value == null ? "no result" : number(value)}`;
}

function draw() {
  answer();
  mapBox.setAttribute("aria-label", mapLabel());
  for (const label of document.querySelectorAll(".of-scores, .of-map")) {
    label.hidden = !(isMap && (state.quantity.kind === "score" || label.matches(".of-map")));
  }
  if (D.across != null) tabulate();
  (isMap ? drawMap : isCurve ? drawCurve : drawBars)();
}
