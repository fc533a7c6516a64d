// The key that this page shows, where the server asks for one; the tab keeps it, and forgets it.

import { $ } from "/static/dom.js";

const STORED = "alphapulse.key";
const key = () => sessionStorage.getItem(STORED);

export const bearer = () => (key() ? { authorization: `Bearer ${key()}` } : {});

// A handshake cannot carry a key: a ticket goes in its place, good for one connection.
export async function protocols() {
  if (!key()) return ["alphapulse.v1.json"];
  const answer = await fetch("/v1/ws-tickets", { method: "POST", headers: bearer() });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.detail), { final: !body.temporary });
  return ["alphapulse.v1.json", `alphapulse.ticket.${body.data[0].ticket}`];
}

// Nothing more is asked of the server until somebody has entered another.
export function askForKey(why) {
  $("key-why").textContent = key() ? `${why}.` : "This server shows its data to holders of a key.";
  $("key").hidden = false;
  $("key").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORED, $("key-text").value.trim());
    location.reload();
  };
}
