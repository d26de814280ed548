"use strict";

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
if (!viewer) {
  document.getElementById("no-3d").hidden = false;
  view.hidden = true;
}

// A tube along the Catmull-Rom curve through the C-alpha atoms: what draws a C-alpha trace in 3Dmol is straight.
function draw(p, thickness, colour) {
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
    const place = { x: at(0), y: at(1), z: at(2), resi: k };
    curve.push({ ...place, elem: "C", atom: "CA", resn: "GLY", chain: "A", bonds: [] });
  }
  const tube = viewer.addModel();
  tube.addAtoms(curve);
  const colorfunc = (atom) => colour(atom.resi / (curve.length - 1));
  tube.setStyle({}, { cartoon: { style: "trace", thickness, colorfunc } });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (viewer) viewer.setBackgroundColor(ground());
});
