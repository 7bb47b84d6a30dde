/** A page that is served takes in what a run adds; what its reader has chosen stays. */

const ASK_MS = 3000;
const liveBox = document.getElementById("live");

/** What the panel shows of the chosen and the pinned cell; it is built anew only where this differs. */
const shownOfCells = () => JSON.stringify([indexOf(state.place), state.pinned].map((cell) => [cell,
  D.methods.map((method) => [method.ended[cell], method.failed[cell], method.planned[cell]]), D.slices[cell] != null]));

/** What everything on the page is built from; where it differs, the page is loaded anew. */
const builtFrom = (page, data) => JSON.stringify([data.live.study, data.quantities.map((q) => q.key),
  [...page.querySelectorAll("#atlas thead th")].map((heading) => heading.textContent)]);

function takeIn(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const data = JSON.parse(page.getElementById("data").textContent);
  if (builtFrom(page, data) !== builtFrom(document, D)) { location.reload(); return; }
  const before = shownOfCells();
  // The same objects, which the page's state and constants point to.
  data.quantities = D.quantities.map((q, i) => Object.assign(q, data.quantities[i]));
  Object.assign(D, data);
  fillTrials();
  takeParts(page);
  draw();
  if (shownOfCells() !== before) keepingFocus(panel, showCell);
  markChosen();
  showTrials();
}

/** Replace what the server wrote: facts, notices, tables. */
function takeParts(page) {
  const fresh = page.querySelectorAll("[data-live]");
  document.querySelectorAll("[data-live]").forEach((part, i) => {
    keepingFocus(part, () => {
      part.replaceChildren(...fresh[i].childNodes);
      // Moving a row takes its focus away: it is sorted before that is given back.
      if (part.tagName === "TBODY") sortAgain();
    });
  });
}

/** Change a part of the page; the focus within it moves to what has taken its place. */
function keepingFocus(part, change) {
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  const row = held?.closest("tr[data-cell]")?.dataset.cell;
  change();
  if (held && !held.isConnected) {
    const heir = row == null ? held.id && document.getElementById(held.id) : part.querySelector(`tr[data-cell="${row}"] button`);
    if (heir) heir.focus();
  }
}

/** Ask whether there is more, and how: for a word, and for the page only where the word is another. */
async function ask() {
  const found = await fetch("version", { cache: "no-store" });
  if (!found.ok) throw new Error(found.statusText);
  const version = await found.text();
  if (version === D.live.version || document.documentElement.classList.contains("printing")) return;
  const page = await fetch("./", { cache: "no-store" });
  if (!page.ok) throw new Error(page.statusText);
  takeIn(await page.text());
}

async function keepLive() {
  if (!document.hidden) {
    try {
      await ask();
      sayLive("Live: what a run adds appears here by itself.");
    } catch {
      sayLive("No longer live: the server has ended or cannot read the study. What is shown stays.");
    }
  }
  setTimeout(keepLive, ASK_MS);
}

/** Only a change is announced. */
function sayLive(text) {
  if (liveBox.textContent !== text) liveBox.textContent = text;
  liveBox.hidden = false;
}
