// Parts of the record that several views ask for.

const EVENTS = 500; // of the newest decisions, over all panels
const GAPS = 200;
const CHANGES = ["promoted", "refreshed", "rolled_back", "retired", "demoted"];

export const gapsOf = (ask, of) => {
  const asked = new URLSearchParams(of);
  asked.set("limit", GAPS);
  return ask(`/v1/gaps?${asked}`);
};

// What was decided about models of a place, the newest first; none for a key that sees some instruments.
export async function allEvents(ask, { exchange, timeframe, horizon }) {
  const found = await ask(`/v1/streams/models/events?order=desc&limit=${EVENTS}`).catch(() => []);
  return found.map(({ data }) => data).filter((row) => row.timeframe === timeframe && row.horizon === horizon
    && (!exchange || row.exchange === exchange));
}

export const modelEvents = async (ask, place) => (await allEvents(ask, place)).filter(({ kind }) => CHANGES.includes(kind));
