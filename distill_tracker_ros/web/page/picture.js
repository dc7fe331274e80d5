/**
 * The camera's picture with its boxes, always of the same frame, and what part of it is looked at.
 *
 * Places are pixels of the camera's image; the JPEG may be smaller.
 */

import { Boxes, targetAt } from "./boxes.js";

const MAX_ZOOM = 8;
const OLD_S = 1; // boxes so much older than their picture are not where they are drawn

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class Picture {
  scale = 1; // pixels of the screen to one of the camera
  shownAt = -Infinity; // when the newest frame on the screen came, ms of performance.now()
  #view;
  #stage;
  #canvas;
  #boxes;
  #failed;
  #next = null; // waits to be decoded
  #busy = false;
  #shown = null; // on the screen
  #held = false;
  #selected = "";
  #kept = []; // ids
  #zoom = { factor: 1, x: 0.5, y: 0.5 }; // centre of the view, in shares of the picture

  /**
   * @param {Element} view holds a #stage with a canvas and an svg
   * @param {(text: string) => void} failed is told why a picture cannot be shown
   */
  constructor(view, failed) {
    this.#view = view;
    this.#stage = view.querySelector("#stage");
    this.#canvas = view.querySelector("canvas");
    this.#boxes = new Boxes(view.querySelector("svg"));
    this.#failed = failed;
    new ResizeObserver(() => this.#layout()).observe(view);
  }

  /** Of the frame on the screen; "" before the first. */
  get stamp() {
    return this.#shown?.stamp ?? "";
  }

  /** Seconds since the frame on the screen came, while it is held; else null. */
  get heldFor() {
    return this.#held ? (performance.now() - this.#shown.arrived) / 1000 : null;
  }

  get isZoomed() {
    return this.#zoom.factor > 1;
  }

  /** Take a picture; it is shown unless a newer one comes first. `done` is called in either case. */
  offer(header, jpeg, done) {
    this.#next?.done();
    this.#next = { ...header, jpeg, done, arrived: performance.now() };
    if (!this.#busy) this.#work();
  }

  /** Let the frame on the screen stand still, or go on. */
  hold(held) {
    this.#held = held;
  }

  /** Highlight a target; "" = none. */
  select(id) {
    this.#selected = id;
    this.#draw();
  }

  /** Draw boxes of these targets alone: others are followed no more, whatever is known of the frame. */
  keep(ids) {
    this.#kept = ids;
    this.#draw();
  }

  /** Show the box that is being drawn; null = none. */
  sketch(box) {
    this.#boxes.sketch(box);
  }

  /** The id of the target at a place of the screen; "" = none. */
  targetAt(at) {
    return targetAt(this.#targets, this.toCamera(at), this.scale);
  }

  /** A place [x, y] of the screen in pixels of the camera, inside the picture. */
  toCamera([x, y]) {
    const { left, top } = this.#stage.getBoundingClientRect();
    const { width, height } = this.#shown;
    return [clamp((x - left) / this.scale, 0, width), clamp((y - top) / this.scale, 0, height)];
  }

  /** Look closer by a factor (0 = whole picture); what is at `from` on the screen goes `to` another place. */
  zoom(by, to = null, from = to) {
    if (!this.#shown) return;
    const { left, top, width, height } = this.#view.getBoundingClientRect();
    const middle = [left + width / 2, top + height / 2];
    const [x, y] = this.toCamera(from ?? middle);
    const factor = by ? clamp(this.#zoom.factor * by, 1, MAX_ZOOM) : 1;
    const scale = (this.scale / this.#zoom.factor) * factor;
    const [atX, atY] = to ?? middle;
    this.#zoom = {
      factor,
      x: (x + (middle[0] - atX) / scale) / this.#shown.width,
      y: (y + (middle[1] - atY) / scale) / this.#shown.height,
    };
    this.#layout();
  }

  /** One picture after the other: an older one can never follow a newer one. */
  async #work() {
    this.#busy = true;
    while (this.#next) {
      const picture = this.#next;
      this.#next = null;
      try {
        if (!this.#held) await this.#decode(picture);
      } catch (error) {
        this.#failed(`a picture cannot be shown: ${error.message}`);
      }
      picture.done();
    }
    this.#busy = false;
  }

  async #decode(picture) {
    const bitmap = await createImageBitmap(new Blob([picture.jpeg], { type: "image/jpeg" }));
    // A hidden page has no animation frames: it asks for no more pictures, and goes on when it is seen.
    await new Promise(requestAnimationFrame);
    if (!this.#held) this.#show(picture, bitmap);
    bitmap.close();
  }

  #show({ width, height, stamp, arrived, state }, bitmap) {
    const resized = width !== this.#shown?.width || height !== this.#shown?.height;
    if (stamp !== this.stamp) this.shownAt = arrived; // a paused camera repeats its picture
    const old = state.tracker !== "running" || Number(stamp) - Number(state.stamp) > OLD_S;
    this.#shown = { width, height, stamp, arrived, old, targets: state.targets };
    const canvas = this.#canvas;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    }
    canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    canvas.dataset.stamp = stamp;
    canvas.setAttribute("aria-label", `Picture of the camera, ${state.targets.length} targets`);
    if (resized) this.#layout();
    else this.#draw();
  }

  #layout() {
    if (!this.#shown) return;
    const { width, height } = this.#shown;
    const { clientWidth: across, clientHeight: down } = this.#view;
    this.scale = Math.min(across / width, down / height) * this.#zoom.factor;
    const size = { width: width * this.scale, height: height * this.scale };
    // The middle of a picture that fits; of a larger one the part looked at, and nothing beyond its borders.
    const start = (room, side, centre) =>
      side <= room ? (room - side) / 2 : clamp(room / 2 - centre * side, room - side, 0);
    const left = start(across, size.width, this.#zoom.x);
    const top = start(down, size.height, this.#zoom.y);
    this.#zoom.x = (across / 2 - left) / size.width;
    this.#zoom.y = (down / 2 - top) / size.height;
    for (const [name, px] of Object.entries({ left, top, ...size })) this.#stage.style[name] = `${px}px`;
    this.#draw();
  }

  #draw() {
    if (!this.#shown) return;
    const { old, width, height } = this.#shown;
    this.#boxes.draw(this.#targets, this.#selected, old, [width, height], this.scale);
  }

  get #targets() {
    return this.#shown.targets.filter((target) => this.#kept.includes(target.id));
  }
}
