"use strict";
// Two things: the choice of a source model and a condition, which hides every part of the page that is about others; and
// the viewer of films, which follows it. Without this script the page shows all parts, each labelled.

const element = (id) => document.getElementById(id);

/** Make an element with properties and children; texts become text nodes, never markup. */
function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const sweeps = Array.from(document.querySelectorAll("#sweeps p"), (part) => part.dataset);
let chosen = 0;

const isAbout = (part, number) => part.dataset.sweep.split(" ").includes(String(number));

function fillSelect(id, names, name) {
  element(id).replaceChildren(...names.map((value) => make("option", { value, selected: value === name }, value)));
  element(id).closest(".field").hidden = names.length < 2;
}

/** Show what is about a sweep or about none, and hide the rest. */
function choose(number) {
  chosen = number;
  const { source, condition } = sweeps[number];
  fillSelect("source", [...new Set(sweeps.map((sweep) => sweep.source))], source);
  fillSelect("condition", sweeps.filter((sweep) => sweep.source === source).map((sweep) => sweep.condition), condition);
  document.querySelectorAll("[data-sweep]").forEach((part) => { part.hidden = !isAbout(part, number); });
  document.dispatchEvent(new Event("sweep"));
}

/** Choose the sweep with these names; where the source was not run under the condition, its first one. */
function chooseNames(source, condition) {
  const exact = sweeps.findIndex((sweep) => sweep.source === source && sweep.condition === condition);
  choose(exact >= 0 ? exact : sweeps.findIndex((sweep) => sweep.source === source));
}

function startChoice() {
  if (sweeps.length < 2) return;
  for (const id of ["source", "condition"]) {
    element(id).addEventListener("change", () => chooseNames(element("source").value, element("condition").value));
  }
  element("choice").hidden = false;
  choose(0);
}

/** Show the part that a link leads to: choose its sweep and unfold what it is folded into. */
function followLink() {
  const target = element(location.hash.slice(1));
  if (!target) return;
  const about = target.closest("[data-sweep]");
  if (about && !isAbout(about, chosen)) choose(parseInt(about.dataset.sweep, 10));
  for (let part = target; part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
  }
  target.scrollIntoView();
}

// The viewer: for a film, an attack and a strength it draws the original, the noise and the adversarial film, and says
// what the models see. The page holds each film once, and of each attacked film only the change, as a picture of levels
// (see levels_of_change in pictures.py).

const GAINS = [1, 10, 100];
const KEPT_PICTURES = 24;
const state = { sweep: 0, film: 0, attack: 0, strength: 0, gain: "auto", swapped: false };
const decoded = new Map();
let drawing = 0;

const percent = (probability) => `${(100 * probability).toFixed(1)} %`;
const largestAt = (numbers) => numbers.indexOf(Math.max(...numbers));
const address = (kind, number) => `data:image/webp;base64,${element(`picture-${kind}-${number}`).textContent}`;

/** Return what the state points at; `shown` is null where this cell did not keep this film. */
function current(index) {
  const sweep = index.sweeps[state.sweep];
  const film = sweep.films[state.film];
  const attack = sweep.attacks[state.attack];
  const cell = attack.cells[state.strength];
  return { sweep, film, attack, cell, shown: cell.films[film.film] || null };
}

/** Return a model's prediction as class, confidence and whether it is the film's own class. */
function prediction(index, film, probabilities) {
  const seen = largestAt(probabilities);
  return { name: index.classes[seen], confidence: percent(probabilities[seen]), right: seen === film.label };
}

function rightOrWrong(right) {
  return make("span", { className: right ? "whole right-word" : "whole wrong-word" }, right ? "\u2713 right" : "\u2717 wrong");
}

/** Return a text that no line break may part. */
const whole = (text) => make("span", { className: "whole" }, text);

/** Fill a group of radio buttons. */
function fillChoices(id, labels, chosen, choose) {
  element(id).replaceChildren(...labels.map((content, place) => {
    const input = make("input", { type: "radio", name: id, value: String(place), checked: place === chosen });
    input.addEventListener("change", () => choose(place));
    return make("label", { className: content.className || "" }, input, ...content.children);
  }));
}

function fillFilms(index) {
  const films = index.sweeps[state.sweep].films;
  fillChoices("films", films.map((film) => ({
    children: [make("img", { src: address("film", film.picture), alt: "", decoding: "async" }),
               `${film.film} `, make("small", {}, index.classes[film.label])],
  })), state.film, (place) => { state.film = place; update(index); });
}

function fillAttacks(index) {
  const attacks = index.sweeps[state.sweep].attacks;
  fillChoices("attacks", attacks.map((attack) => ({
    className: attack.direction, children: [attack.title, make("small", {}, attack.direction)],
  })), state.attack, (place) => { chooseAttack(index, place); update(index); });
}

/** Switch to an attack and to that strength of it which is nearest to the present one. */
function chooseAttack(index, place) {
  const before = Number(current(index).cell.strength);
  state.attack = place;
  const distances = index.sweeps[state.sweep].attacks[place].cells.map((cell) => Math.abs(Number(cell.strength) - before));
  state.strength = distances.indexOf(Math.min(...distances));
  fillStrengths(index);
}

function fillStrengths(index) {
  const { attack } = current(index);
  const slider = element("strength");
  slider.max = String(attack.cells.length - 1);
  slider.value = String(state.strength);
  slider.disabled = attack.cells.length < 2;
  element("ticks").replaceChildren(...attack.cells.map((cell) => make("li", {}, cell.strength)));
}

function fillGains(index) {
  const choices = [["auto", "fitted to the noise"], ...GAINS.map((gain) => [String(gain), `\u00d7 ${gain}`]),
                   [String(index.gain), `\u00d7 ${index.gain}, as in the paper`]];
  element("gain").replaceChildren(...choices.map(([value, text]) => make("option", { value }, text)));
}

/** Show the chosen source model and condition, at the same film, attack and strength where it has them. */
function showSweep(index, { source, condition }) {
  const place = index.sweeps.findIndex((sweep) => sweep.source === source && sweep.condition === condition);
  element("viewer-body").hidden = place < 0;
  element("viewer-none").hidden = place >= 0;
  if (place < 0) return;
  const { film, attack, cell } = current(index);
  const next = index.sweeps[place];
  const found = (list, matches) => Math.max(0, list.findIndex(matches));
  state.sweep = place;
  state.film = found(next.films, (other) => other.film === film.film);
  state.attack = found(next.attacks, (other) => other.name === attack.name);
  state.strength = found(next.attacks[state.attack].cells, (other) => other.strength === cell.strength);
  fillFilms(index);
  fillAttacks(index);
  fillStrengths(index);
  update(index);
}

/** Say in one sentence what is shown and what the models see; screen readers hear it. */
function writeVerdict(index, { sweep, film, attack, cell, shown }) {
  const label = index.classes[film.label];
  const lines = [[`${attack.title} at strength ${cell.strength} on film ${film.film} `, whole(`(${label}).`)]];
  if (!shown) {
    lines.push([" This film was not kept at this strength."]);
  } else {
    sweep.headings.forEach((heading, model) => {
      const seen = prediction(index, film, shown.probabilities[model]);
      lines.push([` ${heading}: `, whole(`${seen.name}, `), whole(`${seen.confidence}, `), rightOrWrong(seen.right), "."]);
    });
  }
  element("verdict").replaceChildren(...lines.map((line) => make("span", { className: "line" }, ...line)));
}

/** Return a table's cell with a class's probability as number and bar. */
function scoreCell(probability, chosen) {
  const bar = make("i");
  bar.style.width = percent(probability).replace(" ", "");
  const frame = make("span", { className: "bar" }, bar);
  frame.setAttribute("aria-hidden", "true");
  return make("td", { className: chosen ? "chosen" : "" }, percent(probability), frame);
}

/** Return a model's table: a row a class, the confidences before and after, and whether the model is right. */
function scoreTable(index, film, heading, before, after) {
  const head = make("tr", {}, make("th", { scope: "col" }, "Class"));
  const verdicts = make("tr", {}, make("th", { scope: "row" }, "Verdict"));
  for (const [name, probabilities] of [["Original", before], ["Adversarial", after]]) {
    head.append(make("th", { scope: "col" }, name));
    verdicts.append(make("td", {}, rightOrWrong(prediction(index, film, probabilities).right)));
  }
  const rows = index.classes.map((name, place) => make("tr", {},
    make("th", { scope: "row" }, name, place === film.label ? make("small", {}, " (true)") : ""),
    ...[before, after].map((probabilities) => scoreCell(probabilities[place], place === largestAt(probabilities)))));
  const box = heading.endsWith("*") ? " white-box" : " black-box";
  return make("table", {}, make("caption", {}, heading, make("small", {}, box)), make("thead", {}, head),
              make("tbody", {}, ...rows, verdicts));
}

function writeScores(index, { sweep, film, shown }) {
  element("scores").replaceChildren(...(shown ? sweep.headings.map((heading, model) =>
    scoreTable(index, film, heading, film.probabilities[model], shown.probabilities[model])) : []));
}

function writeTexts(index, { film, attack, cell, shown }, gain) {
  const label = index.classes[film.label];
  element("strength-value").textContent = cell.strength;
  element("strength").setAttribute("aria-valuetext", `strength ${cell.strength}`);
  element("original-text").replaceChildren(`film ${film.film}, `, whole(label));
  element("noise-text").textContent = `\u00d7 ${gain}; mid-grey: unchanged`;
  element("adversarial-text").replaceChildren(...(state.swapped ? ["Original, for comparison"] :
    ["Adversarial: ", whole(`${attack.title}, ${cell.strength}`)]));
  element("measures").textContent = shown ? `On this film: ${shown.measures}.` : "";
  element("original").setAttribute("aria-label", `Original film ${film.film}, ${label}`);
  element("noise").setAttribute("aria-label", `Noise of ${attack.title} at strength ${cell.strength}, times ${gain}`);
  element("adversarial").setAttribute("aria-label", state.swapped ? "The original film again" :
    `Film ${film.film} after ${attack.title} at strength ${cell.strength}`);
}

/** Decode a picture, scaled to a width and height if they are given; return its pixels. The last ones are kept. */
function pixels(kind, number, size) {
  const key = `${kind}-${number}`;
  const found = decoded.get(key) || decode(address(kind, number), size);
  decoded.delete(key);
  decoded.set(key, found);
  if (decoded.size > KEPT_PICTURES) decoded.delete(decoded.keys().next().value);
  return found;
}

async function decode(source, size) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const { width, height } = size || image;
  const context = Object.assign(document.createElement("canvas"), { width, height })
    .getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Return the change, in grey levels of 255, that each byte of a picture of levels stands for. */
function changeOfByte(index, sizes) {
  return Float32Array.from({ length: 256 }, (_, byte) => {
    const level = Math.round((byte - index.zeroByte) / index.levelBytes);
    return 255 * Math.sign(level) * (sizes[Math.abs(level)] || 0);
  });
}

/** Draw base + gain * change on a canvas, base a grey level or pixels. */
function paint(canvas, size, base, levels, changes, gain) {
  const out = new ImageData(size.width, size.height);
  for (let i = 0; i < out.data.length; i += 1) {
    const level = typeof base === "number" ? base : base[i];
    out.data[i] = i % 4 === 3 ? 255 : Math.round(level + (levels ? gain * changes[levels[i]] : 0));
  }
  if (canvas.width !== size.width) canvas.width = size.width;
  if (canvas.height !== size.height) canvas.height = size.height;
  canvas.getContext("2d").putImageData(out, 0, 0);
}

/** Draw the three pictures; a drawing that a newer one has overtaken is dropped. */
async function draw(index, { film, shown }, gain) {
  const turn = drawing += 1;
  const original = await pixels("film", film.picture);
  const levels = shown ? await pixels("change", shown.picture, original) : null;
  if (turn !== drawing) return;
  const changes = shown && changeOfByte(index, index.levels[shown.picture]);
  paint(element("original"), original, original.data, null);
  paint(element("noise"), original, 127.5, levels && levels.data, changes, gain);
  paint(element("adversarial"), original, original.data, state.swapped ? null : levels && levels.data, changes, 1);
  element("viewer-body").dataset.drawn = `${film.film} ${element("verdict").textContent}`;
}

function update(index) {
  const now = current(index);
  const gain = state.gain === "auto" ? (now.shown ? now.shown.gain : 1) : Number(state.gain);
  writeVerdict(index, now);
  writeScores(index, now);
  writeTexts(index, now, gain);
  draw(index, now, gain).catch((error) => complain(`The pictures cannot be drawn: ${error.message}.`));
}

function complain(text) {
  element("picture-problem").textContent = text;
  element("picture-problem").hidden = false;
}

/** Warn where a browser falsifies what a page reads from its canvases, a guard against tracking. */
function checkCanvas() {
  const context = Object.assign(document.createElement("canvas"), { width: 16, height: 16 }).getContext("2d");
  context.fillStyle = "rgb(40, 90, 200)";
  context.fillRect(0, 0, 16, 16);
  const faithful = context.getImageData(0, 0, 16, 16).data.every((byte, i) => byte === [40, 90, 200, 255][i % 4]);
  if (!faithful) {
    complain("This browser alters what pages read from pictures, so the noise may be wrong; the numbers are right.");
  }
}

function startViewer() {
  const index = JSON.parse(element("viewer-index").textContent);
  state.strength = Math.floor(index.sweeps[0].attacks[0].cells.length / 2);
  fillGains(index);
  element("strength").addEventListener("input", (event) => { state.strength = Number(event.target.value); update(index); });
  element("gain").addEventListener("change", (event) => { state.gain = event.target.value; update(index); });
  element("swap").addEventListener("click", () => {
    state.swapped = !state.swapped;
    element("swap").setAttribute("aria-pressed", String(state.swapped));
    update(index);
  });
  checkCanvas();
  showSweep(index, sweeps[chosen]);
  document.addEventListener("sweep", () => showSweep(index, sweeps[chosen]));
}

document.documentElement.classList.add("scripted");
startChoice();
window.addEventListener("hashchange", followLink);
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
document.addEventListener("DOMContentLoaded", () => {
  if (element("viewer-index")) startViewer();
  followLink();
});
