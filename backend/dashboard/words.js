// Codes as a person would say them, and numbers as a person would read them.

// code of `degraded` or of a gate → what a chip says, and what that means
const SAID = {
  warming_up: ["warming up", "too few candles: the features are not known yet"],
  late: ["late", "made after the next candle had closed: it opens no signal"],
  gap: ["gap in the candles", "candles are missing among those that the features need"],
  stale: ["stale input", "an input is older than it should be"],
  drift: ["drift", "the inputs have left what the models were fitted on"],
  "no_skill.direction": ["no proven direction skill", "the class frequencies are served instead of the models, and signals stay flat"],
  "no_skill.quantiles": ["baseline quantiles", "the models have too short a record, or a worse one: the baseline is served; signals go on"],
  "no_skill.volatility": ["baseline volatility", "the models have too short a record, or a worse one: EWMA or HAR is served; signals go on"],
  unknown: ["a value is unknown", "odds, interval or volatility are missing"],
  probability: ["odds too even", "up and down are nearly as likely"],
  cost: ["gain below cost", "the move that is expected does not pay for the trade"],
  interval: ["interval too narrow", "even the favourable end of the 80 % interval does not pay for the trade"],
  agreement: ["models disagree", "too few of the models lean to the same side"],
  "refused.cash": ["the equity does not suffice"],
  "refused.currency": ["quoted in another currency"],
  "refused.minimum": ["less than the least notional or lot"],
  "refused.size": ["nothing is staked: too little is proven"],
  spot_short: ["no shorts on spot", "down is likelier, and what is not held cannot be sold"],
};

export const inWords = (code) => SAID[code]?.[0] ?? code.replaceAll("_", " ");

export const meaning = (code) => SAID[code]?.[1] ?? "";

export const NOT_KNOWN = "not known";

export const known = (value) => value !== null && value !== undefined;

export function decimals(price) {
  return price > 0 ? Math.min(8, Math.max(0, 4 - Math.floor(Math.log10(price)))) : 2;
}

// Made once: toLocaleString makes one at each call.
const spelt = Array.from({ length: 9 }, (_, digits) =>
  new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));

export const price = (value) => (known(value) ? spelt[decimals(value)].format(value) : NOT_KNOWN);

export const percent = (value, digits = 2) => (known(value) ? `${(100 * value).toFixed(digits)} %` : NOT_KNOWN);

export const signed = (value, digits = 2) =>
  known(value) ? `${sign(value, digits)}${Math.abs(100 * value).toFixed(digits)} %` : NOT_KNOWN;

const sign = (value, digits) => {
  const shown = Number((100 * value).toFixed(digits));
  return shown > 0 ? "+" : shown < 0 ? "−" : "";
};

export const count = (value) => (known(value) ? spelt[0].format(Math.round(value)) : NOT_KNOWN);

export const figure = (value) => (known(value) ? Number(value).toPrecision(4).replace("-", "−") : NOT_KNOWN);

export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const milliseconds = (us) => (known(us) ? `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms` : NOT_KNOWN);

export const moment = (text) => (text ? `${text.slice(5, 10)} ${text.slice(11, 16)}` : NOT_KNOWN);

export const seconds = (text) => Date.parse(text) / 1000;

const UNIT = { m: 60, h: 3600, d: 86400 };

export const stepOf = (timeframe) => Number(timeframe.slice(0, -1)) * UNIT[timeframe.slice(-1)];

export const nameOf = (row) => `${row.exchange}:${row.symbol}`;
