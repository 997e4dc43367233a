"""The page with the buttons, whole: it loads nothing from anywhere else."""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, user-scalable=no">
<meta name="color-scheme" content="light dark">
<title>dora_rt teleop</title>
<link rel="icon" href="data:,">
<style>
:root {
  --ground: #f4f5f3; --surface: #ffffff; --text: #1c211f; --quiet: #5d6863; --line: #dde1de;
  --accent: #1f7a5c; --warn: #b3541e; --stop: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131615; --surface: #1c201e; --text: #eaeeec; --quiet: #96a29c; --line: #2e3531;
    --accent: #52c79b; --warn: #f0975c; --stop: #d9534a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; min-height: 100dvh; background: var(--ground); color: var(--text);
  font: 15px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  user-select: none; -webkit-user-select: none; touch-action: none; overscroll-behavior: none;
  display: flex; flex-direction: column; align-items: center; gap: 16px; padding: 16px;
}
header { display: flex; gap: 12px; align-items: center; width: 100%; max-width: 420px; }
h1 { margin: 0; font-size: 17px; font-weight: 650; }
#state { margin-left: auto; color: var(--quiet); }
#state[data-state=driving] { color: var(--accent); }
#state[data-state=lost], #state[data-state=taken] { color: var(--warn); }
#pad { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; width: 100%;
  max-width: 420px; }
button {
  font: inherit; font-size: 28px; min-height: 88px; color: var(--text); background: var(--surface);
  border: 1px solid var(--line); border-radius: 14px; touch-action: none; cursor: pointer;
}
button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
button[data-held] { background: var(--accent); color: var(--ground); }
#stop { background: var(--stop); color: #fff; font-size: 20px; font-weight: 650; border: 0; }
label { display: flex; gap: 12px; align-items: center; width: 100%; max-width: 420px;
  color: var(--quiet); }
input { flex: 1; }
footer { max-width: 420px; color: var(--quiet); font-size: 13px; }
</style>
</head>
<body>
<header><h1>dora_rt teleop</h1>
<span id="state" role="status" data-state="">connecting</span></header>
<div id="pad">
  <button type="button" data-side="1" aria-label="Left">&#8678;</button>
  <button type="button" data-forward="1" aria-label="Forward">&#9650;</button>
  <button type="button" data-side="-1" aria-label="Right">&#8680;</button>
  <button type="button" data-turn="1" aria-label="Turn left">&#8634;</button>
  <button type="button" id="stop">STOP</button>
  <button type="button" data-turn="-1" aria-label="Turn right">&#8635;</button>
  <span></span>
  <button type="button" data-forward="-1" aria-label="Back">&#9660;</button>
  <span></span>
</div>
<label>Speed <input id="speed" type="range" min="5" max="100" value="50" aria-label="Speed"></label>
<footer>Hold a button to drive, or the keys W A S D, Q E, arrows. Let go to stop. The robot also
stops when this page is hidden or loses its connection.</footer>
<script>
"use strict";
const TOKEN = "%TOKEN%", $ = (id) => document.getElementById(id);
const page = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
const held = new Map();  // what is held: a pointer or a key, and its button or motion
const KEYS = {
  KeyW: {forward: 1}, ArrowUp: {forward: 1}, KeyS: {forward: -1}, ArrowDown: {forward: -1},
  KeyA: {turn: 1}, ArrowLeft: {turn: 1}, KeyD: {turn: -1}, ArrowRight: {turn: -1},
  KeyQ: {side: 1}, KeyE: {side: -1},
};
let number = 0, ticket = 0, isAsking = false, isAgain = false;

function motion() {
  const speed = $("speed").value / 100, sum = {forward: 0, side: 0, turn: 0};
  for (const part of held.values())
    for (const axis in sum) sum[axis] += speed * Number(part[axis] || 0);
  return sum;
}

function post(path, body) {
  return fetch(path, {
    method: "POST", body: JSON.stringify(body), keepalive: true, cache: "no-store",
    headers: {"X-Teleop-Token": TOKEN}, signal: AbortSignal.timeout(400),
  });
}

function show(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

const TEXTS = {driving: "driving", free: "ready", taken: "somebody else drives", late: "too slow"};

async function tell() {
  // One at a time: what waits in a slow network would arrive when it is no longer meant.
  if (isAsking) { isAgain = true; return; }
  isAsking = true;
  try {
    const answer = await post("/drive", {page, number: number++, ticket, ...motion()});
    if (!answer.ok) throw new Error(await answer.text());
    const said = await answer.json();
    ticket = said.ticket;
    show(said.state, TEXTS[said.state]);
  } catch (error) {
    show("lost", "no connection: stopped");
  }
  isAsking = false;
  if (isAgain) { isAgain = false; tell(); }
}

function let_go() {
  if (!held.size) return;
  held.clear();
  for (const button of document.querySelectorAll("[data-held]")) delete button.dataset.held;
  // Not by `tell`, which waits for its turn: the page may be gone by then.
  post("/drive", {page, number: number++, ticket, forward: 0}).catch(() => {});
  tell();
}

for (const button of document.querySelectorAll("#pad button:not(#stop)")) {
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    held.set(event.pointerId, button.dataset);
    button.dataset.held = "";
    tell();
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
    button.addEventListener(name, (event) => {
      if (!held.delete(event.pointerId)) return;
      delete button.dataset.held;
      tell();
    });
  button.addEventListener("contextmenu", (event) => event.preventDefault());
}
$("stop").addEventListener("pointerdown", () => { let_go(); post("/stop", {}).catch(() => {}); });
addEventListener("keydown", (event) => {
  if (event.code === "Space") {
    event.preventDefault(); let_go(); post("/stop", {}).catch(() => {});
  } else if (event.code in KEYS && !event.repeat && !event.ctrlKey && !event.metaKey) {
    event.preventDefault(); held.set(event.code, KEYS[event.code]); tell();
  }
});
addEventListener("keyup", (event) => { if (held.delete(event.code)) tell(); });
addEventListener("blur", let_go);
addEventListener("pagehide", let_go);
document.addEventListener("visibilitychange", () => { if (document.hidden) let_go(); });
let idle = 0;
setInterval(() => { if (held.size || idle++ % 5 === 0) tell(); }, 100);
tell();
</script>
</body>
</html>
"""
