const data = JSON.parse(document.getElementById("data").textContent);
const choice = document.getElementById("trajectory");
const slider = document.getElementById("frame");
const play = document.getElementById("play");
const MILLISECONDS = 80; // per frame
let timer = null;

function show() {
  const trajectory = data.trajectories[choice.value];
  const number = Number(slider.value);
  const facts = document.getElementById("facts");
  facts.replaceChildren();
  for (const [name, value] of trajectory.facts[number]) {
    facts.append(Object.assign(document.createElement("dt"), { textContent: name }));
    facts.append(Object.assign(document.createElement("dd"), { textContent: value }));
  }
  if (!viewer) return;
  viewer.removeAllModels();
  if (data.native) draw(data.native, 0.35, () => NATIVE);
  draw(trajectory.frames[number], 0.5, colourAt);
  viewer.render();
}

function choose() {
  slider.max = data.trajectories[choice.value].frames.length - 1;
  slider.value = slider.max;
  show();
  if (!viewer) return;
  viewer.zoomTo();
  viewer.render();
}

function stop() {
  clearInterval(timer);
  timer = null;
  play.textContent = "\u25b6";
  play.setAttribute("aria-label", "Play");
}

function start() {
  if (slider.value === slider.max) slider.value = 0;
  timer = setInterval(() => {
    slider.stepUp();
    show();
    if (slider.value === slider.max) stop();
  }, MILLISECONDS);
  play.textContent = "\u23f8\ufe0e";
  play.setAttribute("aria-label", "Pause");
}

play.addEventListener("click", () => (timer ? stop() : start()));
slider.addEventListener("input", () => {
  stop();
  show();
});
choice.addEventListener("change", () => {
  stop();
  choose();
});
choose();
