const proteins = JSON.parse(document.getElementById("data").textContent);
const choice = document.getElementById("protein");
const table = document.getElementById("all");

function show(number) {
  const protein = proteins[number];
  choice.value = number;
  view.setAttribute("aria-label", protein.description);
  document.querySelector(".legend").classList.toggle("alone", !protein.native);
  const facts = document.getElementById("facts");
  facts.replaceChildren();
  for (const [name, value] of protein.facts) {
    facts.append(Object.assign(document.createElement("dt"), { textContent: name }));
    facts.append(Object.assign(document.createElement("dd"), { textContent: value }));
  }
  for (const row of table.tBodies[0].rows) {
    row.classList.toggle("shown", row.querySelector("button")?.value === String(number));
  }
  if (!viewer) return;
  viewer.removeAllModels();
  if (protein.native) draw(protein.native, 0.35, () => NATIVE);
  draw(protein.prediction, 0.5, colourAt);
  viewer.zoomTo();
  viewer.render();
}

function step(by) {
  const options = [...choice.options];
  show(options[(choice.selectedIndex + by + options.length) % options.length].value);
}

function sortBy(column, header) {
  const now = header.getAttribute("aria-sort");
  const up = now ? now === "descending" : column === 0; // at first names upwards, numbers downwards
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const text = (row) => row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [one, other] = [text(a), text(b)];
    if (!one || !other) return !one - !other; // unknown: last, either way
    const order = column ? one - other || one.localeCompare(other) : one.localeCompare(other);
    return up ? order : -order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

function filter() {
  const part = document.getElementById("filter").value.trim().toLowerCase();
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(part);
  const found = rows.filter((row) => !row.hidden).length;
  document.getElementById("found").textContent = part ? `${found} of ${rows.length}` : "";
}

[...table.tHead.rows[0].cells].forEach((header, column) => {
  header.querySelector("button").addEventListener("click", () => sortBy(column, header));
});
document.getElementById("filter").addEventListener("input", filter);
table.tBodies[0].addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  show(button.value);
  document.getElementById("structures").scrollIntoView();
});
choice.addEventListener("change", () => show(choice.value));
document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
show(choice.options[0].value);
