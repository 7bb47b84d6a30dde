/** Lines of equal accuracy, dose, counts or tilts on the map, by marching squares. */

/** Round steps from low to high: linear ones, or 1, 2, 5 of each decade. */
function roundLevels(low, high, log) {
  if (!(high > low)) return [];
  const found = [];
  if (log) {
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) found.push(...[1, 2, 5].map((step) => step * 10 ** e));
  } else {
    const raw = (high - low) / 9, decade = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((each) => each * decade).find((each) => each >= raw);
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(Number((i * step).toPrecision(10)));
  }
  const inside = found.filter((level) => level > low && level < high);
  return inside.length > 7 ? inside.filter((_, i) => i % 2) : inside;
}

/**
 * Segments of one contour over the centres of cells, each with the slope across it. Cells without
 * a value have no contour beside them. ``values``: rows upwards, already on the scale to interpolate.
 */
function segments(values, level) {
  const found = [];
  for (let r = 0; r + 1 < values.length; r++) {
    for (let c = 0; c + 1 < values[r].length; c++) {
      const [a, b, e, f] = [values[r][c], values[r][c + 1], values[r + 1][c + 1], values[r + 1][c]];
      if ([a, b, e, f].some((value) => value == null)) continue;
      const across = (from, to) => (from < level) !== (to < level);
      const part = (from, to) => (level - from) / (to - from);
      // One crossing for each edge: below, right, above, left.
      const crossings = [
        across(a, b) && [c + part(a, b), r], across(b, e) && [c + 1, r + part(b, e)],
        across(f, e) && [c + part(f, e), r + 1], across(a, f) && [c, r + part(a, f)],
      ];
      const points = crossings.filter(Boolean);
      const slope = [(b + e - a - f) / 2, (f + e - a - b) / 2];
      if (points.length === 2) found.push({ points, slope });
      if (points.length !== 4) continue;
      // A saddle: its middle says which two corners belong together.
      const [low, right, up, left] = points, joined = ((a + b + e + f) / 4 < level) === (a < level);
      const pairs = joined ? [[low, right], [up, left]] : [[low, left], [right, up]];
      found.push(...pairs.map((pair) => ({ points: pair, slope: null })));
    }
  }
  return found;
}

const TICK_PX = 6;

/** A short stroke from the middle of a segment to its lower side, square to it as drawn. */
function tickOf({ points: [[x0, y0], [x1, y1]], slope }, [sx, sy]) {
  const [dx, dy] = [(x1 - x0) * sx, (y1 - y0) * sy], long = Math.hypot(dx, dy);
  if (!slope || !long) return "";
  const normal = [-dy / long / sx, dx / long / sy];
  const sign = normal[0] * slope[0] + normal[1] * slope[1] > 0 ? -TICK_PX : TICK_PX;
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
  return `M${x},${y}L${x + sign * normal[0]},${y + sign * normal[1]}`;
}

const NUMBERED_PX = 26; // width of a cell from which its number is written
const NUMBER_PX = [17, 9]; // half of the place that a number takes
const LABEL_ROOM = 1.9; // times that place: a label has a width of its own
const PARTS = 16; // of a segment, each drawn or left out

/** Whether a place is behind the number of a cell, where no line may run, or in ``room`` times that. */
function behindNumber(place, scale, room = 1) {
  return scale[0] > NUMBERED_PX && place.every((at, i) => Math.abs(at - Math.round(at)) * scale[i] < room * NUMBER_PX[i]);
}

/** The path of a segment without what is behind numbers. */
function besideNumbers({ points: [[x0, y0], [x1, y1]] }, scale) {
  const at = (part) => [x0 + part * (x1 - x0), y0 + part * (y1 - y0)];
  let path = "", drawn = false;
  for (let i = 0; i < PARTS; i++) {
    const shown = !behindNumber(at((i + 0.5) / PARTS), scale);
    if (shown && !drawn) path += `M${at(i / PARTS)}`;
    else if (drawn && !shown) path += `L${at(i / PARTS)}`;
    drawn = shown;
  }
  return drawn ? `${path}L${at(1)}` : path;
}

const middleOf = ({ points: [[x0, y0], [x1, y1]] }) => [(x0 + x1) / 2, (y0 + y1) / 2];

/** Where a contour is named: in the middle of the free segment that is nearest to its middle, if one is free. */
function labelPlace(found, scale) {
  const half = (found.length - 1) / 2;
  const free = found.map((segment, i) => ({ place: middleOf(segment), away: Math.abs(i - half) }));
  const ranked = free.filter(({ place }) => !behindNumber(place, scale, LABEL_ROOM)).sort((a, b) => a.away - b.away);
  return ranked[0]?.place;
}

/** Shapes and labels of all contours of a grid; ``ticks`` marks the side of lower values. */
function contoursOf(values, { log, ticks, dash, unit }, scale) {
  const known = finite(values.flat());
  const drawn = log ? values.map((row) => row.map((v) => (v > 0 ? Math.log10(v) : null))) : values;
  const shapes = [], annotations = [];
  for (const level of roundLevels(Math.min(...known), Math.max(...known), log)) {
    const found = segments(drawn, log ? Math.log10(level) : level);
    if (!found.length) continue;
    const lines = found.map((segment) => besideNumbers(segment, scale)).join("");
    const free = found.filter((segment) => !behindNumber(middleOf(segment), scale));
    const path = lines + (ticks ? free.map((segment) => tickOf(segment, scale)).join("") : "");
    shapes.push({ type: "path", path, line: { color: dash ? "#fff" : "#000", width: 4 } },
      { type: "path", path, line: { color: dash ? "#000" : "#fff", width: 2, ...(dash && { dash }) } });
    const place = labelPlace(found, scale);
    if (!place) continue;
    annotations.push({ x: place[0], y: place[1], text: number(level) + unit, showarrow: false, font: { size: 10, color: dash ? "#000" : "#fff" },
      bgcolor: dash ? "#fffc" : "#000b", borderpad: 1 });
  }
  return { shapes, annotations };
}

const chosenCost = () => D.costs.find((cost) => cost.key === state.equal);

/** What is drawn over a map: contours of what it shows, and of what its cells cost. */
function mapContours(q, values, scale) {
  const cost = chosenCost();
  const own = state.contours && q.kind !== "count" ? [contoursOf(values, { log: q.kind === "weight", ticks: q.kind === "score", unit: "" }, scale)] : [];
  const other = cost ? [contoursOf(grid((cell) => cost.values[cell]), { log: true, dash: "6px,4px", unit: ` ${cost.unit}` }, scale)] : [];
  return { shapes: [...own, ...other].flatMap((one) => one.shapes), annotations: [...own, ...other].flatMap((one) => one.annotations) };
}

/** The contours in words, for the caption. */
function contoursText(q, cells) {
  const cost = chosenCost(), parts = [];
  if (state.contours && q.kind === "score") parts.push("Solid lines: equal values, strokes on their better side.");
  if (!cost) return parts;
  const known = new Set(cells.map((cell) => cost.values[cell]));
  parts.push(known.size > 1 ? `Dashed: equal ${cost.label}.` : `All cells of this map have the same ${cost.label}: ${number([...known][0])} ${cost.unit}.`);
  if (!D.costs.some((one) => one.key === "dose")) parts.push("The study gives SNRs and no dose: counts and tilts stand for it.");
  return parts;
}

function fillCosts() {
  const select = document.getElementById("equal");
  select.append(...D.costs.map((cost) => el("option", { value: cost.key }, cost.label)));
  select.addEventListener("change", () => { state.equal = select.value; draw(); remember(); });
}
