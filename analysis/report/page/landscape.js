/** Evenly spaced logarithms of a weight: Plotly does not smooth maps on logarithmic axes. */
function logarithms(name, count) {
  const [low, high] = D.space[name].map(Math.log10);
  return Array.from({ length: count }, (_, i) => low + (i / (count - 1)) * (high - low));
}

/** Matplotlib's colour map, as in the figures for print. */
const MAGMA = ["#000004", "#140e36", "#3b0f70", "#641a80", "#8c2981", "#b73779", "#de4968",
  "#f7705c", "#fe9f6d", "#fecf92", "#fcfdbf"].map((colour, i) => [i / 10, colour]);

const WEIGHT_LABELS = { haadf: "HAADF weight", tv: "TV weight" };

/** An axis of logarithms whose ticks read as the weight itself. */
function weightAxis(name) {
  const ticks = decades(name);
  return {
    title: { text: WEIGHT_LABELS[name], standoff: 6 },
    range: D.space[name].map(Math.log10),
    tickvals: ticks.map(Math.log10),
    ticktext: ticks.map((v) => number(v)),
    ticks: "outside",
    tickcolor: css("--soft"),
    showgrid: false,
    fixedrange: false,
  };
}

/** Powers of ten inside the searched range; 1, 2, 5 of each if it is short. */
function decades(name) {
  const [low, high] = D.space[name];
  const steps = high / low > 1000 ? [1] : [1, 2, 5];
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
    found.push(...steps.map((step) => step * 10 ** e));
  }
  return found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
}

const scoredTrials = (cell, method) => trialsOf[cell].filter((t) =>
  t.method === method.key && method.weights.every((name) => t[name] > 0));

const whose = D.alone ? "The search's own model." : "A model of this cell's trials alone; the search's own takes all cells together.";

/** The landscape of every method with weights, below a heading of its own. */
function cellLandscapes(cell) {
  return D.methods.filter((method) => method.weights.length).flatMap((method) => {
    const own = method.lenders[cell], why = noLandscape(own, method);
    const gamma = D.landscapes[own]?.[method.key]?.gamma;
    const at = gamma == null ? "" : `, at gamma ${number(gamma)} of the best trial`;
    const heading = el("h3", {}, `Landscape of the weights, ${method.label}${at}`);
    if (why) return [heading, el("p", { className: "caption" }, ...why)];
    const two = method.weights.length > 1;
    return [heading,
      two ? el("div", { className: "pair" }, plotBox(`mean-${method.key}`), plotBox(`sigma-${method.key}`)) : plotBox(`curve-${method.key}`),
      el("p", { className: "caption" }, `${whose} Dots: trials; ★ best; ✕ failed, which count as `
        + `one deviation worse than the worst. ${two ? `White line: expected within ${100 * D.near} % of the best.` : "Band: one standard deviation σ on either side."}`)];
  });
}

/** Why a cell has no landscape of a method; null if it has one. */
function noLandscape(cell, method) {
  if (D.landscapes[cell]?.[method.key]) return null;
  const good = method.ended[cell] - method.failed[cell];
  const least = D.least[method.key];
  if (good < least) return [`Good trials so far: ${good}. A landscape needs ${least}.`];
  const missing = "Left out of this page, which has many cells";
  if (method.weights.length === 1) return [`${missing}.`];
  const options = D.cells[cell] === "all" ? "" : D.cells[cell].split(",").map((pair) => ` --cell ${pair}`).join("");
  return [`${missing}: `, el("code", {}, `tomoatlas figure landscape ${D.folder}${options}`)];
}

function drawLandscapes(cell) {
  for (const method of D.methods) {
    const own = method.lenders[cell], found = D.landscapes[own]?.[method.key];
    if (found) (method.weights.length > 1 ? drawSurfaces : drawOneWeight)(own, method, found);
  }
}

/** Dragging moves a landscape, but not under a finger, which scrolls the page. */
const PANS = matchMedia("(pointer: fine)").matches;
const MOVING = { ...CONFIG, modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]] };

/** Mean and uncertainty over two weights, side by side. */
function drawSurfaces(cell, method, found) {
  const [across, up] = method.weights;
  const [x, y] = [logarithms(across, found.mean[0].length), logarithms(up, found.mean.length)];
  const hovertext = found.mean.map((row, r) => row.map((mean, c) =>
    `${across} ${number(10 ** x[c])}, ${up} ${number(10 ** y[r])}<br>expected ${D.score} ${fixedPoint(mean)} ± ${number(found.sigma[r][c], 2)}`));
  const map = (z, title, colorscale) => ({ type: "heatmap", x, y, z, colorscale, zsmooth: "best", hoverinfo: "text", hovertext,
    colorbar: { orientation: "h", thickness: 10, outlinewidth: 0, x: 0.5, xanchor: "center", y: 1.02, yanchor: "bottom", ypad: 0, nticks: 5,
      title: { text: title, side: "top" } } });
  const level = (1 + D.near) * Math.min(...found.mean.flat());
  const near = { type: "contour", x, y, z: found.mean, showscale: false, hoverinfo: "skip", autocontour: false,
    contours: { coloring: "none", start: level, end: level, size: 1 }, line: { color: "#fff", width: 2, smoothing: 1.3 } };
  const trials = trialMarks(cell, method, (t) => Math.log10(t[across]), (t) => Math.log10(t[up]), "#fff", "#000");
  const figure = layout({ height: 360, dragmode: PANS ? "pan" : false, margin: { l: 50, r: 12, t: 58, b: 42 }, showlegend: false,
    xaxis: weightAxis(across), yaxis: weightAxis(up) });
  const least = Math.min(...found.mean.flat()), r = found.mean.findIndex((row) => row.includes(least));
  const at = `${across} ${number(10 ** x[found.mean[r].indexOf(least)])} and ${up} ${number(10 ** y[r])}`;
  const sigmas = found.sigma.flat();
  plotted(`mean-${method.key}`, [map(found.mean, `expected ${D.score}`, "Viridis"), near, ...trials], figure, MOVING,
    `Expected ${D.score} of ${method.label} over both weights: least, ${fixedPoint(least)}, at ${at}.`);
  plotted(`sigma-${method.key}`, [map(found.sigma, `uncertainty (σ of ${D.score})`, MAGMA), ...trials], figure, MOVING,
    `Its uncertainty over both weights: one deviation is ${number(Math.min(...sigmas), 2)} to ${number(Math.max(...sigmas), 2)}.`);
}

/** Mean and band of uncertainty over one weight. */
function drawOneWeight(cell, method, found) {
  const [name] = method.weights;
  const x = logarithms(name, found.mean.length);
  const edge = (sign) => found.mean.map((mean, i) => mean + sign * found.sigma[i]);
  const at = (t) => t.score ?? Math.max(...edge(1));
  const line = { type: "scatter", mode: "lines", x, line: { color: method.colour, width: 2 } };
  const band = { ...line, hoverinfo: "skip", legendgroup: "band", line: { width: 0 } };
  const traces = [
    { ...band, y: edge(-1), showlegend: false },
    { ...band, y: edge(1), name: "± σ", fill: "tonexty", fillcolor: `${method.colour}50` },
    { ...line, y: found.mean, name: "expected", hoverinfo: "text",
      hovertext: found.mean.map((mean, i) => `${name} ${number(10 ** x[i])}<br>expected ${D.score} ${fixedPoint(mean)} ± ${number(found.sigma[i], 2)}`) },
    ...trialMarks(cell, method, (t) => Math.log10(t[name]), at, css("--bg"), css("--ink")),
  ];
  plotted(`curve-${method.key}`, traces, layout({ height: 300, margin: { l: 55, r: 12, t: 30, b: 42 },
    xaxis: weightAxis(name), yaxis: { title: { text: D.score } } }), CONFIG,
  `Expected ${D.score} of ${method.label} over its weight: least, ${fixedPoint(Math.min(...found.mean))}, at ${number(10 ** x[found.mean.indexOf(Math.min(...found.mean))])}.`);
}

/** Good trials as dots, the best as a star, failed ones as crosses. */
function trialMarks(cell, method, x, y, fill, edge) {
  const all = scoredTrials(cell, method);
  const good = all.filter((t) => !t.failure);
  const bad = state.failed ? all.filter((t) => t.failure) : [];
  const best = bestOf(good);
  const marks = (name, trials, marker, text) => ({ type: "scatter", mode: "markers", name, x: trials.map(x), y: trials.map(y),
    cliponaxis: false, hoverinfo: "text", hovertext: trials.map(text), marker });
  return [
    marks("trial", good, { size: 8, color: fill, line: { color: edge, width: 1.5 } }, trialText),
    marks("failed", bad, { symbol: "x", size: 9, color: "#D55E00", line: { color: fill, width: 1 } }, (t) => `trial ${t.number + 1}: ${plain(t.failure)}`),
    marks("best", best ? [best] : [], { symbol: "star", size: 17, color: "#F0E442", line: { color: "#000", width: 1.5 } }, (t) => `best<br>${trialText(t)}`),
  ].filter((trace) => trace.x.length);
}
