/** What is told beside the picture: targets with their time lines and views, the tracker's figures. */

import { byId, element, percent, setText } from "./dom.js";

const LINE_S = 30; // shown of the past
const GAP_S = 1.5; // after which it is not known what was
const COLOURS = { TRACKING: "#3cdc60", UNCERTAIN: "#ffbe28", LOST: "#ff6b6b" };

/**
 * @typedef {object} Actions
 * @property {(id: string) => void} select
 * @property {() => void} markAgain the selected target
 * @property {() => void} drop the selected target
 */
export class Panel {
  #rows = new Map(); // id -> Row
  #actions;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
  }

  /** Take a new state. */
  update(state) {
    const ids = new Set(state.targets.map((target) => target.id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.item.remove();
      this.#rows.delete(id);
    }
    for (const target of state.targets) {
      if (!this.#rows.has(target.id)) {
        const row = new Row(target.id, this.#actions);
        this.#rows.set(target.id, row);
        byId("targets").append(row.item);
      }
      this.#rows.get(target.id).update(target, state.tracker === "running");
    }
    byId("empty").hidden = ids.size > 0;
    this.#measures(state);
    byId("diagnostics").replaceChildren(
      ...state.diagnostics.map(({ name, level, message }) => {
        const title = element("b", {}, `${level} ${name}`);
        return element("li", { className: level.toLowerCase() }, title, ` ${message}`);
      }),
    );
  }

  /** Show a target as selected, and whether it is about to be marked again or may be changed at all. */
  select(id, marking, mayCommand) {
    for (const row of this.#rows.values()) row.select(row.id === id, marking, mayCommand);
  }

  /** The views of a target, as the server sent them. */
  views(id, views) {
    this.#rows.get(id)?.views(views);
  }

  /** Draw the time lines: they move also when nothing comes. */
  tick() {
    for (const row of this.#rows.values()) row.draw();
  }

  #measures(state) {
    const ms = (value) => (value === null ? "unknown" : `${value.toFixed(0)} ms`);
    const rows = {
      Results: `${state.rate_hz.toFixed(1)} Hz`,
      Latency: ms(state.latency_ms),
      Processing: ms(state.processing_ms),
      Dropped: percent(state.dropped),
      Model: state.model || "none",
      Engine: state.backend || "none",
    };
    const list = byId("measures");
    for (const [name, value] of Object.entries(rows)) {
      let row = list.querySelector(`[data-name="${name}"]`);
      if (!row) {
        row = element("div", {}, element("dt", {}, name), element("dd"));
        row.dataset.name = name;
        list.append(row);
      }
      setText(row.lastChild, value);
    }
  }
}

/** One target of the list. */
class Row {
  #name = element("b");
  #state = element("span", { className: "state" });
  #reason = element("span", { className: "reason" });
  #line = element("canvas", { className: "line", width: 300, height: 32 });
  #views = element("div", { className: "views" });
  #again = element("button", { type: "button" }, "Mark again");
  #drop = element("button", { type: "button", className: "danger" }, "Drop");
  #head = element("button", { type: "button", className: "target" });
  #details;
  #past = []; // {at, state, confidence}, the newest last
  #seen = ""; // the views that are shown, to change nothing that is the same

  constructor(id, actions) {
    this.id = id;
    this.#line.setAttribute("role", "img");
    this.#head.append(element("span", {}, this.#name), this.#state, this.#line, this.#reason);
    this.#head.onclick = () => actions.select(id);
    this.#again.onclick = actions.markAgain;
    this.#drop.onclick = actions.drop;
    const buttons = element("div", { className: "buttons" }, this.#again, this.#drop);
    this.#details = element("div", { className: "details", hidden: true }, buttons, this.#views);
    this.item = element("li", {}, this.#head, this.#details);
    this.item.dataset.id = id;
  }

  update({ label, state, confidence, reason, unseen_s }, isKnown) {
    this.item.className = isKnown ? state.toLowerCase() : "old";
    setText(this.#name, [this.id, label].filter(Boolean).join(" "));
    setText(this.#state, isKnown ? `${state} ${confidence.toFixed(2)}` : "not known");
    const unseen = unseen_s >= 1 ? `not seen for ${unseen_s.toFixed(0)} s` : "";
    setText(this.#reason, state === "TRACKING" ? "" : [reason, unseen].filter(Boolean).join("; "));
    if (!isKnown) return;
    const at = performance.now() / 1000;
    this.#past.push({ at, state, confidence });
    while (this.#past[0].at < at - LINE_S) this.#past.shift();
  }

  select(selected, marking, mayCommand) {
    this.item.classList.toggle("selected", selected);
    this.#head.setAttribute("aria-pressed", selected);
    this.#details.hidden = !selected;
    this.#again.setAttribute("aria-pressed", selected && marking);
    setText(this.#again, selected && marking ? "Draw its box" : "Mark again");
    this.#again.disabled = this.#drop.disabled = !mayCommand;
  }

  views(views) {
    const seen = JSON.stringify(views);
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.#views.replaceChildren(...views.map(view));
  }

  /** Confidence over time; shaded to the top: UNCERTAIN in stripes, LOST all over. */
  draw() {
    const { width, height } = this.#line;
    const now = performance.now() / 1000;
    const pen = this.#line.getContext("2d");
    pen.clearRect(0, 0, width, height);
    const place = (at) => Math.round(width * (1 - (now - at) / LINE_S));
    this.#past.forEach(({ at, state, confidence }, number) => {
      const next = this.#past[number + 1]?.at ?? now;
      const end = place(Math.min(next, at + GAP_S));
      const top = Math.round((height - 2) * (1 - confidence));
      const shaded = state === "TRACKING" ? top : 0;
      pen.fillStyle = COLOURS[state];
      for (let x = place(at); x < end; x++) {
        pen.globalAlpha = 0.45;
        if (state !== "UNCERTAIN" || x % 4 < 2) pen.fillRect(x, shaded, 1, height - shaded);
        pen.globalAlpha = 1;
        pen.fillRect(x, top, 1, 2);
      }
    });
    const span = Math.round(now - (this.#past[0]?.at ?? now));
    this.#line.setAttribute("aria-label", `Confidence of the last ${span} s`);
  }
}

/** A view of the Target Store with what it is. */
function view({ jpeg, initial, in_template, confidence, age_frames }) {
  const marks = [initial && "marked", in_template && "in use"].filter(Boolean);
  const caption = marks.join(", ") || (confidence === null ? "" : confidence.toFixed(2));
  const age = initial ? "as it was marked" : `frame ${age_frames} since it was marked`;
  const image = element("img", { src: `data:image/jpeg;base64,${jpeg}`, alt: `View: ${age}`, title: age });
  const className = [initial && "initial", in_template && "in-template"].filter(Boolean).join(" ");
  return element("figure", { className }, image, element("figcaption", {}, caption));
}
