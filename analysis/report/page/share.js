/** What a reader takes along: the answer in words, a link, a file, a command, a comparison. */

/** Axes of which less is cheaper, the dearest first. */
const COSTS = ["dose_e_per_A2", "chemical_tilts", "haadf_tilts"]
  .flatMap((name) => D.axes.map((axis, i) => (axis.path.split(".").at(-1) === name ? i : -1)))
  .filter((axis) => axis >= 0 && finite(D.axes[axis].values.map(Number)).every((v) => v >= 0));

const fused = quantity("nrmse");

/** Deviations of the NRMSE, where axes of seeds repeat a condition, and what they are over. */
const SCATTERS = [["nrmse_noise", "noise"], ["nrmse_specimen", "specimens"]];

/** The deviations that are known of a cell. */
const scattersOf = (cell) => SCATTERS.flatMap(([key, over]) => {
  const sigma = quantity(key)?.values[cell];
  return sigma == null ? [] : [{ sigma, over }];
});

/** An NRMSE of the fused method with its deviation over seeds, if the study repeats conditions. */
function withError(cell) {
  const found = scattersOf(cell), sigma = Math.hypot(...found.map((each) => each.sigma));
  return `${fixedPoint(fused.values[cell])}${found.length ? ` ± ${number(sigma, 2)}` : ""}`;
}

/** Cells that differ from the chosen one in nothing but what they cost, the cheapest first. */
function byCost() {
  const same = (place) => place.every((at, axis) => COSTS.includes(axis) || at === state.place[axis]);
  const cost = (axis, cell) => Number(D.axes[axis].values[placeOf(cell)[axis]]);
  return D.cells.map((_, cell) => cell)
    .filter((cell) => fused.values[cell] != null && same(placeOf(cell)))
    .sort((a, b) => COSTS.map((axis) => cost(axis, a) - cost(axis, b)).find((d) => d) ?? 0);
}

/** A label within a sentence: "HAADF" keeps its capitals. */
const inside = (label) => (/^[A-Z][a-z]/.test(label) ? label[0].toLowerCase() + label.slice(1) : label);

const costText = (cell) => COSTS.map((axis) => `${inside(D.axes[axis].label)} ${D.axes[axis].values[placeOf(cell)[axis]]}`).join(", ");

/** What is held while those change, as a sentence; empty where nothing is. */
function heldText() {
  const held = D.axes.flatMap((axis, i) => (COSTS.includes(i) ? [] : [`${inside(axis.label)} ${axis.values[state.place[i]]}`]));
  return held.length ? ` All at ${held.join(", ")}.` : "";
}

/** What twice as much along an axis, or else the next value of the study, brings to a cell. */
function moreOf(axis, cell) {
  const place = placeOf(cell), values = D.axes[axis].values.map(Number);
  const twice = values.indexOf(2 * values[place[axis]]);
  const next = twice < 0 ? values.findIndex((v) => v > values[place[axis]]) : twice;
  if (next < 0) return [];
  const other = indexOf(place.map((at, i) => (i === axis ? next : at)));
  if (fused.values[other] == null) return [];
  const change = 100 * (fused.values[other] / fused.values[cell] - 1);
  return [`${inside(D.axes[axis].label)} ${D.axes[axis].values[next]} instead: ${withError(other)} (${Math.abs(change) < 0.5 ? "no change" : `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(0)}\u00a0%`})`];
}

/** The least that reaches the accuracy asked for, and what more of each would bring. */
function answer() {
  const box = document.getElementById("answer"), cells = byCost();
  if (!COSTS.length || !cells.length) { box.hidden = true; return; }
  const least = cells.find((cell) => fused.values[cell] <= state.accuracy);
  const best = cells.reduce((a, b) => (fused.values[b] < fused.values[a] ? b : a));
  const cell = least ?? best;
  const head = least == null ? `No cell reaches an NRMSE of ${state.accuracy}; the best, ` : `The least that reaches an NRMSE of ${state.accuracy}: `;
  const over = scattersOf(cell).map((each) => each.over).join(" and ");
  const errors = over ? ` ±: one deviation over ${over}.` : " One specimen and one realisation of noise: no error bar.";
  box.textContent = `${head}${costText(cell)}, with ${withError(cell)}. ${COSTS.flatMap((axis) => moreOf(axis, cell)).map((text) => `With ${text}.`).join(" ")}${heldText()}${errors}`;
  box.hidden = false;
}

/** Switches of the page, by their names in a link, with what they are unless it says otherwise. */
const SWITCHES = { common: false, failed: true, contours: false };

const valuesText = (place) => place.map((at, axis) => encodeURIComponent(D.axes[axis].values[at])).join(",");

/** The page's state as a fragment: values of the axes in their order, the quantity shown, and so on. */
function link() {
  const switched = Object.keys(SWITCHES).filter((name) => state[name] !== SWITCHES[name]);
  return [`#cell=${valuesText(state.place)}`, `show=${encodeURIComponent(state.quantity.key)}`, `accuracy=${state.accuracy}`,
    ...(state.pinned == null ? [] : [`pin=${valuesText(placeOf(state.pinned))}`]),
    ...(state.equal ? [`equal=${state.equal}`] : []),
    ...switched.map((name) => `${name}=${Number(state[name])}`)].join("&");
}

/** The place that values of the axes name; null where they name none. */
function placeNamed(values = "") {
  const texts = values.split(",").map((text) => decoded(text));
  const place = D.axes.map((axis, i) => axis.values.indexOf(texts[i]));
  return place.every((at) => at >= 0) ? place : null;
}

/** Take a fragment's state over; what it names wrongly stays as it is. */
function follow(fragment) {
  const told = new Map(fragment.replace(/^#/, "").split("&").map((pair) => pair.split("=")));
  state.place = placeNamed(told.get("cell")) ?? state.place;
  const pinned = told.has("pin") ? placeNamed(told.get("pin")) : null;
  state.pinned = pinned && indexOf(pinned);
  state.equal = D.costs.find((cost) => cost.key === told.get("equal"))?.key ?? "";
  for (const [name, usual] of Object.entries(SWITCHES)) {
    state[name] = told.has(name) ? told.get(name) === "1" : usual;
  }
  state.quantity = quantity(decoded(told.get("show") ?? "")) ?? state.quantity;
  const asked = Number(told.get("accuracy"));
  if (told.has("accuracy") && asked >= 0) state.accuracy = asked;
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return ""; } // a stray "%"
}

/** Every cell with its condition and all that the maps show, as objects. */
const records = () => D.cells.map((_, cell) => Object.fromEntries([
  ...D.axes.map((axis, i) => [axis.path, axis.values[placeOf(cell)[i]]]),
  ...D.quantities.map((q) => [q.key, q.values[cell]]),
]));

function csvText(rows) {
  const field = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const line = (values) => values.map((value) => field(String(value ?? ""))).join(",");
  return [line(Object.keys(rows[0])), ...rows.map((row) => line(Object.values(row)))].join("\n") + "\n";
}

function download(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** The command that reconstructs measured data at a cell's best fused weights, which mean nothing
 * under other settings of the solver than those they were found with: all are written out. */
function commandOf(cell) {
  const best = bestOf(trialsOf[cell].filter((t) => t.method === "fused"));
  if (!best) return null;
  const varied = D.axes.map((axis, i) => [axis.path, axis.values[placeOf(cell)[i]]])
    .filter(([path]) => path.startsWith("solver.")).map(([path, value]) => [path.slice(7), value])
    .filter(([name]) => name in D.solver);
  const searched = ["haadf", "tv", "gamma"].filter((name) => best[name] != null).map((name) => [name, number(best[name], 4)]);
  const told = { ...D.solver, ...Object.fromEntries([...varied, ...searched]) };
  const option = ([name, value]) => {
    const flag = name.replaceAll("_", "-");
    if (value === true || value === "true" || value === "True") return `--${flag}`;
    return value === false || value === "false" || value === "False" ? `--no-${flag}` : `--${flag} ${value}`;
  };
  return `tomoatlas reconstruct TILTS.h5 --out volumes.h5 ${Object.entries(told).map(option).join(" ")}`;
}

/** Copy a text; where the browser forbids that, select it, for a key to do the rest. */
async function copy(text, button, source) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: press Ctrl+C";
  }
}

/** Under a cell's numbers: its command to copy, and the cell to compare with. */
function cellActions(cell) {
  const text = commandOf(cell), made = [];
  if (text) {
    const code = el("code", {}, ...unbroken(text)), button = el("button", { type: "button", className: "act" }, "Copy");
    button.addEventListener("click", () => copy(text, button, code));
    made.push(el("p", { className: "command" }, code, " ", button));
  }
  const pinned = state.pinned === cell;
  const pin = el("button", { type: "button", className: "act", id: "pin" }, pinned ? "Unpin" : "Pin, to compare others with it");
  pin.addEventListener("click", () => { state.pinned = pinned ? null : cell; showCell(); remember(); document.getElementById("pin").focus(); });
  return [...made, el("p", {}, pin), ...(state.pinned == null || pinned ? [] : comparison(cell, state.pinned))];
}

/** Every number of two cells side by side, and how far the second is from the first. */
function comparison(cell, other) {
  const change = (a, b) => (a == null || b == null || !b ? "–" : `${a >= b ? "+" : "−"}${Math.abs(100 * (a / b - 1)).toFixed(0)}\u00a0%`);
  const rows = D.quantities.filter((q) => q.kind !== "count" && q.kind !== "gain").map((q) => {
    const [here, there] = [q.values[cell], q.values[other]];
    return el("tr", {}, el("th", { scope: "row" }, q.label), ...[number(there), number(here), change(here, there)].map((text) => el("td", {}, text)));
  });
  const head = ["quantity", "pinned", "this cell", "change"].map((text) => el("th", { scope: "col" }, text));
  return [el("h3", {}, `Beside ${condition(placeOf(other))}`),
    Object.assign(scrolling("Two cells beside each other", el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))), { id: "comparison" })];
}

/** On paper: one narrow column in the light scheme; plots are drawn anew for it. */
function onPaper(printing) {
  document.documentElement.classList.toggle("printing", printing);
  draw();
  showCell();
}

document.getElementById("csv").addEventListener("click", () => download("cells.csv", "text/csv", csvText(records())));
document.getElementById("json").addEventListener("click", () => download("cells.json", "application/json", JSON.stringify(records(), null, 1)));
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));
