"use strict";

const PERIOD_MS = 500, RUNS_MS = 2000, LOG_MS = 700, PATIENCE_MS = 4000;
const KEPT_POINTS = 240, LEAST_POINTS = 40, LOG_CHARACTERS = 200000, EVERY = "*", CLASSES = 8, FEW_EDGES = 8;
const LEAST_SCALE = 0.72;
const SVG = "http://www.w3.org/2000/svg";
const narrow = matchMedia("(max-width: 640px)");

const $ = (selector, within = document) => within.querySelector(selector);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const draw = (tag, attributes = {}) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
// Only what has changed: a screen reader would read the same again.
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

let lastAnswer = performance.now(), farewell = null;
const NOTHING = [null, null, null]; // of an edge of a machine that was not there yet
let shown = null; // { run, chosen, at, points, hasGraph, log, ... } of the run that is on the page
let runs = [];

const address = (path) => `/api/runs/${shown.run}/${path}`;
const get = (path) => fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });

function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  if (ns >= 1e9) return `${(ns / 1e9).toFixed(ns >= 1e11 ? 0 : 1)} s`;
  if (ns >= 1e6) return `${(ns / 1e6).toFixed(ns >= 1e8 ? 0 : 1)} ms`;
  return `${(ns / 1e3).toFixed(0)} us`;
}
const rate = (hz) => (hz === null ? "–" : `${hz.toFixed(1)} Hz`);
const count = (number) => number.toLocaleString("en");
function clock(seconds) {
  const whole = Math.floor(seconds), pad = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${pad(whole % 60)}`
    : `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(whole % 60)}`;
}

function say(state, text) {
  $("#state").dataset.state = document.body.dataset.state = state;
  write($("#state"), text);
}
function complain(text) {
  write($("#notice"), text);
  $("#notice").hidden = !text;
}

/* Which run */

async function lookForRuns() {
  try {
    const answer = await get("/api/runs");
    if (!answer.ok) throw new Error(await answer.text());
    runs = (await answer.json()).runs;
    showChoice();
    const living = runs.filter((run) => run.state !== "ended");
    const hasEnded = shown && !living.some((run) => run.run === shown.run);
    if (living.length && (!shown || (hasEnded && !shown.chosen))) show(living.at(-1).run, false);
    else if (!shown && runs.length) show(runs.at(-1).run, false);
    else if (!shown) say("waiting", "no dataflow runs");
    hear();
    $("#none").hidden = Boolean(shown);
    $("main").hidden = !shown;
  } catch (error) {
    if (!shown) sayLost();
  }
  setTimeout(lookForRuns, RUNS_MS);
}

function showChoice() {
  const names = runs.map((run) => `${run.run} ${run.state}`).join();
  $("#choice").hidden = runs.length < 2;
  // The choice has the name already.
  $("#file").hidden = runs.length > 1;
  if ($("#runs").dataset.names === names) return;
  $("#runs").dataset.names = names;
  $("#runs").replaceChildren(...runs.map((run) => make("option", { value: run.run },
    `${run.file.split("/").pop()} (${run.run}${run.state === "ended" ? ", ended" : ""})`)));
  if (shown) $("#runs").value = shown.run;
}

function show(run, chosen) {
  if (shown) for (const view of shown.views.values()) view.isOpen = false;
  shown = { run, chosen, at: 0, points: [], graph: null, zoom: null, scale: 1, status: null, views: new Map(), log: null, failed: [] };
  $("#runs").value = run;
  complain("");
  $("#log").textContent = "";
  $("#log-node").replaceChildren();
  $("#pictures .list").replaceChildren();
  $("#pictures").hidden = true;
  for (const list of document.querySelectorAll("section ul")) list.replaceChildren();
}

/* Whether somebody is there */

function hear() {
  const now = performance.now();
  lastAnswer = now;
  // One that answers long after it said goodbye is another one.
  if (isFarewell() && now - farewell.at > PATIENCE_MS) farewell = null;
  if (!farewell) listenForFarewell();
}
const isFarewell = () => farewell !== null && farewell !== "listening";

// One request that is answered only when the dashboard ends: then it is no gap of the network.
async function listenForFarewell() {
  farewell = "listening";
  try {
    const answer = await fetch("/api/farewell", { cache: "no-store" });
    farewell = answer.ok ? { ...await answer.json(), at: performance.now() } : null;
  } catch (error) {
    farewell = null; // the network was away: ask again when it is back
  }
}

function sayLost() {
  const isOver = isFarewell();
  const seconds = Math.round((performance.now() - lastAnswer) / 1000);
  if (isOver && (!shown || shown.isOver || farewell.runs[shown.run] !== "running")) {
    if (shown) shown.isOver = true;
    say("ended", shown ? "the run and its dashboard have ended" : "the dashboard has ended");
    if (shown && shown.status) { showNodes(shown.status); showResult(shown.status); }
  } else if (isOver) say("lost", "the dashboard has ended; the run goes on");
  else say("lost", `connection lost, trying again (last seen ${seconds} s ago)`);
  for (const button of document.querySelectorAll("#nodes button, #stop")) button.disabled = true;
}

/* What it does */

async function look() {
  const mine = shown;
  try {
    if (mine) {
      const answer = await get(`${address("status")}?since=${mine.at}`);
      if (answer.ok && mine === shown) {
        const status = await answer.json();
        hear();
        if (mine === shown) await showStatus(status);
      }
    }
  } catch (error) {
    if (mine && mine === shown) sayLost();
  }
  setTimeout(look, PERIOD_MS);
}

async function showStatus(status) {
  const mine = shown;
  mine.at = status.at;
  mine.points = [...mine.points, ...status.points].slice(-KEPT_POINTS);
  mine.isOver = status.state === "ended";
  mine.status = status;
  write($("#file"), `${status.file.split("/").pop()} · ${status.run}`);
  $("#file").title = status.file;
  document.title = `${status.file.split("/").pop()} – dora_rt`;
  const failed = status.processes.filter((process) => process.state === "failed").length;
  $("#state").toggleAttribute("data-failed", failed > 0);
  const about = status.state === "ended" ? "ended" : `${status.state} ${clock(status.running_s)}`;
  say(status.state, failed ? `${about} · ${failed} failed` : about);
  $("#stop").disabled = status.state !== "running" && status.state !== "starting";
  showNodes(status);
  showEdges(status);
  showResult(status);
  showPictures(status);
  showLogChoice(status);
  showParameters(status);
  await showGraph(status);
}

// At the end: what failed, and why. The terminal of the launcher may be on another machine.
function showResult(status) {
  if (!shown.isOver) return;
  const failed = status.processes.filter((process) => process.state === "failed");
  const list = failed.map((process) => `${process.name} (${process.ending.replace(/^failed: /, "")})`);
  if (failed.length) complain(`failed: ${list.join(", ")}`);
}

async function showGraph(status) {
  const mine = shown, kind = narrow.matches ? "?down" : "";
  if (mine.graph !== kind) {
    mine.graph = kind;
    const answer = await get(address(`graph.svg${kind}`));
    const picture = new DOMParser().parseFromString(await answer.text(), "image/svg+xml");
    if (mine !== shown) return;
    $("#graph .scroll").replaceChildren(document.importNode(picture.documentElement, true));
  }
  const drawing = $("#graph svg");
  if (!drawing) return;
  scaleGraph();
  for (const process of status.processes) {
    for (const box of drawing.querySelectorAll(`.box[data-process="${CSS.escape(process.name)}"]`)) {
      const state = mine.isOver && isAlive(process) ? "ended" : process.state;
      box.dataset.state = state;
      const isBusy = state === "running" && process.cpu_percent !== null;
      write($(".note", box), isBusy ? `${process.cpu_percent.toFixed(0)} % CPU` : state);
      if (!box.onclick) box.onclick = () => showLogOf(process.name);
    }
  }
  for (const edge of status.edges) {
    const key = CSS.escape(`${edge.source} ${edge.target}`);
    for (const part of drawing.querySelectorAll(`[data-edge="${key}"]`)) {
      part.dataset.flow = edge.dropped_hz > 0 ? "drops" : edge.rate_hz > 0 ? "flows" : "stands";
    }
    const label = $(`.label[data-edge="${key}"]`, drawing);
    if (!label || edge.rate_hz === null) continue;
    const latency = edge.p50_ns === null ? "" : ` · ${duration(edge.p50_ns)} / ${duration(edge.p99_ns)}`;
    write($(".value", label), rate(edge.rate_hz) + latency);
    write($(".dropped", label), edge.dropped ? `${count(edge.dropped)} dropped` : "");
  }
}

// Whole if that leaves it readable; else it is scrolled, or zoomed by hand.
function scaleGraph() {
  const drawing = $("#graph svg"), area = $("#graph .scroll");
  if (!drawing) return;
  const { width, height } = drawing.viewBox.baseVal;
  const fit = Math.min(area.clientWidth / width, 1);
  const scale = shown.zoom === "fit" ? fit : shown.zoom || Math.max(fit, LEAST_SCALE);
  drawing.style.width = `${Math.round(width * scale)}px`;
  $("#zoom").hidden = fit === 1 && !shown.zoom;
  write($("#zoom-now"), `${Math.round(scale * 100)} %`);
  shown.scale = scale;
  $("#zoom-fit").setAttribute("aria-pressed", String(Math.abs(scale - fit) < 0.005));
  showGraphEdges();
}
function zoom(factor) {
  shown.zoom = factor === "fit" ? "fit" : Math.min(Math.max(shown.scale * factor, 0.15), 2);
  scaleGraph();
}
// A shadow where there is more.
function showGraphEdges() {
  const area = $("#graph .scroll"), left = area.scrollLeft;
  area.toggleAttribute("data-more-left", left > 2);
  area.toggleAttribute("data-more-right", left + area.clientWidth < area.scrollWidth - 2);
}

const isAlive = (process) => !["failed", "ended"].includes(process.state)
  && !process.state.startsWith("stopped");

function rows(list, keys, fill) {
  if (list.dataset.keys !== keys.join() || list.children.length !== keys.length) {
    list.dataset.keys = keys.join();
    list.replaceChildren(...keys.map(fill));
  }
  return [...list.children];
}

function whatGoesOn(name) {
  const others = shown.status.processes.filter((process) => process.name !== name && isAlive(process));
  return others.length ? "The rest of the run goes on." : "It is the last one: the run ends with it.";
}

function showNodes(status) {
  const total = (key) => status.processes.reduce((sum, process) => sum + (process[key] || 0), 0);
  const memory = `${(total("rss_nbytes") / 2 ** 20).toFixed(0)} MiB`;
  write($("#nodes h2 small"), shown.isOver ? "" : `${status.processes.length} · `
    + `${total("cpu_percent").toFixed(0)} % CPU · ${memory} in all`);
  const names = status.processes.map((process) => process.name);
  const items = rows($("#nodes ul"), names, (name) => {
    const buttons = ["Restart", "Stop"].map((verb) => {
      const button = make("button", { type: "button", "aria-label": `${verb} ${name}` }, verb);
      button.addEventListener("click", () => (verb === "Stop"
        ? ask(`Stop the node ${name}? ${whatGoesOn(name)}`, () => act("stop", name))
        : act("restart", name)));
      return button;
    });
    const title = make("b");
    title.textContent = name;
    return make("li", {}, make("span", { class: "name" }, title), make("span", { class: "said quiet" }),
      make("span", { class: "numbers quiet" }, make("b"), make("span")),
      make("span", { class: "buttons" }, ...buttons));
  });
  status.processes.forEach((process, number) => {
    const item = items[number];
    const isOver = process.state === "failed" || process.state === "ended";
    const endsWithRun = shown.isOver && isAlive(process);
    item.dataset.state = endsWithRun ? "ended" : process.state;
    const parts = [endsWithRun ? "ended with the run" : isOver && process.ending ? process.ending : process.state];
    if (process.restarts) parts.push(`restarted ${process.restarts}×`);
    if (process.ending && !isOver) parts.push(`last: ${process.ending}`);
    write($(".said", item), parts.join(" · "));
    const isThere = process.pid !== null && !shown.isOver;
    const cpu = process.cpu_percent;
    write($(".numbers b", item), isThere && cpu !== null ? `${cpu.toFixed(0)} % CPU ` : "");
    write($(".numbers span", item), isThere ? `${(process.rss_nbytes / 2 ** 20).toFixed(0)} MiB` : "");
    const [restart, stop] = item.querySelectorAll("button");
    const isStuck = status.state !== "running" && status.state !== "starting";
    restart.disabled = isStuck || process.is_dynamic;
    stop.disabled = isStuck || (!isThere && !process.state.startsWith("waiting"));
  });
}

function showEdges(status) {
  const keys = status.edges.map((edge) => `${edge.source} ${edge.target}`);
  const items = rows($("#edges ul"), keys, (key, number) => {
    const edge = status.edges[number];
    const name = make("span", { class: "name", title: `${edge.source} → ${edge.target}` });
    // A long name is broken where its parts meet.
    const parts = (port) => port.split("/").flatMap((part, at) => (at ? ["/", make("wbr"), part] : [part]));
    name.append(...parts(edge.source), make("i", {}, " → "), make("wbr"), ...parts(edge.target));
    const chart = draw("svg", { viewBox: "0 0 240 40", preserveAspectRatio: "none", role: "img" });
    for (const kind of ["spread", "ninety", "median"]) chart.append(draw("path", { class: kind }));
    const box = make("span", { class: "chart" });
    box.append(chart, make("small", { title: "the highest here", "aria-hidden": "true" }));
    const cells = ["rate", "latency", "age", "queue", "drops"].map((kind) => make("span", { class: kind }));
    return make("li", {}, name, ...cells, box);
  });
  status.edges.forEach((edge, number) => {
    const item = items[number];
    const [hz, latency, age, queue, drops] = item.querySelectorAll(":scope > span:not(.name, .chart)");
    write(hz, edge.is_local ? "local" : rate(edge.rate_hz));
    write(latency, edge.p50_ns === null ? "–" : `${duration(edge.p50_ns)} / ${duration(edge.p99_ns)}`);
    write(age, edge.age_p50_ns === null ? "–" : `${duration(edge.age_p50_ns)} / ${duration(edge.age_p99_ns)}`);
    write(queue, edge.waiting === null ? "–" : `${edge.waiting} / ${edge.queue_size}`);
    queue.title = `waiting in the queue, and how many fit (${edge.queue_policy})`;
    write(drops, edge.dropped ? count(edge.dropped) : edge.dropped === null ? "–" : "0");
    item.dataset.drops = edge.dropped_hz > 0 ? "now" : edge.dropped ? "once" : "never";
    showChart($("svg", item), shown.points.map((point) => point[number] || NOTHING), edge);
  });
  sift();
}

// Of many edges only those that are looked for, or that have trouble.
function sift() {
  const items = [...$("#edges ul").children];
  const wanted = $("#edge-filter").value.trim().toLowerCase(), order = $("#edge-order").value;
  $("#edges .bar").hidden = items.length <= FEW_EDGES;
  $("main").toggleAttribute("data-many", items.length > FEW_EDGES);
  const edges = shown.status.edges;
  const key = { drops: "dropped", latency: "p99_ns", age: "age_p99_ns", rate: "rate_hz" }[order];
  items.forEach((item, number) => {
    const edge = edges[number], name = `${edge.source} → ${edge.target}`.toLowerCase();
    const has = name.includes(wanted) && (order !== "drops" || edge.dropped > 0);
    item.hidden = items.length > FEW_EDGES && !has;
    item.style.order = key ? String(-Math.round((edge[key] || 0) / (key.endsWith("_ns") ? 1000 : 0.1))) : "";
  });
  const seen = items.filter((item) => !item.hidden).length;
  write($("#edges h2 small"), seen < items.length ? `${seen} of ${items.length}` : `${items.length}`);
}

function showChart(chart, points, edge) {
  const wide = Math.max(points.length, LEAST_POINTS) - 1;
  const known = points.map(([, p50, p99], at) => (
    { at: (240 * (wide - points.length + 1 + at) / wide).toFixed(1), p50, p99 }))
    .filter((point) => point.p50 !== null);
  const most = Math.max(...known.map((point) => point.p99), 1);
  const high = (ns) => (38 - 36 * (ns / most)).toFixed(1);
  const line = (of) => known.map((point) => `${point.at},${high(of(point))}`).join("L");
  const median = line((point) => point.p50), ninety = line((point) => point.p99);
  const back = [...known].reverse().map((point) => `${point.at},${high(point.p50)}`).join("L");
  $(".median", chart).setAttribute("d", known.length > 1 ? `M${median}` : "");
  $(".ninety", chart).setAttribute("d", known.length > 1 ? `M${ninety}` : "");
  $(".spread", chart).setAttribute("d", known.length > 1 ? `M${ninety}L${back}Z` : "");
  write(chart.nextSibling, known.length ? duration(most) : "");
  chart.setAttribute("aria-label", `Latency of ${edge.source} to ${edge.target}: `
    + `median ${duration(edge.p50_ns)}, 99th percentile ${duration(edge.p99_ns)}`);
}

/* Pictures */

function showPictures(status) {
  const list = $("#pictures .list");
  $("#pictures").hidden = !shown.views.size && !status.pictures.length;
  for (const source of status.pictures) {
    if (shown.views.has(source)) continue;
    const image = make("img", { alt: `Live picture of ${source}` });
    const boxes = draw("svg", { "aria-hidden": "true" });
    const about = make("span", { class: "quiet" });
    const view = make("div", { class: "view", title: "click: as large as the screen" });
    view.addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : view.requestFullscreen()));
    view.append(image, boxes);
    const caption = make("figcaption", {}, make("span", {}, source), about);
    list.append(make("figure", {}, view, caption));
    const entry = { source, isOpen: true, number: 0, view, image, boxes, about };
    shown.views.set(source, entry);
    follow(entry, shown);
  }
}

async function follow(entry, mine) {
  while (entry.isOpen && mine === shown) {
    if (document.hidden || mine.isOver) {
      await new Promise((wake) => setTimeout(wake, PERIOD_MS));
      continue;
    }
    try {
      const source = entry.source.split("/").map(encodeURIComponent).join("/");
      const answer = await get(`/api/runs/${mine.run}/pictures/${source}?after=${entry.number}`);
      if (answer.status === 200) {
        const about = JSON.parse(answer.headers.get("Dora-Rt-Picture"));
        await showPicture(entry, about, await answer.blob());
      } else if (answer.status !== 204) throw new Error(answer.statusText);
    } catch (error) {
      await new Promise((wake) => setTimeout(wake, PERIOD_MS));
    }
  }
}

function drawFound(about, width, size) {
  const all = (name, shape) => (about[name] || []).flatMap(shape);
  const colour = (one) => `c${Math.abs(one.class) % CLASSES}`;
  const write = (one, left, right, top) => {
    const label = `${one.label} ${one.confidence.toFixed(2)}`;
    const isAtEdge = left + label.length * size * 0.65 > width;
    const text = draw("text", { x: isAtEdge ? right : left, "font-size": size, class: colour(one),
      y: top > size * 1.3 ? top - size * 0.35 : top + size, "text-anchor": isAtEdge ? "end" : "start" });
    text.textContent = label;
    return text;
  };
  return [
    ...all("outlines", (mask) => draw("polygon", { points: mask.corners, class: `mask ${colour(mask)}` })),
    ...all("boxes", (box) => {
      const [left, top, right, bottom] = box.corners;
      const sides = { x: left, y: top, width: right - left, height: bottom - top };
      return [draw("rect", { ...sides, class: colour(box) }), write(box, left, right, top)];
    }),
    ...all("turned", (box) => {
      const places = [0, 2, 4, 6].map((at) => box.corners.slice(at, at + 2));
      const [left, top] = places.reduce((first, second) => (second[1] < first[1] ? second : first));
      return [draw("polygon", { points: box.corners, class: colour(box) }), write(box, left, left, top)];
    }),
    ...all("bones", (bone) => {
      const [x1, y1, x2, y2] = bone.corners;
      return draw("line", { x1, y1, x2, y2, class: colour(bone) });
    }),
    ...all("points", (one) => one.corners.flatMap((x, at) => (at % 2 ? [] : draw("circle",
      { cx: x, cy: one.corners[at + 1], r: size / 4, class: colour(one) })))),
    ...all("classes", (one) => write(one, size / 2, width, (about.classes.indexOf(one) + 1) * size * 1.5)),
  ];
}

async function showPicture(entry, about, file) {
  // Not in the place of the last one before it is decoded: on a page that loads, or cannot show,
  // the next picture there would be none for a moment, or for good.
  const last = entry.image, image = make("img", { alt: last.alt, src: URL.createObjectURL(file) });
  try {
    await image.decode();
  } catch (error) {
    URL.revokeObjectURL(image.src);
    throw error;
  }
  last.replaceWith(image);
  entry.image = image;
  if (last.src) URL.revokeObjectURL(last.src);
  entry.number = about.number;
  // A file may be shown on its side; a large picture has become a smaller one.
  const natural = entry.image.naturalWidth > entry.image.naturalHeight;
  const isTurned = about.width !== about.height && natural !== about.width > about.height;
  const [width, height] = isTurned ? [about.height, about.width] : [about.width, about.height];
  entry.view.style.setProperty("aspect-ratio", `${width} / ${height}`);
  entry.boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const wide = entry.view.clientWidth || width;
  const size = Math.max(height / 34, ((wide < 420 ? 10 : 13) * width) / wide);
  entry.boxes.replaceChildren(...drawFound(about, width, size));
  const objects = Math.max(...["boxes", "turned", "points"].map((name) => (about[name] || []).length));
  const found = about.classes && !objects ? "" : about.boxes ? `${objects} object${objects === 1 ? "" : "s"} · `
    : about.lacks_boxes ? "no boxes of this picture · " : "";
  write(entry.about, `${found}${about.latency_ms.toFixed(0)} ms`);
  entry.about.title = `${width} × ${height} pixels; from its capture until ${
    about.boxes ? "its boxes were" : "it was"} sent`;
}

/* Logs */

function showLogChoice(status) {
  const choice = $("#log-node"), names = status.processes.map((process) => process.name);
  const values = names.length > 1 ? [EVERY, ...names] : names;
  if (choice.options.length !== values.length || values.some((name, at) => choice.options[at].value !== name)) {
    choice.replaceChildren(...values.map((name) => make("option", { value: name }, name === EVERY ? "all nodes" : name)));
    shown.log = null;
  }
  // The last words of a node that has just failed, unless somebody reads what another one says.
  const failed = names.filter((_, at) => status.processes[at].state === "failed");
  const fresh = failed.find((name) => !shown.failed.includes(name));
  if (fresh && !shown.hasChosenLog) choice.value = fresh;
  shown.failed = failed;
}

function showLogOf(name) {
  $("#log-node").value = name;
  shown.hasChosenLog = true;
  $("#logs").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

async function readLog() {
  const mine = shown, chosen = $("#log-node").value;
  try {
    if (mine && chosen && mine.status && !mine.isOver) {
      if (!mine.log || mine.log.chosen !== chosen) {
        mine.log = { chosen, offsets: new Map() };
        $("#log").textContent = "";
      }
      const names = mine.status.processes.map((process) => process.name);
      const width = Math.max(...names.map((name) => name.length));
      for (const name of chosen === EVERY ? names : [chosen]) {
        await readLogOf(mine, mine.log, name, chosen === EVERY ? `${name.padEnd(width)} | ` : "");
      }
    }
  } catch (error) {
    // The status, which is asked more often, tells that nobody answers.
  }
  setTimeout(readLog, LOG_MS);
}

async function readLogOf(mine, log, name, prefix) {
  const after = log.offsets.get(name) || 0;
  const answer = await get(`/api/runs/${mine.run}/logs/${encodeURIComponent(name)}?after=${after}`);
  if (!answer.ok || mine !== shown || log !== mine.log) return;
  const { text, offset } = await answer.json();
  if (mine !== shown || log !== mine.log) return;
  log.offsets.set(name, offset);
  if (!text) return;
  const area = $("#log");
  area.append(prefix ? text.replace(/^(?=.)/gm, prefix) : text);
  if (area.textContent.length > LOG_CHARACTERS) area.textContent = area.textContent.slice(-LOG_CHARACTERS / 2);
  if ($("#log-follow").checked) area.scrollTop = area.scrollHeight;
}

/* Buttons */

function ask(question, then) {
  $("#sure-text").textContent = question;
  $("#sure").returnValue = "no";
  $("#sure").onclose = () => { if ($("#sure").returnValue === "yes") then(); };
  $("#sure").showModal();
}

async function act(verb, node) {
  complain("");
  try {
    const answer = await fetch(address(verb), {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(node ? { node } : {}), signal: AbortSignal.timeout(2 * PATIENCE_MS),
    });
    if (!answer.ok) {
      const text = await answer.text();
      let why = text;
      try { why = JSON.parse(text).error; } catch { /* plain text says it as well */ }
      complain(`${verb} ${node || "the run"}: ${why}`);
    }
  } catch (error) {
    complain(`${verb} ${node || "the run"}: the dashboard does not answer`);
  }
}

for (const [id, factor] of [["#zoom-out", 1 / 1.25], ["#zoom-in", 1.25], ["#zoom-fit", "fit"]]) {
  $(id).addEventListener("click", () => zoom(factor));
}
$("#graph .scroll").addEventListener("scroll", showGraphEdges, { passive: true });
addEventListener("resize", () => { if (shown) scaleGraph(); });
for (const id of ["#edge-filter", "#edge-order"]) $(id).addEventListener("input", sift);
$("#stop").addEventListener("click", () => ask("Stop the whole run?", () => act("stop")));
$("#log-node").addEventListener("change", () => { if (shown) shown.hasChosenLog = true; });
$("#runs").addEventListener("change", () => show($("#runs").value, true));
lookForRuns();
look();
readLog();
