function choose(place) {
  state.place = place;
  D.axes.forEach((_, axis) => {
    const select = document.getElementById(`axis-${axis}`);
    if (select) select.value = place[axis];
  });
  draw();
  announce();
  showCell();
  remember();
}

/** Keep the state in the address, without an entry of its own for "back". */
const remember = () => history.replaceState(null, "", link());

function fillQuantities() {
  const select = document.getElementById("quantity");
  for (const [group, members] of grouped(D.quantities, (q) => q.group)) {
    select.append(el("optgroup", { label: group }, ...members.map((q) => el("option", { value: q.key }, q.label))));
  }
  select.addEventListener("change", () => { state.quantity = quantity(select.value); draw(); remember(); });
}

/** Axes beyond the two that are drawn are chosen from lists. */
function fillFixed() {
  D.axes.forEach((axis, i) => {
    if (i === D.across || i === D.upwards) return;
    const select = el("select", { id: `axis-${i}` }, ...axis.values.map((v, at) => el("option", { value: at }, v)));
    select.addEventListener("change", () => choose(state.place.map((at, j) => (j === i ? Number(select.value) : at))));
    document.getElementById("fixed").append(el("label", {}, `${axis.label} `, select, " "));
  });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

function onArrow(event) {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  const place = [...state.place];
  [D.across, D.upwards].forEach((axis, i) => {
    if (axis == null) return;
    place[axis] = Math.min(along(axis).length - 1, Math.max(0, place[axis] + step[i]));
  });
  choose(place);
}

/** Show what the address asks for. */
function visit() {
  follow(location.hash);
  document.getElementById("quantity").value = state.quantity.key;
  document.getElementById("accuracy").value = state.accuracy;
  document.getElementById("equal").value = state.equal;
  for (const name of Object.keys(SWITCHES)) document.getElementById(name).checked = state[name];
  choose(state.place);
}

function start() {
  fillQuantities();
  fillFixed();
  fillCosts();
  const accuracy = document.getElementById("accuracy");
  accuracy.value = state.accuracy;
  accuracy.addEventListener("input", () => { if (accuracy.value) { state.accuracy = Number(accuracy.value); draw(); remember(); } });
  for (const name of ["common", "contours"]) {
    document.getElementById(name).addEventListener("change", (event) => { state[name] = event.target.checked; draw(); remember(); });
  }
  document.getElementById("of-failed").hidden = !D.cells.some((_, cell) => failed(cell));
  document.getElementById("failed").addEventListener("change", (event) => { state.failed = event.target.checked; showCell(); remember(); });
  mapBox.addEventListener("keydown", onArrow);
  state.place = placeOf(firstCell());
  visit();
  addEventListener("hashchange", visit);
  mapBox.on("plotly_hover", (event) => showHover(event.points[0]));
  mapBox.on("plotly_unhover", hideHover);
  mapBox.on("plotly_click", (event) => choose(placeOf(Number(event.points[0].customdata))));
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw(); showCell(); });
}

/** Cells with slices first, then the most accurate one. */
function firstCell() {
  const shown = Object.keys(D.slices).map(Number);
  const pool = shown.length ? shown : D.cells.map((_, i) => i);
  const score = (cell) => D.quantities[0].values[cell] ?? Infinity;
  return pool.reduce((best, cell) => (score(cell) < score(best) ? cell : best), pool[0]);
}

start();
if (D.live) keepLive();
