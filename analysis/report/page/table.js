/** Sort the atlas by a column; what is missing comes last in both directions. */
function sortBy(column, heading) {
  const body = document.querySelector("#atlas tbody");
  const upwards = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of document.querySelectorAll("#atlas thead th")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  const rows = [...body.rows].map((row) => ({ row, value: row.cells[column].dataset.v }));
  rows.sort((a, b) => {
    if (!a.value || !b.value) return Boolean(b.value) - Boolean(a.value);
    const order = isNaN(a.value) || isNaN(b.value) ? a.value.localeCompare(b.value) : a.value - b.value;
    return upwards ? order : -order;
  });
  body.append(...rows.map((entry) => entry.row));
}

document.querySelectorAll("#atlas thead th").forEach((heading, column) =>
  heading.querySelector("button").addEventListener("click", () => sortBy(column, heading)));

document.querySelector("#atlas tbody").addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (!row) return;
  choose(placeOf(Number(row.dataset.cell)));
  if (event.target.closest("button")) document.getElementById("explore").scrollIntoView();
});
