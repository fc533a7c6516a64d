// Addresses of the views: what stands behind the `#`.

export const VIEWS = ["overview", "signals", "models", "data", "sentiment"];

// #/instrument/EXCHANGE/SYMBOL/TIMEFRAME, #/models/compare?a=…&b=…, #/signals …
export function parse(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  const asked = Object.fromEntries(new URLSearchParams(query ?? ""));
  if (parts[0] === "instrument" && parts.length >= 3) {
    return { view: "instrument", exchange: parts[1], symbol: parts[2], timeframe: parts[3] ?? null, asked };
  }
  if (parts[0] === "models" && parts[1] === "compare") return { view: "compare", asked };
  return { view: VIEWS.includes(parts[0]) ? parts[0] : "overview", asked };
}

export const toInstrument = ({ exchange, symbol }, timeframe) =>
  `#/instrument/${[exchange, symbol, timeframe].map(encodeURIComponent).join("/")}`;

export const toView = (view) => (view === "overview" ? "#/" : `#/${view}`);

export const toComparison = (asked) => `#/models/compare?${new URLSearchParams(asked)}`;

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
