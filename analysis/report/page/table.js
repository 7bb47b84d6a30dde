const headings = [...document.querySelectorAll("#atlas thead th")];

/** Which of two texts comes first, as numbers if they are; what is missing comes last either way. */
function inOrder(a, b, upwards) {
  if (!a || !b) return Boolean(b) - Boolean(a);
  const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  return upwards ? order : -order;
}

/** Sort the atlas by a column, or the other way if it is sorted by that. */
function sortBy(heading) {
  const upwards = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of headings) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  sortAgain();
}

/** Sort the rows as the headings say; what is missing comes last in both directions. */
function sortAgain() {
  const column = headings.findIndex((heading) => heading.getAttribute("aria-sort") !== "none");
  if (column < 0) return;
  const upwards = headings[column].getAttribute("aria-sort") === "ascending";
  const body = document.querySelector("#atlas tbody");
  const rows = [...body.rows].map((row) => ({ row, value: row.cells[column].dataset.v }));
  rows.sort((a, b) => inOrder(a.value, b.value, upwards));
  body.append(...rows.map((entry) => entry.row));
}

headings.forEach((heading) => heading.querySelector("button").addEventListener("click", () => sortBy(heading)));

document.querySelector("#atlas tbody").addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (!row) return;
  choose(placeOf(Number(row.dataset.cell)));
  if (event.target.closest("button")) document.getElementById("explore").scrollIntoView();
});
