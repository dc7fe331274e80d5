/** The operator's page: joins the connection, the picture and what stands beside it. */

import { byId, setText } from "./dom.js";
import { Gestures } from "./gestures.js";
import { Link } from "./link.js";
import { Messages } from "./messages.js";
import { Panel } from "./panel.js";
import { Picture } from "./picture.js";

const FROZEN_S = 1; // without a new picture
const REMEMBERED_S = 2; // the tracker's usual history: how late a box may come
const HURRY_S = 1.4; // of them
const VIEWS_MS = 3000; // between two looks at the views of the selected target
const TICK_MS = 200;
const TOKEN = "token"; // its name in the fragment and in the session's storage

const messages = new Messages(byId("toasts"), byId("log"));
let state = null; // the newest
let stateAt = 0;
let selected = "";
let marking = false; // the next box replaces the selected target
let awaited = ""; // to be selected as soon as it is there
let viewsAt = -Infinity;

const link = new Link({
  picture: (header, jpeg, done) => picture.offer(header, jpeg, done),
  state: take,
  changed: tick,
});

const picture = new Picture(byId("view"), (text) => messages.tell(text, "error"));

const gestures = new Gestures(byId("view"), picture, {
  drawn: mark,
  tapped: select,
  refused: (text) => messages.tell(text, "warn"),
});

const panel = new Panel({ select: (id) => select(id === selected ? "" : id), markAgain, drop });

// The tracker's state.

function take(newest) {
  tellChanges(state, newest);
  state = newest;
  stateAt = performance.now();
  const ids = newest.targets.map((target) => target.id);
  picture.keep(ids);
  if (selected && !ids.includes(selected)) select("");
  if (ids.includes(awaited)) select(awaited);
  panel.update(newest);
  showSelection();
}

/** The tracker's new message, and targets that were lost or found. */
function tellChanges(before, after) {
  if (!before) {
    if (after.message) messages.note(`tracker: ${after.message}`);
    return;
  }
  if (after.message && after.message !== before.message) messages.tell(`tracker: ${after.message}`);
  const states = new Map(before.targets.map((target) => [target.id, target.state]));
  for (const { id, state: now, reason } of after.targets) {
    const then = states.get(id);
    if (now === "LOST" && then && then !== now) messages.tell(`target ${id} is LOST: ${reason}`, "warn");
    if (now === "TRACKING" && then === "LOST") messages.tell(`target ${id} is found again`);
  }
}

// What the operator does.

function select(id) {
  awaited = "";
  if (id === selected) return;
  selected = id;
  marking = false;
  viewsAt = -Infinity;
  picture.select(id);
  showSelection();
  tick();
}

function markAgain() {
  marking = !marking;
  showSelection();
}

async function mark(box, stamp) {
  const again = marking ? state.targets.find((target) => target.id === selected) : null;
  const label = again ? again.label : byId("label").value.trim();
  const answer = await command({ type: "set", stamp, box, id: again?.id ?? "", label }, "not marked");
  if (!answer.success) return;
  if (!again) byId("label").value = "";
  marking = false;
  viewsAt = -Infinity;
  awaited = answer.id;
}

function drop() {
  if (selected) command({ type: "clear", id: selected }, "not dropped");
}

function dropAll() {
  const count = state?.targets.length ?? 0;
  setText(byId("confirm-text"), count === 1 ? "Drop the one target?" : `Drop all ${count} targets?`);
  byId("confirm").showModal();
}

/** Send a command; a refusal is told. */
async function command(request, failed) {
  const answer = await link.ask(request);
  if (answer.success) messages.note(answer.message);
  else messages.tell(`${failed}: ${answer.message}`, "error");
  return answer;
}

async function lookAtViews() {
  if (!selected || link.phase !== "open" || performance.now() - viewsAt < VIEWS_MS) return;
  viewsAt = performance.now();
  const id = selected;
  const answer = await link.ask({ type: "views", id });
  if (answer.success) panel.views(id, answer.views);
}

function showSelection() {
  panel.select(selected, marking, link.mayCommand);
  byId("drop-all").hidden = !link.mayCommand || (state?.targets.length ?? 0) < 1;
  byId("new").hidden = !link.mayCommand;
  byId("view").classList.toggle("marking", marking);
  showTask();
}

// What is shown without being asked: how old things are, and what is wrong.

/** What is wrong, in words, with what to do about it. */
function problems(pictureAge) {
  if (link.phase === "connecting" && !state) return ["Connecting."];
  if (link.phase === "refused") return [`No access: ${link.message || "a token is needed"}`];
  const found = [];
  if (link.phase === "waiting" || link.phase === "connecting") {
    const when = link.phase === "waiting" ? `trying again in ${Math.ceil(link.retryIn)} s` : "trying again";
    found.push(`${link.message || "No connection to the web node"}: ${when}.`);
  } else if (state?.tracker === "absent") {
    found.push("No tracker is there: start it, or look at the names of its topics.");
  } else if (state?.tracker === "silent") {
    const silent = (state.silent_s ?? 0) + (performance.now() - stateAt) / 1000;
    found.push(`The tracker has said nothing for ${silent.toFixed(0)} s: its boxes are old.`);
  }
  if (picture.heldFor !== null) return found;
  const age = `${pictureAge.toFixed(1)} s`;
  if (pictureAge === Infinity) found.push("Waiting for a picture: does the camera run, on this topic?");
  else if (pictureAge > FROZEN_S) found.push(`No new picture for ${age}: this one is old.`);
  return found;
}

function tick() {
  const age = (performance.now() - picture.shownAt) / 1000;
  let word = "LIVE";
  if (link.phase !== "open") word = "OFFLINE";
  else if (picture.heldFor !== null) word = "HELD";
  else if (age > FROZEN_S) word = age === Infinity ? "NO PICTURE" : "FROZEN";
  else if (state?.tracker !== "running") word = "NO TRACKER";
  byId("link").className = `chip ${word === "LIVE" ? "live" : "off"}`;
  setText(byId("link"), word);
  byId("view").classList.toggle("frozen", ["OFFLINE", "NO PICTURE", "FROZEN"].includes(word));
  setText(byId("problems"), problems(age).join("\n"));
  byId("whole").hidden = !picture.isZoomed;
  byId("access").hidden = link.phase !== "refused" && (link.phase !== "open" || link.mayCommand);
  showTask();
  panel.tick();
  lookAtViews();
}

/** What the operator is at, or why nothing can be done. */
function showTask() {
  const [task, held] = [byId("task"), picture.heldFor ?? 0];
  let text = "";
  if (held > TICK_MS / 1000) {
    const hurry = `let go now, the tracker remembers about ${REMEMBERED_S} s`;
    text = `Picture held for ${held.toFixed(1)} s: ${held > HURRY_S ? hurry : "let go to follow"}`;
  } else if (marking) text = `Draw the new box of ${selected} (Esc: not)`;
  else if (link.phase === "open" && !link.mayCommand) text = link.message || "you can only watch";
  task.hidden = !text;
  task.classList.toggle("off", held > HURRY_S);
  byId("view").classList.toggle("held", picture.heldFor !== null);
  setText(task, text);
}

// Keys, buttons, the token.

const KEYS = {
  Escape: () => gestures.cancel() || (marking ? markAgain() : select("")),
  Delete: drop,
  Backspace: drop,
  ArrowDown: () => selectNext(1),
  ArrowUp: () => selectNext(-1),
  m: () => selected && link.mayCommand && markAgain(),
  "+": () => picture.zoom(1.5),
  "-": () => picture.zoom(1 / 1.5),
  0: () => picture.zoom(0),
  "?": () => byId("help").showModal(),
};

function selectNext(step) {
  const ids = (state?.targets ?? []).map((target) => target.id);
  const at = ids.indexOf(selected);
  if (ids.length) select(ids.at(step > 0 ? (at + 1) % ids.length : Math.max(at, 0) - 1));
}

addEventListener("keydown", (event) => {
  const busy = event.target.matches("input") || document.querySelector("dialog[open]");
  if (busy || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

byId("whole").onclick = () => {
  picture.zoom(0);
  tick(); // what is under the button can be touched at once
};
byId("drop-all").onclick = dropAll;
byId("confirm-no").onclick = () => byId("confirm").close();
byId("confirm-yes").onclick = () => {
  byId("confirm").close();
  command({ type: "clear", id: "" }, "not dropped");
};
byId("help-open").onclick = () => byId("help").showModal();
byId("help-close").onclick = () => byId("help").close();
byId("access").onsubmit = (event) => {
  event.preventDefault();
  enter(byId("token").value.trim());
  byId("token").value = "";
};
addEventListener("hashchange", takeToken);

/** Use a token, and keep it as long as this tab lives. */
function enter(token) {
  sessionStorage.setItem(TOKEN, token);
  link.open(token);
}

/** Connect with the token of the address, which must not stay there, or with the one that was kept. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get(TOKEN);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  enter(given ?? sessionStorage.getItem(TOKEN) ?? "");
}

setInterval(tick, TICK_MS);
takeToken();
