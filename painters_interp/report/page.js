"use strict";
// A click on a heading sorts its table: numbers by value, what is missing last, the rest as text.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[heading.cellIndex].dataset.value ?? row.cells[heading.cellIndex].textContent;
    const rows = [...body.rows].map((row) => [key(row), row]);
    const numeric = rows.every(([value]) => value === "" || !Number.isNaN(Number(value)));
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
      return ascending ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  });
}
