// The newest row of each instrument and channel, told to the view once a frame.

import { nameOf } from "/static/words.js";

export class Market {
  // told(names): the instruments of which something is new
  constructor(told) {
    this.told = told;
    this.instruments = [];
    this.now = null;
    this.horizon = null;
    this.clear();
  }

  clear() {
    this.rows = new Map(); // name → { candle, prediction, signal }
    this.changed = new Set();
  }

  of(name) {
    if (!this.rows.has(name)) this.rows.set(name, {});
    return this.rows.get(name);
  }

  // A row of a stream; false where it is of another horizon.
  take(channel, row) {
    if (row.horizon !== undefined && row.horizon !== this.horizon) return false;
    const name = nameOf(row);
    const known = this.of(name);
    const kind = KINDS[channel];
    const at = channel === "candles" ? "open_time" : "as_of";
    if (known[kind]?.[at] > row[at]) return true;
    known[kind] = row;
    this.touch(name);
    return true;
  }

  touch(name) {
    if (!this.changed.size) requestAnimationFrame(() => this.flush());
    this.changed.add(name);
  }

  flush() {
    const names = this.changed;
    this.changed = new Set();
    if (names.size) this.told(names);
  }

  // The status is asked for now and then; what comes meanwhile says that time has gone on.
  heard(moment) {
    if (moment && !(this.now >= moment)) this.now = moment;
  }
}

const KINDS = { candles: "candle", predictions: "prediction", signals: "signal" };
