"use strict";

const SIDES = ["left", "right"];
const find = (id) => document.getElementById(id);

let state = null;   // what the server said last
let ready = false;  // every image of the item is there, and nothing is on its way to the server
let shownAt = 0;    // milliseconds, when the item became ready
let zoomed = null;  // the tile that is enlarged

/** Ask the server; what it refuses is an Error with the `state` it came with, if any. */
async function ask(what, body) {
  const headers = { "Content-Type": "application/json", "X-Semscale": "annotate" };
  let response;
  try {
    response = await fetch(what, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. What you have rated is saved. When it runs again, choose again, or " +
                    "open the new address and enter the same name.");
  }
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw Object.assign(new Error(answer.error), { state: answer.state });
  return answer;
}

/** Send something and show what comes back; one at a time. */
async function send(what, body) {
  setReady(false);
  for (const id of ["undo", "undo-done", "leave", "later"]) find(id).disabled = true;
  let problem = "", now = state;
  try {
    now = await ask(what, body);
  } catch (error) {
    problem = error.message;
    if (error.state) now = error.state;
  }
  tell(problem);
  find("leave").disabled = find("later").disabled = false;
  if (now !== state) show(now);
  else if (state) {
    setReady(!document.querySelector(".broken"));
    setUndo();
  }
  return !problem;
}

function tell(problem) {
  find("problem").textContent = problem;
  find("problem").hidden = !problem;
}

function setReady(value) {
  ready = value && state !== null && state.shown !== null;
  for (const side of SIDES) find(side).disabled = !ready;
}

function setUndo() {
  find("undo").disabled = find("undo-done").disabled = state.position === 0;
}

function show(now) {
  state = now;
  sessionStorage.setItem("rater", now.rater);
  only(now.shown ? "rate" : "done");
  find("name").textContent = now.rater;
  find("progress-text").textContent = `${now.position} of ${now.total} rated`;
  find("progress").max = now.total;
  find("progress").value = now.position;
  document.title = `${now.position} of ${now.total} – semscale`;
  setUndo();
  if (now.shown) showItem(now.shown);
  else {
    find("thanks").textContent = `Thank you, ${now.rater}. All ${now.total} items are rated.`;
    find("thanks").focus();
  }
}

function only(section) {
  for (const id of ["start", "rate", "done"]) find(id).hidden = id !== section;
  find("where").hidden = find("who").hidden = section === "start";
}

async function showItem(shown) {
  setReady(false);
  find("put-off").hidden = true;
  if (find("zoom").open) find("zoom").close();
  find("question").textContent = state.question;
  find("prompt").textContent = shown.prompt;
  const images = SIDES.flatMap((side) => fill(side, shown[side]));
  window.scrollTo(0, 0);
  find("question").focus({ preventScroll: true });  // away from the button: a second press of Enter chooses nothing
  await Promise.all(images);
  if (state === null || state.shown !== shown) return;
  if (document.querySelector(".broken")) {
    const isLast = state.position + 1 === state.total;  // then there is nothing to be shown before it
    find("put-off").hidden = isLast;
    tell("An image of this item cannot be shown, so nothing can be chosen. Tell whoever runs this study; when the " +
         "file is mended, load this page again." + (isLast ? "" : " Until then, Later puts the item at the end."));
    return;
  }
  shownAt = performance.now();
  setReady(true);
  for (const picture of state.next) new Image().src = `image/${picture}`;
}

/** Put the pictures of one side in place; a promise each, kept when it is there or cannot be shown. */
function fill(side, pictures) {
  const gallery = find(`${side}-images`);
  const columns = Math.max(1, Math.ceil(Math.sqrt(pictures.length)));
  gallery.style.setProperty("--columns", columns);
  gallery.style.setProperty("--rows", Math.max(1, Math.ceil(pictures.length / columns)));
  const tiles = pictures.map((picture, index) => tile(side, picture, `${side} image ${index + 1} of ${pictures.length}`));
  gallery.replaceChildren(...tiles.map(([button]) => button));
  return tiles.map(([, loaded]) => loaded);
}

function tile(side, picture, name) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  button.type = "button";
  button.className = "tile";
  button.dataset.name = name;
  button.setAttribute("aria-label", `Enlarge ${name}`);
  image.alt = "";
  button.append(image);
  const loaded = new Promise((resolve) => {
    image.addEventListener("load", () => {
      button.addEventListener("click", () => zoom(button));
      resolve();
    });
    image.addEventListener("error", () => {
      if (image.src.includes("/image/")) {  // perhaps of a kind that this browser does not decode
        image.src = `png/${picture}`;
        return;
      }
      button.classList.add("broken");
      button.disabled = true;
      button.setAttribute("aria-label", `${name} cannot be shown`);
      button.replaceChildren("cannot be shown");
      resolve();
    });
  });
  image.src = `image/${picture}`;
  return [button, loaded];
}

function choose(side) {
  if (!ready) return;
  const seconds = Math.round(performance.now() - shownAt) / 1000;
  const { rater, position, shown } = state;
  send("rate", { rater, item: shown.item, position, choice: side, seconds });
}

function later() {
  if (state === null || state.shown === null || find("put-off").hidden || find("later").disabled) return;
  send("later", { rater: state.rater, item: state.shown.item, position: state.position });
}

function undo() {
  if (state === null || state.position === 0 || find("undo").disabled) return;
  send("undo", { rater: state.rater, position: state.position });
}

function zoom(button) {
  zoomed = button;
  find("large").src = button.firstChild.src;
  const name = button.dataset.name;
  find("large").alt = name;
  find("zoom-title").textContent = name[0].toUpperCase() + name.slice(1);
  if (!find("zoom").open) find("zoom").showModal();
}

function step(by) {
  const tiles = [...zoomed.parentElement.querySelectorAll(".tile:not(.broken)")];
  zoom(tiles[(tiles.indexOf(zoomed) + by + tiles.length) % tiles.length]);
}

function leave() {
  state = null;
  sessionStorage.removeItem("rater");
  document.title = "semscale: rate images";
  tell("");
  only("start");
  find("rater").value = "";
  find("rater").focus();
}

const KEYS = { ArrowLeft: () => choose("left"), 1: () => choose("left"), ArrowRight: () => choose("right"),
               2: () => choose("right"), u: undo, U: undo, l: later, L: later };
const ZOOM_KEYS = { ArrowLeft: () => step(-1), ArrowRight: () => step(1) };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
  const keys = find("zoom").open ? ZOOM_KEYS : state === null ? {} : KEYS;
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  if (!event.repeat || keys === ZOOM_KEYS) keys[event.key]();  // a key that is held down rates one item
});

for (const side of SIDES) find(side).addEventListener("click", () => choose(side));
for (const id of ["undo", "undo-done"]) find(id).addEventListener("click", undo);
find("later").addEventListener("click", later);
find("leave").addEventListener("click", leave);
find("before").addEventListener("click", () => step(-1));
find("after").addEventListener("click", () => step(1));
for (const id of ["close", "large"]) find(id).addEventListener("click", () => find("zoom").close());
find("zoom").addEventListener("close", () => {
  find("large").removeAttribute("src");
  if (zoomed && zoomed.isConnected) zoomed.focus();
});
find("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  send("enter", { rater: find("rater").value });
});

async function begin() {
  const rater = sessionStorage.getItem("rater");
  only("start");
  if (!rater || !(await send("enter", { rater }))) find("rater").focus();
}

begin();
