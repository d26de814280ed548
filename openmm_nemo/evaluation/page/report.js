"use strict";

const proteins = JSON.parse(document.getElementById("data").textContent);
const choice = document.getElementById("protein");
const table = document.getElementById("all");
const view = document.getElementById("viewer");

// Stops of matplotlib's "turbo", as in the other pictures of this package.
const RAINBOW = [0x4662d7, 0x36aaf9, 0x1ae4b6, 0x72fe5e, 0xc8ef34, 0xfaba39, 0xf66b19, 0xcb2a04];
const NATIVE = 0x999999;
const FINE = 4; // pieces of the curve from one residue to the next

function colourAt(share) {
  const place = share * (RAINBOW.length - 1);
  const before = Math.min(Math.floor(place), RAINBOW.length - 2);
  const mix = (shift) => {
    const [from, to] = [RAINBOW[before], RAINBOW[before + 1]].map((c) => (c >> shift) & 255);
    return Math.round(from + (place - before) * (to - from)) << shift;
  };
  return mix(16) | mix(8) | mix(0);
}

function ground() {
  return getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
}

let viewer = null;
try {
  viewer = $3Dmol.createViewer(view, { backgroundColor: ground() });
} catch (error) {
  viewer = null;
}
if (proteins.length && !viewer) {
  document.getElementById("no-3d").hidden = false;
  view.hidden = true;
}

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

// A tube along the Catmull-Rom curve through the C-alpha atoms: what draws a C-alpha trace in 3Dmol is straight.
function draw(text, thickness, colour) {
  const trace = viewer.addModel(text, "pdb");
  const p = trace.selectedAtoms({});
  trace.hide();
  const curve = [];
  for (let k = 0; k <= (p.length - 1) * FINE; k++) {
    const i = Math.min(Math.floor(k / FINE), p.length - 2);
    const t = k / FINE - i;
    const at = (axis) => {
      const [start, end] = [p[i][axis], p[i + 1][axis]];
      const before = i ? p[i - 1][axis] : 2 * start - end;
      const after = i + 2 < p.length ? p[i + 2][axis] : 2 * end - start;
      const bend = 2 * before - 5 * start + 4 * end - after;
      return start + (t * (end - before + t * (bend + t * (3 * (start - end) + after - before)))) / 2;
    };
    const place = { x: at("x"), y: at("y"), z: at("z"), resi: k };
    curve.push({ ...place, elem: "C", atom: "CA", resn: "GLY", chain: "A", bonds: [] });
  }
  const tube = viewer.addModel();
  tube.addAtoms(curve);
  const colorfunc = (atom) => colour(atom.resi / (curve.length - 1));
  tube.setStyle({}, { cartoon: { style: "trace", thickness, colorfunc } });
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
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (viewer) viewer.setBackgroundColor(ground());
});
if (proteins.length) show(choice.options[0].value);
