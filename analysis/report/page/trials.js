/** Every trial that the page holds as one table: sorted by a heading, narrowed by words. */

const SHOWN = 500; // rows at most: a browser lays out thousands for seconds

const everyBox = document.getElementById("every"), only = document.getElementById("only"), everyCsv = document.getElementById("trials-csv");

/** Heading, and what a trial has below it, its condition first; texts sort as numbers where they are. */
const everyColumns = [...D.axes.map((axis, i) => [axis.label, (t) => String(axis.values[placeOf(t.cell)[i]])]), ...trialColumns];

const sorted = { column: everyColumns.findIndex(([name]) => name === D.score), upwards: true };

/** The rows that have every word, in the order of the headings. */
function chosenTrials() {
  const words = only.value.toLowerCase().split(/\s+/).filter(Boolean);
  return trialsOf.flat()
    .map((t) => ({ cell: t.cell, texts: everyColumns.map(([, of]) => of(t)) }))
    .filter((row) => { const text = row.texts.join(" ").toLowerCase(); return words.every((word) => text.includes(word)); })
    .sort((a, b) => inOrder(a.texts[sorted.column], b.texts[sorted.column], sorted.upwards));
}

function showTrials() {
  if (!document.getElementById("every-trial").open) return;
  const rows = chosenTrials(), all = trialsOf.flat().length;
  const ran = D.cells.reduce((sum, _, cell) => sum + ended(cell), 0);
  everyBox.tBodies[0].replaceChildren(...rows.slice(0, SHOWN).map(everyRow));
  everyCsv.disabled = !rows.length;
  document.getElementById("found").textContent = `${rows.length} of ${all} trials`
    + (rows.length > SHOWN ? `, the first ${SHOWN} shown` : "") + (all < ran ? `; the page holds ${all} of the ${ran} that ended` : "") + ".";
}

/** A row whose first entry shows its cell on the map above. */
function everyRow({ cell, texts: [first, ...others] }) {
  const button = el("button", { type: "button", className: "pick" }, first);
  button.addEventListener("click", () => { choose(placeOf(cell)); document.getElementById("explore").scrollIntoView(); });
  return el("tr", {}, el("td", {}, button), ...others.map((text) => el("td", {}, text || "–")));
}

function everyHead() {
  const heads = everyColumns.map(([name], column) => {
    const button = el("button", { type: "button" }, name), head = el("th", { scope: "col" }, button);
    const mark = () => head.setAttribute("aria-sort", sorted.column !== column ? "none" : sorted.upwards ? "ascending" : "descending");
    button.addEventListener("click", () => {
      sorted.upwards = sorted.column === column ? !sorted.upwards : true;
      sorted.column = column;
      marks.forEach((each) => each());
      showTrials();
    });
    return [head, mark];
  });
  const marks = heads.map(([, mark]) => mark);
  marks.forEach((each) => each());
  return el("thead", {}, el("tr", {}, ...heads.map(([head]) => head)));
}

everyBox.append(everyHead(), el("tbody"));
only.addEventListener("input", showTrials);
document.getElementById("every-trial").addEventListener("toggle", showTrials);
everyCsv.addEventListener("click", () => download("trials.csv", "text/csv",
  csvText(chosenTrials().map((row) => Object.fromEntries(everyColumns.map(([name], i) => [name, row.texts[i]]))))));
