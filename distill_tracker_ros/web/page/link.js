/** The connection to the web node: one WebSocket, opened again when it breaks. */

const SILENT_MS = 5000; // the server speaks once a second; after this the network is dead
const FIRST_WAIT_MS = 500; // before a new attempt; doubled each time
const LONGEST_WAIT_MS = 8000;
const WRONG_TOKEN = 4401; // close code

/**
 * @typedef {object} Listener
 * @property {(header: object, jpeg: Uint8Array, done: () => void) => void} picture
 *   `done`: it is on the screen, or was left out for a newer one
 * @property {(state: object) => void} state never an older one than before
 * @property {() => void} changed phase, message or mayCommand are others now
 */
export class Link {
  /** "connecting", "open", "waiting" (for the next attempt) or "refused" (for another token). */
  phase = "connecting";
  message = ""; // why it was refused, or why no commands are accepted
  mayCommand = false;
  #listener;
  #socket = null;
  #token = "";
  #wait = FIRST_WAIT_MS;
  #retryAt = 0;
  #heardAt = 0;
  #newest = 0; // number of the newest state
  #requests = 0;
  #asked = new Map(); // number of a request -> what to do with its answer

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
    setInterval(() => this.#watch(), 250);
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Seconds until the next attempt. */
  get retryIn() {
    return Math.max(0, (this.#retryAt - performance.now()) / 1000);
  }

  /** Connect, or connect anew with another token. */
  open(token = this.#token) {
    this.#leave("the connection was closed");
    this.#token = token;
    this.#newest = 0;
    this.#heardAt = performance.now();
    const url = new URL("ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    const socket = (this.#socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#send({ type: "hello", token });
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = (event) => this.#closed(event.code);
    this.#become("connecting", "");
  }

  /**
   * Send a request.
   * @returns {Promise<{success: boolean, message: string, id?: string, views?: object[]}>} always an answer
   */
  ask(request) {
    if (this.phase !== "open") {
      return Promise.resolve({ success: false, message: "not connected: nothing was sent" });
    }
    return new Promise((resolve) => {
      const number = ++this.#requests;
      this.#asked.set(number, resolve);
      this.#send({ ...request, request: number });
    });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #take(data) {
    this.#heardAt = performance.now();
    if (data instanceof ArrayBuffer) {
      const length = new DataView(data).getUint32(0);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      const socket = this.#socket;
      const done = () => socket === this.#socket && this.#send({ type: "shown", frame: header.frame });
      this.#listener.picture(header, new Uint8Array(data, 4 + length), done);
      this.#tell(header.state);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "state") this.#tell(message.state);
    else if (message.type === "welcome") {
      this.mayCommand = message.may_command;
      this.#wait = FIRST_WAIT_MS;
      this.#become("open", message.message ?? "");
    } else if (message.type === "refused") this.message = message.message;
    else if (message.type === "answer" || message.type === "views") {
      this.#asked.get(message.request)?.({ success: true, message: "", ...message });
      this.#asked.delete(message.request);
    }
  }

  /** A picture's state is that of its image: the page may know a newer one. */
  #tell(state) {
    if (state.number < this.#newest) return;
    this.#newest = state.number;
    this.#listener.state(state);
  }

  #closed(code) {
    this.#leave("the connection broke before the answer came: look whether it was done");
    if (code === WRONG_TOKEN) return this.#become("refused", this.message);
    this.#retryAt = performance.now() + this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
    this.#become("waiting", this.phase === "open" ? "" : this.message);
  }

  #leave(why) {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    for (const resolve of this.#asked.values()) resolve({ success: false, message: why });
    this.#asked.clear();
  }

  #watch() {
    if (this.phase === "waiting" && this.retryIn === 0) this.open();
    else if (this.#socket && performance.now() - this.#heardAt > SILENT_MS) this.#closed(0);
  }

  /** The network or the person is back: do not wait for the next attempt. */
  #hurry() {
    if (this.phase === "waiting") this.open();
  }

  #become(phase, message) {
    this.phase = phase;
    this.message = message;
    this.#listener.changed();
  }
}
