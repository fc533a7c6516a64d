// The live connection: subscribes, checks that nothing is missing, goes on where it ended.

import { protocols } from "/static/access.js";

const LONGEST_PAUSE_MS = 10_000;
const FIRST_PAUSE_MS = 300;
const SILENCE = 3; // heartbeats that may stay away before the link counts as dead
const HOLE = 4000; // our own close: something is missing, and is asked for again
const FULL = 0.8; // of a frame's bytes
const POSITION_BYTES = 140; // of `"…":{"epoch":"…","offset":…,"hash":"…"}` beside the name, which is there twice
const RATE_MS = 1_000;
const REFUSED = 4401; // as the server closes for who has no key
const EXPIRED = 4510; // the key: there is no coming back without another

export class Live {
  // handlers: { frame(message), state(name, detail), resumed({ events, lost }), closed(code, why) }
  constructor(handlers) {
    this.handlers = handlers;
    this.wanted = [];
    this.seen = new Map(); // stream → { epoch, offset, hash } of the last event received
    this.attempt = 0;
    this.socket = null;
  }

  // What the view shows, as patterns. `fresh`: all that is held is left, so that all begins anew.
  want(streams, fresh = false) {
    const left = this.wanted.filter((each) => fresh || !streams.includes(each));
    const come = streams.filter((each) => fresh || !this.wanted.includes(each));
    this.wanted = streams;
    if (fresh) this.seen.clear();
    else for (const name of this.seen.keys()) if (!streams.some((each) => fits(each, name))) this.seen.delete(name);
    if (!this.socket && !this.pause && !this.stopped) this.connect();
    if (!this.welcomed) return;
    if (left.length) this.leave(left);
    if (come.length) this.subscribe(come);
  }

  async connect() {
    clearTimeout(this.pause);
    this.pause = null;
    this.handlers.state("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = {}; // nobody else connects meanwhile
    let offered;
    try {
      offered = await protocols();
    } catch (error) {
      return this.closed(this.socket, { code: error.final ? REFUSED : HOLE, reason: JSON.stringify({ code: error.message }) });
    }
    const socket = new WebSocket(`${scheme}://${location.host}/ws`, offered);
    Object.assign(this, { socket, seq: 0, welcomed: false, resuming: this.seen.size > 0, replies: 0, events: 0, lost: [] });
    Object.assign(this, { caught: new Set(), catching: new Set() });
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = (event) => this.closed(socket, event);
    return undefined;
  }

  ask(method, params) {
    this.socket.send(JSON.stringify({ id: method, method, params }));
  }

  leave(patterns) {
    for (const names of [this.caught, this.catching]) {
      for (const name of names) if (patterns.some((each) => fits(each, name))) names.delete(name);
    }
    this.ask("unsubscribe", { streams: patterns });
  }

  // What was heard of before goes on behind its last event, in frames that the server takes; the rest begins.
  subscribe(patterns) {
    const before = [...this.seen.keys()].filter((name) => patterns.some((each) => fits(each, name)));
    const most = FULL * this.limits.frame_bytes;
    let part = [], size = 0;
    const send = () => {
      if (part.length) this.request({ streams: part, since: Object.fromEntries(part.map((name) => [name, this.seen.get(name)])) });
      [part, size] = [[], 0];
    };
    for (const name of before) {
      part.push(name);
      size += 2 * name.length + POSITION_BYTES;
      if (size > most) send();
    }
    send();
    this.request({ streams: patterns });
  }

  request(params) {
    this.replies += 1;
    this.ask("subscribe", params);
  }

  receive(message) {
    if (message.seq !== this.seq++) return this.hole("a frame is missing");
    this.heardAt = performance.now();
    switch (message.type) {
      case "welcome":
        this.welcome(message);
        break;
      case "reply":
        if (message.method === "subscribe") this.granted(message.result.streams);
        break;
      case "snapshot":
        this.seen.set(message.stream, { epoch: message.epoch, offset: message.offset });
        break;
      case "update":
        if (this.known(message)) return undefined;
        if (!this.follows(message)) return this.hole("an event is missing");
        if (message.replay) this.events += 1;
        break;
      case "live":
        if (!this.complete({ [message.stream]: [message.epoch, message.offset] })) return this.hole("a replay is short");
        this.caught.add(message.stream);
        this.catching.delete(message.stream);
        this.progress();
        break;
      case "joined":
        this.seen.set(message.stream, { epoch: message.epoch, offset: message.offset });
        break;
      case "heartbeat":
        if (!this.complete(message.heads)) return this.hole("a heartbeat tells of an event that did not come");
        break;
      case "shutdown":
        this.handlers.state("stopping");
        break;
      case "error":
        this.refused(message);
    }
    return this.handlers.frame(message);
  }

  welcome(message) {
    Object.assign(this, { welcomed: true, limits: message.limits });
    clearInterval(this.watch);
    this.watch = setInterval(() => this.listen(message.heartbeat_ms), message.heartbeat_ms);
    if (this.wanted.length) this.subscribe(this.wanted);
    else this.progress();
  }

  granted(streams) {
    this.replies -= 1;
    for (const { stream, recovered, reason } of streams) {
      if (recovered === false) this.lost.push({ stream, reason });
      if (!this.caught.has(stream)) this.catching.add(stream);
    }
    this.progress();
  }

  // Told again because a subscription was changed while it was on its way, or of a view that was left.
  known({ stream, epoch, offset, replay }) {
    const last = this.seen.get(stream);
    if (!last) return !this.wanted.some((each) => fits(each, stream));
    return Boolean(replay) && last.epoch === epoch && offset <= last.offset;
  }

  follows({ stream, epoch, offset, hash }) {
    const last = this.seen.get(stream);
    if (last && ((last.epoch !== null && last.epoch !== epoch) || offset !== last.offset + 1)) return false;
    this.seen.set(stream, { epoch, offset, hash });
    return true;
  }

  complete(heads) {
    return Object.entries(heads).every(([stream, [epoch, offset]]) => {
      const last = this.seen.get(stream);
      return !last || (last.offset === offset && last.epoch === epoch);
    });
  }

  progress() {
    if (this.replies || this.catching.size) return this.handlers.state("catching", this.catching.size);
    this.attempt = 0;
    if (this.resuming) this.handlers.resumed({ events: this.events, lost: this.lost });
    Object.assign(this, { resuming: false, events: 0, lost: [] });
    return this.handlers.state("live");
  }

  refused({ method, error }) {
    if (method === "subscribe") this.replies -= 1;
    if (error.code === "unknown_stream") return this.progress(); // not for this key, or gone
    if (error.stream) return this.ended(error);
    this.handlers.state("waiting", error.detail);
    if (!error.temporary) return undefined;
    const socket = this.socket;
    setTimeout(() => {
      if (this.socket === socket && socket.readyState === WebSocket.OPEN) this.subscribe(this.wanted);
    }, error.retry_after_ms ?? RATE_MS);
    return undefined;
  }

  // An event of it was edited and cannot be told: what the page shows of it begins anew behind that.
  ended({ stream, detail }) {
    this.lost.push({ stream, reason: detail });
    for (const names of [this.caught, this.catching, this.seen]) names.delete(stream);
    if (this.wanted.some((each) => fits(each, stream))) this.request({ streams: [stream] });
    this.progress();
  }

  // A link that says nothing is dead, though nobody closed it.
  listen(beat) {
    if (performance.now() - this.heardAt > SILENCE * beat) this.closed(this.socket, { code: HOLE, reason: "" });
  }

  hole(why) {
    this.socket.close(HOLE, why);
  }

  closed(socket, { code, reason }) {
    if (!socket || socket !== this.socket) return;
    socket.onmessage = null;
    socket.close?.();
    clearInterval(this.watch);
    Object.assign(this, { socket: null, welcomed: false });
    const said = spelt(reason);
    if ((code >= 4400 && code < 4500) || code === EXPIRED) {
      this.stopped = true;
      this.handlers.state("refused", said.code ?? String(code));
      this.handlers.closed(code, said.code ?? "");
      return;
    }
    const pause = said.retry_ms ?? Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.attempt);
    this.attempt += 1;
    this.handlers.state("lost", pause);
    this.pause = setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
  }
}

// Whether a stream's name is meant by a pattern, in which `*` stands for a segment.
function fits(pattern, name) {
  if (pattern === name) return true;
  const [parts, segments] = [pattern.split("."), segmentsOf(name)];
  return parts.length === segments.length && parts.every((part, place) => part === "*" || part === segments[place]);
}

// A symbol may have dots of its own: it is what is left.
function segmentsOf(name) {
  const parts = name.split(".");
  return parts.length > 4 ? [...parts.slice(0, 3), parts.slice(3).join(".")] : parts;
}

function spelt(reason) {
  try {
    return JSON.parse(reason) ?? {};
  } catch {
    return {};
  }
}
