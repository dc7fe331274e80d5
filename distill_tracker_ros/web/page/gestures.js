/**
 * What fingers and the mouse do on the picture: one draws a box or taps, two zoom and move.
 *
 * From the moment a finger goes down the picture holds still: the box, what one sees, and the stamp that is
 * sent belong to the same frame.
 */

const TAP_PX = 6; // of the screen: a smaller movement is a tap, a smaller side no box

/**
 * @typedef {object} Operator
 * @property {(box: number[], stamp: string) => void} drawn left, top, width, height in pixels of the camera
 * @property {(id: string) => void} tapped a target; "" = beside all of them
 * @property {(text: string) => void} refused why a box is none
 */
export class Gestures {
  #view;
  #picture;
  #operator;
  #pointers = new Map(); // id -> [x, y] on the screen
  #start = null; // where the only finger went down
  #drawing = false;

  /** @param {Operator} operator */
  constructor(view, picture, operator) {
    [this.#view, this.#picture, this.#operator] = [view, picture, operator];
    view.addEventListener("pointerdown", (event) => this.#down(event));
    view.addEventListener("pointermove", (event) => this.#move(event));
    view.addEventListener("pointerup", (event) => this.#up(event));
    view.addEventListener("pointercancel", (event) => this.#gone(event));
    // Or a browser takes the end of a quick box for a fling, and swallows the next tap as what ends it.
    const stay = (event) => onControl(event) || event.preventDefault();
    view.addEventListener("touchstart", stay, { passive: false });
    view.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    view.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** Give up the box that is being drawn; whether there was one. */
  cancel() {
    const drawing = this.#drawing;
    this.#start = null;
    this.#drawing = false;
    this.#picture.hold(false);
    this.#picture.sketch(null);
    return drawing;
  }

  #down(event) {
    if (onControl(event) || event.button !== 0 || !this.#picture.stamp) return;
    this.#view.setPointerCapture(event.pointerId);
    document.activeElement.blur(); // a finger does not do that by itself any more
    const at = place(event);
    this.#pointers.set(event.pointerId, at);
    this.cancel();
    if (this.#pointers.size > 1) return;
    this.#start = at;
    this.#picture.hold(true);
  }

  #move(event) {
    if (!this.#pointers.has(event.pointerId)) return;
    const before = [...this.#pointers.values()];
    this.#pointers.set(event.pointerId, place(event));
    const now = [...this.#pointers.values()];
    if (now.length === 2) {
      this.#picture.zoom(apart(now) / apart(before), middle(now), middle(before));
    } else if (this.#start) {
      this.#drawing ||= apart([this.#start, now[0]]) > TAP_PX;
      if (this.#drawing) this.#picture.sketch(this.#boxTo(now[0]));
    }
  }

  #up(event) {
    const [start, drawing, stamp, at] = [this.#start, this.#drawing, this.#picture.stamp, place(event)];
    const box = drawing ? this.#boxTo(at) : null;
    this.#gone(event);
    if (!start) return;
    if (!drawing) this.#operator.tapped(this.#picture.targetAt(at));
    else if (Math.min(box[2], box[3]) * this.#picture.scale < TAP_PX) {
      const size = `a box of ${Math.round(box[2])} x ${Math.round(box[3])} px`;
      this.#operator.refused(`${size} is too small: draw from corner to corner, or look closer first`);
    } else this.#operator.drawn(box, stamp);
  }

  #gone(event) {
    if (this.#pointers.delete(event.pointerId)) this.cancel();
  }

  /** The box from where the finger went down, rounded to what a screen can tell. */
  #boxTo(at) {
    const [[x, y], [toX, toY]] = [this.#picture.toCamera(this.#start), this.#picture.toCamera(at)];
    const box = [Math.min(x, toX), Math.min(y, toY), Math.abs(toX - x), Math.abs(toY - y)];
    return box.map((value) => Math.round(10 * value) / 10);
  }

  #wheel(event) {
    event.preventDefault();
    this.cancel();
    this.#picture.zoom(Math.exp(-event.deltaY / 500), place(event));
  }
}

const onControl = (event) => event.target.closest("button, form");
const place = (event) => [event.clientX, event.clientY];
const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
const apart = ([a, b]) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
