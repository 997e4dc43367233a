"""The web page, whole: it loads nothing from anywhere else."""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>dora_rt plot</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%231f7a5c'/%3E%3Crect \
x='4' y='5' width='8' height='6' rx='1' fill='none' stroke='white' \
stroke-width='1.5'/%3E%3C/svg%3E">
<style>
:root {
  --ground: #f4f5f3; --surface: #ffffff; --text: #1c211f; --quiet: #5d6863; --line: #dde1de;
  --accent: #1f7a5c; --warn: #b3541e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131615; --surface: #1c201e; --text: #eaeeec; --quiet: #96a29c; --line: #2e3531;
    --accent: #52c79b; --warn: #f0975c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; min-height: 100dvh; display: flex; flex-direction: column;
  background: var(--ground); color: var(--text);
  font: 15px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
header, main, footer { width: 100%; max-width: 1280px; margin: 0 auto; padding: 0 20px; }
header { display: flex; align-items: center; gap: 12px; padding-top: 16px; padding-bottom: 12px; }
h1 { margin: 0; white-space: nowrap; font-size: 17px; font-weight: 650; letter-spacing: -.01em; }
#state { display: inline-flex; align-items: center; gap: 7px; color: var(--quiet); }
#state::before {
  content: ""; width: 8px; height: 8px; border-radius: 50%; background: currentColor;
}
#state[data-state=live] { color: var(--accent); }
#state[data-state=lost] { color: var(--warn); }
nav { margin-left: auto; display: flex; gap: 8px; }
a, button {
  font: inherit; color: var(--text); background: var(--surface); border: 1px solid var(--line);
  border-radius: 8px; padding: 6px 12px; text-decoration: none; white-space: nowrap;
  cursor: pointer;
}
a:hover, button:hover { border-color: var(--quiet); }
a:focus-visible, button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
figure {
  margin: 0; position: relative; border-radius: 12px; overflow: hidden; background: #0b0d0c;
  display: flex; align-items: center; justify-content: center;
  aspect-ratio: var(--ratio, 4 / 3); max-height: calc(100vh - 200px); width: 100%;
}
figure img { width: 100%; height: 100%; object-fit: contain; display: block; }
figure img:not([src]) { visibility: hidden; }
figure p {
  position: absolute; inset: 0; margin: 0; display: grid; place-items: center; text-align: center;
  padding: 20px; color: #c3ccc7; background: rgb(11 13 12 / .72);
}
figure:fullscreen { border-radius: 0; max-height: none; }
[hidden] { display: none !important; }
dl {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); margin: 12px 0 0;
  background: var(--surface); border: 1px solid var(--line); border-radius: 12px;
}
dl div { padding: 11px 16px 12px; }
dl div + div { border-left: 1px solid var(--line); }
dt { color: var(--quiet); font-size: 13px; }
dd { margin: 1px 0 0; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
dd small { font-size: 14px; font-weight: 400; color: var(--quiet); }
footer { padding-top: 12px; padding-bottom: 18px; color: var(--quiet); font-size: 13px; }
@media (max-width: 640px) {
  header, main, footer { padding-left: 12px; padding-right: 12px; }
  header { gap: 10px; }
  nav { gap: 6px; }
  a, button { padding: 6px 9px; font-size: 14px; }
  figure { max-height: none; border-radius: 10px; }
  dl { grid-template-columns: 1fr 1fr; }
  dl div + div { border-left: 0; }
  dl div:nth-child(even) { border-left: 1px solid var(--line); }
  dl div:nth-child(n + 3) { border-top: 1px solid var(--line); }
  dl div:last-child:nth-child(odd) { grid-column: 1 / -1; }
}
</style>
</head>
<body>
<header>
  <h1>dora_rt plot</h1>
  <span id="state" role="status" data-state="waiting">waiting</span>
  <nav>
    <a href="/snapshot.jpg" download="snapshot.jpg">Snapshot</a>
    <button id="full" type="button">Full screen</button>
  </nav>
</header>
<main>
  <figure id="view">
    <img id="picture" alt="The camera's picture, with boxes around what was found">
    <p id="note">Waiting for the first picture</p>
  </figure>
  <dl>
    <div><dt>Rate</dt><dd><span id="fps">&ndash;</span> <small>fps</small></dd></div>
    <div><dt>Latency, median</dt><dd><span id="latency_p50_ms">&ndash;</span>
      <small>ms</small></dd></div>
    <div><dt>Objects in view</dt><dd id="objects">&ndash;</dd></div>
    <div><dt>Pictures shown</dt><dd id="frames">&ndash;</dd></div>
    <div><dt>Dropped on the way</dt><dd id="drops">&ndash;</dd></div>
  </dl>
</main>
<footer><span id="size"></span>Latency is from the camera to this page's program.</footer>
<script>
"use strict";
const $ = (id) => document.getElementById(id);
let seen = -1, seenAt = 0, isStreaming = false;

function stream() {
  $("picture").src = "/stream.mjpg?" + Date.now();
  isStreaming = true;
}

function say(state, text, note) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").dataset.state = state;
  $("note").textContent = note || "";
  $("note").hidden = !note;
}

function show(status) {
  for (const id of ["fps", "latency_p50_ms", "objects", "frames", "drops"]) {
    const digits = id === "fps" || (id === "latency_p50_ms" && status[id] < 100) ? 1 : 0;
    $(id).textContent = status[id].toLocaleString("en", {
      minimumFractionDigits: digits, maximumFractionDigits: digits,
    });
  }
  if (status.width) {
    $("view").style.setProperty("--ratio", status.width + " / " + status.height);
    $("size").textContent = status.width + " \\u00d7 " + status.height + " pixels. ";
  }
}

async function look() {
  try {
    const answer = await fetch("/status.json", {
      cache: "no-store", signal: AbortSignal.timeout(3000),
    });
    const status = await answer.json();
    show(status);
    if (!isStreaming) stream();
    if (status.frames !== seen) { seen = status.frames; seenAt = Date.now(); }
    if (!status.frames) say("waiting", "waiting", "Waiting for the first picture");
    else if (Date.now() - seenAt > 3000) say("waiting", "no new pictures");
    else say("live", "live");
  } catch {
    isStreaming = false;
    seen = -1;
    say("lost", "ended", "The dataflow has ended. This page goes on when it runs again.");
  }
  setTimeout(look, 1000);
}

$("picture").addEventListener("error", () => { isStreaming = false; });
$("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("view").requestFullscreen();
});
if (!document.fullscreenEnabled) $("full").hidden = true;
look();
</script>
</body>
</html>
"""
