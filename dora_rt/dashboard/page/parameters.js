"use strict";

/* Parameters: a slider, a box, a choice or a field for each, by its type and limits. */

const STEPS = 200; // of a slider between the limits of a number that is not whole
const WIDEST = 400;
const SETTLES_MS = 1500;
const SWITCH = "true or false", WHOLE = "whole number", NUMBER = "number", TEXT = "text";

const isNumber = (one) => one.kind === NUMBER || one.kind === WHOLE;
// No slider from 0 to 1000: a hand cannot set it to 30.
const isRange = (one) => isNumber(one) && one.min !== null && one.max !== null && !one.choices
  && one.max - one.min <= WIDEST;
const keyOf = (one) => `${one.node}.${one.name}`;
const shapeOf = (one) => JSON.stringify([keyOf(one), one.kind, one.min, one.max, one.choices, one.help]);
// As a person would write it: 0.35 and not 0.35000000000000003.
const rounded = (number) => Number(number.toPrecision(6));

function showParameters(status) {
  const all = status.parameters || [], section = $("#parameters");
  section.hidden = !all.length;
  if (!all.length) return;
  write($("h2 small", section), `${all.length}`);
  const items = rows($("ul", section), all.map(shapeOf), (_, at) => makeParameter(all[at]));
  const isOver = status.state !== "running" && status.state !== "starting";
  all.forEach((one, at) => fillParameter(items[at], one, isOver));
}

function makeParameter(one) {
  const label = `${one.name} of ${one.node}`;
  const name = make("span", { class: "name" }, make("i", {}, `${one.node} `), one.name);
  if (one.help) name.append(make("span", { class: "help quiet" }, one.help));
  const control = make("span", { class: "control" }, ...makeInputs(one, label));
  const reset = make("button", { type: "button", class: "reset", "aria-label": `Reset ${label}` }, "Reset");
  const item = make("li", {}, name, control, reset, make("span", { class: "why", role: "alert" }));
  item.sending = item.wanted = null;
  item.sentAt = -Infinity;
  for (const input of control.children) {
    // A slider acts while it is moved; a field when it is left, or at Enter.
    const moment = input.type === "range" ? "input" : "change";
    input.addEventListener(moment, () => offerValue(item, one, () => valueOf(input, one)));
  }
  reset.addEventListener("click", () => offerValue(item, one, () => undefined));
  return item;
}

function makeInputs(one, label) {
  const about = { "aria-label": label };
  if (one.choices && one.kind !== "list") {
    return [make("select", about, ...one.choices.map((value) => make("option", { value: JSON.stringify(value) }, String(value))))];
  }
  if (one.kind === SWITCH) return [make("input", { ...about, type: "checkbox" })];
  if (!isNumber(one)) return [make("input", { ...about, type: "text", spellcheck: "false", autocomplete: "off" })];
  const step = one.kind === WHOLE ? 1 : "any";
  const limits = {};
  if (one.min !== null) limits.min = one.min;
  if (one.max !== null) limits.max = one.max;
  const field = make("input", { ...about, ...limits, type: "number", step });
  if (!isRange(one)) return [field];
  const part = one.kind === WHOLE ? 1 : (one.max - one.min) / STEPS;
  return [make("input", { "aria-label": `${label}, slider`, ...limits, type: "range", step: part }), field];
}

// A value as JSON has it; throws with a sentence for people.
function valueOf(input, one) {
  if (input.type === "checkbox") return input.checked;
  if (input.tagName === "SELECT") return JSON.parse(input.value);
  if (isNumber(one)) {
    if (input.value === "" || Number.isNaN(input.valueAsNumber)) throw new Error("expected a number");
    return input.type === "range" ? rounded(input.valueAsNumber) : input.valueAsNumber;
  }
  if (one.kind === TEXT) return input.value;
  try {
    return JSON.parse(input.value);
  } catch (error) {
    throw new Error(`expected JSON such as ["a", "b"] or 0.5, got ${input.value}`);
  }
}

function fillParameter(item, one, isOver) {
  item.current = one;
  for (const input of item.querySelectorAll("input, select")) {
    input.disabled = isOver;
    // Not under the hands of who types, and not back to what it was: a value that was just set comes
    // back with the next status but one.
    const isTyped = input === document.activeElement && ["text", "number"].includes(input.type);
    if (item.sending || isTyped || performance.now() - item.sentAt < SETTLES_MS) continue;
    putValue(input, one);
  }
  const isOwn = one.is_declared && one.has_value && JSON.stringify(one.value) === JSON.stringify(one.file_value);
  $(".reset", item).disabled = isOver || !one.has_value || isOwn;
}

function putValue(input, one) {
  const { value } = one;
  input.hidden = false;
  if (input.type === "checkbox") input.checked = value === true;
  else if (input.tagName === "SELECT") input.value = JSON.stringify(value);
  else if (!one.has_value) {
    // The node has a value of its own, which the launcher does not know.
    input.hidden = input.type === "range";
    if (!input.hidden) { input.value = ""; input.placeholder = "its own"; }
  } else input.value = isNumber(one) || one.kind === TEXT ? String(value) : JSON.stringify(value);
}

// One at a time: of what a slider gives meanwhile, only the last is sent.
async function offerValue(item, one, read) {
  const why = $(".why", item);
  try {
    item.wanted = { value: read() };
  } catch (error) {
    write(why, error.message);
    return;
  }
  for (const input of item.querySelectorAll("input")) {
    // The slider and its field show the same.
    if (input !== document.activeElement && item.wanted.value !== undefined) {
      putValue(input, { ...one, has_value: true, value: item.wanted.value });
    }
  }
  if (item.sending) return;
  const mine = shown;
  while (item.wanted) {
    const { value } = item.wanted;
    item.wanted = null;
    item.sending = sendValue(mine, one, value);
    write(why, await item.sending);
    if (why.textContent && item.current && !item.wanted) {
      // It was refused: back to what the node has.
      for (const input of item.querySelectorAll("input, select")) putValue(input, item.current);
    }
    // What it was before shows with the next status.
    item.sentAt = value === undefined ? -Infinity : performance.now();
  }
  item.sending = null;
}

// Returns why it was refused; nothing if it was not.
async function sendValue(mine, one, value) {
  try {
    const answer = await fetch(`/api/runs/${mine.run}/parameter`, {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ node: one.node, name: one.name, value }),
      signal: AbortSignal.timeout(2 * PATIENCE_MS),
    });
    if (answer.ok) return "";
    const text = await answer.text();
    try { return JSON.parse(text).error; } catch { return text; }
  } catch (error) {
    return "the dashboard does not answer";
  }
}
