/* -- tables: as wide as the page, sorted by their headings, and numbers copied with their units -- */

function offerTables(within) {
  for (const table of all("table", within)) offerTable(table);
}

/* A table that is too wide becomes cards: a block per row, a line per column. */
function fitTables(within) {
  const regions = all(".scroll", within);
  for (const region of regions) region.classList.remove("cards");
  const wide = regions.filter((region) => region.scrollWidth > region.clientWidth);
  for (const region of wide) region.classList.add("cards");
}

function offerTable(table) {
  labelCells(table);
  if (table.tBodies[0].rows.length > 1) offerSorting(table);
  const numbers = all("td[data-value]", table);
  for (const cell of numbers) cell.tabIndex = -1;
  if (!numbers.length) return;
  numbers[0].tabIndex = 0;
  table.addEventListener("click", onClick);
  table.addEventListener("keydown", onKey);
}

/* The labels of cards; a cell that spans columns is a message. */
function labelCells(table) {
  const labels = all("thead th", table).map((head) => head.textContent);
  for (const cell of all("tbody td:not([colspan])", table)) {
    cell.dataset.label = labels[cell.cellIndex];
  }
}

function offerSorting(table) {
  const made = [...table.tBodies[0].rows];
  for (const head of all("thead th", table)) {
    const button = element("button", head.textContent, { type: "button", class: "sort" });
    button.addEventListener("click", () => sortBy(table, head, made));
    head.replaceChildren(button);
    head.ariaSort = "none";
  }
}

/* A heading sorts ascending, then descending, then restores the order. */
function sortBy(table, head, made) {
  const order = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort];
  for (const other of all("thead th", table)) other.ariaSort = "none";
  head.ariaSort = order;
  table.tBodies[0].append(...ordered(made, head.cellIndex, order));
  const sorted = `Sorted by ${head.textContent}, ${order}.`;
  say(order === "none" ? "Original order." : sorted);
}

function ordered(rows, column, order) {
  if (order === "none") return rows;
  const sign = order === "ascending" ? 1 : -1;
  const text = (row) => row.cells[column].textContent;
  const value = (row) => Number(row.cells[column].dataset.value);
  const isKnown = (row) => row.cells[column].dataset.value !== undefined;
  if (!rows.some(isKnown)) {
    return rows.toSorted((a, b) => sign * text(a).localeCompare(text(b), "en", { numeric: true }));
  }
  const known = rows.filter(isKnown).sort((a, b) => sign * (value(a) - value(b)));
  return [...known, ...rows.filter((row) => !isKnown(row))];
}

/* A selection of text is not a click. */
function onClick({ target }) {
  const cell = target.closest("td[data-value]");
  if (cell && getSelection().isCollapsed) copyFrom(cell);
}

/* One number per table is a tab stop; arrow keys move from there. */
function onKey(event) {
  const cell = event.target.closest("td[data-value]");
  if (!cell) return;
  if (event.key === "Enter") copyFrom(cell);
  const next = neighbor(cell, event.key);
  if (!next) return;
  event.preventDefault();
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function neighbor(cell, key) {
  const step = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[key];
  const across = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[key];
  let next = cell;
  do {
    if (step) next = next[step];
    else if (across) next = next.parentElement[across]?.cells[cell.cellIndex];
    else return null;
  } while (next && next.dataset.value === undefined);
  return next;
}

async function copyFrom(cell) {
  const quantity = [cell.dataset.value, cell.dataset.unit].filter(Boolean).join(" ");
  const row = cell.parentElement.cells[0].firstChild.textContent;
  const what = `${row}, ${all("thead th", cell.closest("table"))[cell.cellIndex].textContent}`;
  try {
    await navigator.clipboard.writeText(quantity);
    say(`Copied: ${quantity} (${what})`);
  } catch {
    say(`The browser does not allow copying. ${what}: ${quantity}`);
  }
}

function madeTable(label, heads, rows) {
  const region = { class: "scroll", role: "region", "aria-label": label, tabindex: "0" };
  const made = element("div", "", region);
  const table = document.createElement("table");
  table.createTHead().insertRow().append(...heads.map(madeHead));
  const body = table.createTBody();
  for (const [name, ...quantities] of rows) {
    const head = element("th", name, { scope: "row" });
    body.insertRow().append(head, ...quantities.map(madeCell));
  }
  made.append(table);
  offerTable(table);
  return made;
}

function madeHead(label, index) {
  return element("th", label, { scope: "col", class: index ? "n" : "" });
}

function madeCell({ text, value, unit }) {
  return element("td", text, { class: "n", "data-value": value, "data-unit": unit });
}
