/** What a person has to be told: for some seconds over the picture, and the last ones in a list. */

import { element } from "./dom.js";

const KEPT = 20;
const SHOWN_MS = { info: 4000, warn: 7000, error: 10000 };

export class Messages {
  #toasts;
  #log;

  constructor(toasts, log) {
    this.#toasts = toasts;
    this.#log = log;
  }

  /** Show a message, and keep it. `kind`: info, warn or error. */
  tell(text, kind = "info") {
    this.note(text, kind);
    const same = [...this.#toasts.children].find((toast) => toast.textContent === text);
    same?.remove();
    const toast = element("button", { type: "button", className: `toast ${kind}`, title: "Hide" }, text);
    toast.onclick = () => toast.remove();
    this.#toasts.append(toast);
    while (this.#toasts.children.length > 3) this.#toasts.firstChild.remove();
    setTimeout(() => toast.remove(), SHOWN_MS[kind]);
  }

  /** Keep a message that is seen in another way. */
  note(text, kind = "info") {
    const now = new Date();
    const clock = now.toLocaleTimeString([], { hour12: false });
    const time = element("time", { dateTime: now.toISOString() }, clock);
    this.#log.prepend(element("li", { className: kind }, time, text));
    while (this.#log.children.length > KEPT) this.#log.lastChild.remove();
  }
}
