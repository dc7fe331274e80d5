/** The boxes of the targets over the picture, in an SVG whose units are pixels of the camera's image. */

const REACH_PX = 22; // on the screen, of a tap around a box: a finger is wide
const EDGE_PX = 2; // on the screen, between a box and what sets it off: a small target is not covered
const LONGEST_LABEL = 24; // characters; the row of the target has all of it

export class Boxes {
  #svg;
  #drawn = new Map(); // id -> its parts
  #draft = null;

  constructor(svg) {
    this.#svg = svg;
  }

  /**
   * Draw these targets and no others.
   * @param {object[]} targets of the state
   * @param {string} selected id, or ""
   * @param {boolean} old whether they are of another time than the picture
   * @param {number[]} size width and height of the camera's image
   * @param {number} scale pixels of the screen to one of the camera
   */
  draw(targets, selected, old, [width, height], scale) {
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const ids = new Set(targets.map((target) => target.id));
    for (const [id, { group }] of this.#drawn) {
      if (ids.has(id)) continue;
      group.remove();
      this.#drawn.delete(id);
    }
    for (const target of targets) {
      if (!this.#drawn.has(target.id)) this.#drawn.set(target.id, this.#parts(target.id));
      const parts = this.#drawn.get(target.id);
      parts.group.setAttribute("class", old ? "old" : target.state.toLowerCase());
      parts.group.classList.toggle("selected", target.id === selected);
      place(parts.edge, around(target.box, EDGE_PX / scale));
      place(parts.line, target.box);
      write(parts.text, target, old, width, scale);
    }
  }

  /** Draw the box that is being drawn; null = none. */
  sketch(box) {
    if (box) place((this.#draft ??= add(this.#svg, "rect", "draft")), box);
    else {
      this.#draft?.remove();
      this.#draft = null;
    }
  }

  #parts(id) {
    const group = add(this.#svg, "g", "");
    group.dataset.id = id;
    const [edge, line] = [add(group, "rect", "edge"), add(group, "rect", "line")];
    return { group, edge, line, text: add(group, "text", "") };
  }
}

/** The target nearest to a place of the camera's image whose box, or what is around it, holds it; or "". */
export function targetAt(targets, [x, y], scale) {
  let [found, nearest] = ["", Infinity];
  for (const { id, box } of targets) {
    const [left, top, width, height] = box;
    const away = Math.max(left - x, x - left - width, top - y, y - top - height);
    const distance = Math.hypot(x - left - width / 2, y - top - height / 2);
    if (away * scale <= REACH_PX && distance < nearest) [found, nearest] = [id, distance];
  }
  return found;
}

function add(parent, name, className) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  made.setAttribute("class", className);
  parent.append(made);
  return made;
}

function place(rect, [x, y, width, height]) {
  for (const [name, value] of Object.entries({ x, y, width, height })) rect.setAttribute(name, value);
}

const around = ([x, y, width, height], by) => [x - by, y - by, width + 2 * by, height + 2 * by];

/** The caption: in the screen's size whatever the picture's, above the box or, at the top, below it. */
function write(text, { id, label, state, confidence, box }, old, across, scale) {
  const name = [id, label].filter(Boolean).join(" ");
  const short = name.length > LONGEST_LABEL ? `${name.slice(0, LONGEST_LABEL - 1)}…` : name;
  const words = old ? [short, "OLD"] : [short, confidence.toFixed(2), state === "TRACKING" ? "" : state];
  text.textContent = words.filter(Boolean).join(" ");
  const [left, top, width, height] = box;
  const atRight = left + width / 2 > across * 0.7;
  const x = atRight ? left + width : left;
  const y = top * scale > 60 ? top - 6 / scale : top + height + 16 / scale; // below what stands at the top
  text.setAttribute("text-anchor", atRight ? "end" : "start");
  text.setAttribute("transform", `translate(${x} ${y}) scale(${1 / scale})`);
}
