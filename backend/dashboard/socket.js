// The live connection: subscribes, checks that nothing is missing, comes back by itself.

import { protocols } from "/static/access.js";

const LONGEST_PAUSE_MS = 10_000;

export class Live {
  // handlers: { frame(message), state(name, detail) }
  constructor(handlers) {
    this.handlers = handlers;
    this.streams = [];
    this.attempt = 0;
    this.socket = null;
  }

  want(streams) {
    const before = this.streams;
    this.streams = streams;
    if (this.socket?.readyState === WebSocket.OPEN) {
      if (before.length) this.ask("unsubscribe", { all: true });
      this.ask("subscribe", { streams, snapshot: true });
    } else if (!this.socket) {
      this.connect();
    }
  }

  ask(method, params) {
    this.socket.send(JSON.stringify({ id: method, method, params }));
  }

  async connect() {
    this.handlers.state("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = {}; // nobody else connects meanwhile
    let offered;
    try {
      offered = await protocols();
    } catch (error) {
      return error.final ? this.handlers.state("refused", error.message) : this.lost({ code: 0 });
    }
    const socket = new WebSocket(`${scheme}://${location.host}/ws`, offered);
    this.socket = socket;
    this.offsets = new Map();
    this.seq = 0;
    socket.onopen = () => {
      if (this.streams.length) this.ask("subscribe", { streams: this.streams, snapshot: true });
    };
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = (event) => this.lost(event);
  }

  receive(message) {
    if (message.seq !== this.seq++) return this.socket.close(4000, "a frame is missing");
    if (message.type === "snapshot") this.offsets.set(message.stream, message.offset);
    if (message.type === "update") {
      const expected = (this.offsets.get(message.stream) ?? message.offset - 1) + 1;
      if (message.offset !== expected) return this.socket.close(4000, "an event is missing");
      this.offsets.set(message.stream, message.offset);
    }
    if (message.type === "reply") {
      this.attempt = 0;
      this.handlers.state("live", message.result.streams.length);
    }
    if (message.type === "error") {
      this.handlers.state("waiting", message.error.detail);
      if (message.error.temporary) setTimeout(() => this.again(), 1_000);
    }
    this.handlers.frame(message);
  }

  again() {
    if (this.socket?.readyState === WebSocket.OPEN) this.ask("subscribe", { streams: this.streams, snapshot: true });
  }

  lost(event) {
    this.socket = null;
    if (event.code >= 4400 && event.code < 4500) return this.handlers.state("refused", event.reason);
    const pause = Math.min(LONGEST_PAUSE_MS, 300 * 2 ** this.attempt++) * (0.5 + Math.random() / 2);
    this.handlers.state("lost", pause);
    setTimeout(() => this.connect(), pause);
  }
}
