const D = JSON.parse(document.getElementById("data").textContent);

const state = {
  quantity: D.quantities[0],
  place: D.axes.map(() => 0), // of the chosen cell, one index per axis
  accuracy: D.accuracy,
  common: false,
  failed: true,
  pinned: null,
  contours: false,
  equal: "", // the cost whose contours are drawn
};

/** An element with properties and children; text stays text. */
function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A command whose lines never end within an option, as they may after its hyphens. */
const unbroken = (command) => command.split(/( )/).map((word) => (word.startsWith("--") ? el("span", { className: "whole" }, word) : word));

/** Give an element its role and name for screen readers; as attributes, which every browser knows. */
function named(element, role, name) {
  element.setAttribute("role", role);
  element.setAttribute("aria-label", name);
  return element;
}

/** What a word of the page means, where it stands as a heading. */
const GLOSSARY = {
  NRMSE: "Root mean square difference from the truth over all elements, relative to the truth: 0 is perfect, 1 is as bad as nothing. Lower is better.",
  haadf: "Weight of the HAADF term: how much the maps of elements must agree with the HAADF images.",
  tv: "Weight of total variation: how much noise and texture are smoothed away between edges.",
  gamma: "Exponent of the HAADF contrast with the atomic number.",
  Fused: "All elements and HAADF reconstructed together.",
  "Chemistry + TV": "Maps of elements alone, smoothed by total variation; HAADF is not used.",
  "ML, converged": "Maximum likelihood of the maps alone, iterated to its end: it fits the noise.",
  "ML, best-stopped (oracle)": "Maximum likelihood stopped where it is nearest to the truth, which only a simulation knows: a bound, not a method.",
  "good trials": "Trials that ended without failure, of those planned.",
};

/** A word, with its meaning on hover if it has one. */
const term = (text) => (GLOSSARY[text] ? el("abbr", { title: GLOSSARY[text] }, text) : text);

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Plotly interprets a few tags in its labels; a user's names must not act as tags. */
const plain = (text) => String(text).replaceAll("<", "‹").replaceAll(">", "›");

function number(value, digits = 3) {
  return value == null ? "–" : Number(value.toPrecision(digits)).toString();
}

const fixedPoint = (value) => (value == null ? "–" : value.toFixed(value >= 10 ? 0 : 3));

/** How a value of a quantity is written inside a cell of the map. */
function shortText(quantity, value) {
  if (value == null) return "";
  if (quantity.kind === "score") return value.toFixed(2);
  return quantity.kind === "weight" ? number(value, 2) : value.toFixed(0);
}

/** Index of a cell from its place; the last axis varies fastest. */
function indexOf(place) {
  return place.reduce((index, at, axis) => index * D.axes[axis].values.length + at, 0);
}

function placeOf(index) {
  const place = [];
  for (let axis = D.axes.length - 1; axis >= 0; axis--) {
    const length = D.axes[axis].values.length;
    place[axis] = index % length;
    index = Math.floor(index / length);
  }
  return place;
}

function condition(place) {
  return D.axes.map((axis, i) => `${axis.label} ${axis.values[place[i]]}`).join(", ") || "the cell";
}

/** The trials that the page draws by cell, each a plain object, in the order of the journal. */
const trialsOf = [];

function fillTrials() {
  trialsOf.splice(0, Infinity, ...D.cells.map(() => []));
  D.trials.cell.forEach((cell, i) => {
    if (cell < 0) return;
    trialsOf[cell].push(
      Object.fromEntries(Object.entries(D.trials).map(([key, column]) => [key, column[i]])),
    );
  });
}

fillTrials();

/** The trials of a method that count in a cell; those of shared baselines are another cell's. */
const countingIn = (cell, method) => trialsOf[method.lenders[cell]].filter((t) => t.method === method.key);

const counted = (what) => (cell) => D.methods.reduce((sum, method) => sum + method[what][cell], 0);
const planned = counted("planned"), ended = counted("ended"), failed = counted("failed");
const finished = (cell) => ended(cell) >= planned(cell);

function bestOf(trials) {
  return trials
    .filter((t) => !t.failure)
    .reduce((best, t) => (best && best.score <= t.score ? best : t), null);
}

/** Members by the key of each, in the order in which keys first occur. */
function grouped(members, keyOf) {
  const groups = new Map();
  for (const member of members) {
    const key = keyOf(member);
    groups.set(key, [...(groups.get(key) ?? []), member]);
  }
  return groups;
}

/** What was searched, in the order of display. */
const weightNames = Object.keys(D.space);
const weightText = (t) => weightNames.filter((name) => t[name] != null).map((name) => `${name} ${number(t[name])}`).join(", ");

/** What the tables of trials say of one: heading and text, empty where there is nothing to say. */
const trialColumns = [
  ["method", (t) => D.methods.find((method) => method.key === t.method).label],
  ["trial", (t) => String(t.number + 1)],
  [D.score, (t) => (t.failure || t.score == null ? "" : fixedPoint(t.score))],
  ...weightNames.map((name) => [name, (t) => (t[name] == null ? "" : number(t[name]))]),
  ["s", (t) => (t.seconds == null ? "" : number(t.seconds))],
  ["end", (t) => t.failure ?? t.ended ?? "ok"],
];

const quantity = (key) => D.quantities.find((q) => q.key === key);

/** Okabe and Ito's colour-blind-safe set. */
const COLOURS = ["#0072B2", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#999999"];

/** Colour of the method that a quantity belongs to, if it belongs to one. */
function colourOf(q) {
  return D.methods.find((method) => method.column === q.key.replace("gain_", ""))?.colour;
}

/** Layout that every plot shares: the page's own colours, no dragging that would catch a scroll. */
function layout(changes = {}) {
  const axis = { gridcolor: css("--line"), zeroline: false, fixedrange: true, automargin: true };
  const { xaxis, yaxis, ...others } = changes;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    colorway: COLOURS,
    font: { color: css("--ink"), size: 12 },
    margin: { l: 50, r: 10, t: 30, b: 45 },
    dragmode: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--ink") },
    hoverlabel: { align: "left" },
    legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 },
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...others,
  };
}

const LEGEND_BELOW = { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", font: { size: 11 } };

const CONFIG = {
  responsive: true,
  displaylogo: false,
  doubleClick: false,
  modeBarButtons: [["toImage"]],
  toImageButtonOptions: { scale: 2 },
};

/** Draw into a box of the plot's own height: without one, Plotly makes it 0 when a window is resized.
 * ``says``: a sentence with what it shows, for those who do not see it. */
function plotted(box, traces, figure, config, says) {
  const found = typeof box === "string" ? document.getElementById(box) : box;
  found.style.height = `${figure.height}px`;
  Plotly.react(found, traces, figure, config);
  // The drawing alone: its buttons are beside it.
  const [drawing, ...layers] = found.querySelectorAll(".main-svg");
  if (says) named(drawing, "img", says);
  if (says) for (const layer of layers) layer.setAttribute("aria-hidden", "true");
}
