// Candles of one instrument with the band that was predicted for them and the signals given.

import {
  CandlestickSeries, ColorType, HistogramSeries, LineSeries, LineStyle, createChart, createSeriesMarkers,
} from "/static/vendor/lightweight-charts.standalone.production.mjs";
import { Band } from "/static/band.js";
import { decimals, price, seconds, stepOf } from "/static/words.js";

const KEPT = 600; // candles, and as many predictions
const MOST_MISSING = 1_000; // candles of gaps that are given room

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class MarketChart {
  constructor(container, timeframe) {
    this.step = stepOf(timeframe);
    this.chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: true, fontFamily: "inherit" },
      rightPriceScale: { borderVisible: false },
      timeScale: { timeVisible: true, secondsVisible: false, borderVisible: false, rightOffset: 3 },
      crosshair: { mode: 0 },
      localization: { priceFormatter: price },
    });
    this.shade = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "gaps", lastValueVisible: false, priceLineVisible: false,
    });
    this.chart.priceScale("gaps").applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
    this.band = this.chart.addCustomSeries(new Band(), {});
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false,
    });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.median = this.chart.addSeries(LineSeries, {
      lineWidth: 1, lineStyle: LineStyle.Dotted, priceLineVisible: false, lastValueVisible: false,
      crosshairMarkerVisible: false,
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.markers = createSeriesMarkers(this.candles, []);
    this.clear();
    this.paint();
    this.scheme = matchMedia("(prefers-color-scheme: light)");
    this.repaint = () => this.paint();
    this.scheme.addEventListener("change", this.repaint);
  }

  remove() {
    this.scheme.removeEventListener("change", this.repaint);
    this.chart.remove();
  }

  clear() {
    this.rows = new Map(); // open second → candle
    this.said = new Map(); // open second of the candle that ends the horizon → prediction
    this.signals = new Map();
    this.missing = []; // gaps that are not filled
    this.events = [];
  }

  paint() {
    const [up, down] = [colour("up"), colour("down")];
    this.chart.applyOptions({
      layout: { background: { type: ColorType.Solid, color: colour("card") }, textColor: colour("quiet") },
      grid: { vertLines: { color: colour("grid") }, horzLines: { color: colour("grid") } },
    });
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.median.applyOptions({ color: colour("accent") });
    this.band.applyOptions({ fill: colour("band") });
    this.volume.applyOptions({ color: colour("line") });
    this.shade.applyOptions({ color: colour("hole") });
    this.drawMarkers();
  }

  load({ candles, predictions, signals, gaps = [], events = [] }) {
    this.clear();
    this.missing = gaps.filter(({ state }) => state !== "filled");
    this.events = events;
    for (const row of candles) this.rows.set(seconds(row.open_time), row);
    for (const row of predictions) this.keep(row);
    for (const row of signals) this.signals.set(this.signalKey(row), row);
    this.draw();
    this.chart.timeScale().setVisibleLogicalRange({ from: this.rows.size - 110, to: this.rows.size + 7 });
  }

  keep(row) {
    const step = stepOf(row.timeframe);
    this.said.set(seconds(row.as_of) + (row.horizon - 1) * step, row);
  }

  signalKey(row) {
    return `${row.as_of} ${row.horizon} ${row.revision}`;
  }

  draw() {
    trim(this.rows);
    trim(this.said);
    const rows = [...this.rows.entries()].sort(([a], [b]) => a - b);
    const close = rows.at(-1)?.[1].close;
    if (close) {
      const precision = decimals(close);
      const priceFormat = { type: "price", precision, minMove: 10 ** -precision };
      for (const series of [this.candles, this.band, this.median]) series.applyOptions({ priceFormat });
    }
    const holes = this.holes(rows.at(0)?.[0], rows.at(-1)?.[0]);
    const drawn = [...rows.map(([time, row]) => ({ time, open: row.open, high: row.high, low: row.low, close: row.close })),
      ...holes.map((time) => ({ time }))];
    this.candles.setData(drawn.sort((a, b) => a.time - b.time));
    this.shade.setData(holes.map((time) => ({ time, value: 1 })));
    this.volume.setData(rows.map(([time, row]) => ({ time, value: row.volume })));
    this.drawBand();
    this.drawMarkers();
  }

  // Where candles are missing there is room for them, so that time runs evenly.
  holes(first, last) {
    const times = new Set();
    for (const gap of this.missing) {
      const end = Math.min(seconds(gap.to), last);
      for (let time = Math.max(seconds(gap.from), first); time < end && times.size < MOST_MISSING; time += this.step) {
        if (!this.rows.has(time)) times.add(time);
      }
    }
    return [...times];
  }

  changes(events) {
    this.events = events;
    this.drawMarkers();
  }

  drawBand() {
    const drawn = [];
    for (const [time, row] of [...this.said.entries()].sort(([a], [b]) => a - b)) {
      const from = this.rows.get(seconds(row.as_of) - stepOf(row.timeframe))?.close;
      if (from && row.q10 !== null) {
        drawn.push({ time, low: from * Math.exp(row.q10), high: from * Math.exp(row.q90), middle: from * Math.exp(row.q50) });
      }
    }
    this.band.setData(drawn);
    this.median.setData(drawn.map(({ time, middle }) => ({ time, value: middle })));
  }

  drawMarkers() {
    const drawn = new Map(); // those of a candle that look alike are one, with their number
    const add = (time, marker) => {
      if (!this.rows.has(time)) return;
      const key = [time, marker.shape, marker.color].join();
      const alike = drawn.get(key) ?? { time, ...marker, count: 0 };
      alike.count += 1;
      if (alike.count > 1) alike.text = String(alike.count);
      drawn.set(key, alike);
    };
    for (const row of this.signals?.values() ?? []) {
      if (row.side === "flat") continue;
      const long = row.side === "long";
      add(seconds(row.as_of), {
        position: long ? "belowBar" : "aboveBar", shape: long ? "arrowUp" : "arrowDown", color: colour(long ? "up" : "down"),
      });
      if (row.closed_at) {
        add(seconds(row.closed_at) - stepOf(row.timeframe), {
          position: long ? "aboveBar" : "belowBar", shape: "circle", size: 0.7,
          color: colour(row.realized_return > 0 ? "up" : "down"),
        });
      }
    }
    for (const row of this.events ?? []) {
      add(seconds(row.at) - this.step, { position: "aboveBar", shape: "square", color: colour("accent"), size: 0.8 });
    }
    this.markers.setMarkers([...drawn.values()].sort((a, b) => a.time - b.time));
  }

  candle(row) {
    this.rows.set(seconds(row.open_time), row);
  }

  prediction(row) {
    this.keep(row);
  }

  signal(row) {
    this.signals.set(this.signalKey(row), row);
  }
}

function trim(map) {
  if (map.size <= KEPT) return;
  const times = [...map.keys()].sort((a, b) => a - b);
  for (const time of times.slice(0, map.size - KEPT)) map.delete(time);
}
