"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);
const swap = new Map(Object.entries(JSON.parse(one("#swap").textContent)));
const TITLE_HEIGHT = 30; // pixels
const system = matchMedia("(prefers-color-scheme: dark)");

/* State without a control: the chosen theme, if any, and the open request. */
const view = { theme: null, request: null, printing: false };

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/* Show a message, also to screen readers. */
function say(text) {
  one("dialog[open] .said, .said:not(dialog *)").replaceChildren(element("span", text));
}

function bytesOf(script) {
  const letters = atob(script.textContent);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at);
  return new Blob([bytes]);
}

async function unpacked(script) {
  const stream = bytesOf(script).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* -- charts -- */

async function loadPlotly() {
  const script = document.createElement("script");
  script.nonce = one("script[nonce]").nonce;
  script.textContent = new TextDecoder().decode(await unpacked(one("#plotly")));
  document.head.append(script);
}

function isDark() {
  return !view.printing && (view.theme ?? (system.matches ? "dark" : "light")) === "dark";
}

/* Figures are stored in light colors; a dark page swaps each for its counterpart. */
function storedFigure(plot) {
  const dark = isDark();
  const text = one(`script[data-for="${plot.id}"]`).textContent;
  return JSON.parse(text, (_, value) => (dark && swap.get(value)) || value);
}

function figureOf(plot) {
  const figure = storedFigure(plot);
  const hidden = new Set(hiddenCases().map(Number));
  for (const trace of figure.data) leaveOut(trace, hidden);
  setScale(figure.layout);
  setView(figure.layout);
  figure.layout.paper_bgcolor = getComputedStyle(document.body).getPropertyValue("--card");
  if (plot.id === "waterfall") fillWaterfall(figure);
  if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  return figure;
}

function hiddenCases() {
  return all("[data-case]:not(:checked)").map((box) => box.dataset.case);
}

const POINTWISE = ["x", "y", "text", "array", "arrayminus"];

/* A trace belongs to one case, or each of its points does. */
function leaveOut(trace, hidden) {
  const { case: own, cases } = trace.meta ?? {};
  trace.visible = !hidden.has(own);
  if (!cases) return;
  for (const part of [trace, trace.error_x, trace.error_y].filter(Boolean)) {
    for (const key of POINTWISE.filter((name) => part[name]?.filter)) {
      part[key] = part[key].filter((_, place) => !hidden.has(cases[place]));
    }
  }
}

function setScale(layout) {
  const axis = layout[layout.meta?.latency_axis];
  if (!axis) return;
  const log = { type: "log", rangemode: "normal", dtick: layout.meta.dtick, tickformat: ",~r" };
  const linear = { type: "linear", rangemode: "tozero", dtick: null };
  Object.assign(axis, one("#log").checked ? log : linear);
}

const VIEWING = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"];

function imageButton(format, icon) {
  const title = `Download as ${format.toUpperCase()}`;
  return { name: format, title, icon, click: (plot) => saveImage(plot, format) };
}

function modeBar() {
  const { camera, disk } = Plotly.Icons;
  return [[imageButton("png", camera), imageButton("svg", disk)], VIEWING];
}

/* What the page says around a chart is in its picture: the title, and the names of the lines. */
function saveImage(plot, format) {
  const { data, layout } = plot;
  const { textContent: text } = one("figcaption strong", plot.closest("figure"));
  const title = { text, font: { size: 14 }, x: 0, y: 1, yanchor: "top", pad: { t: 10, l: 10 } };
  const margin = { ...layout.margin, t: (layout.margin.t ?? 0) + TITLE_HEIGHT };
  const showlegend = layout.showlegend || layout.meta?.latency_axis !== undefined;
  const height = layout.height + TITLE_HEIGHT;
  const picture = { data, layout: { ...layout, title, margin, showlegend, height } };
  const filename = `${one("h1").textContent} ${plot.id}`.replace(/[^\p{L}\p{N}.-]+/gu, "-");
  const size = { height, width: plot.clientWidth, scale: format === "png" ? 2 : 1 };
  return Plotly.downloadImage(picture, { format, filename, ...size });
}

/* A timeline shows the first requests, or the whole run. */
function setView(layout) {
  const { first, whole } = layout.meta ?? {};
  const { x, y } = (one("#view")?.value === "first" && first) || whole || {};
  if (!x) return;
  layout.yaxis.range = y;
  for (const name of Object.keys(layout).filter((key) => key.startsWith("xaxis"))) {
    layout[name].range = x;
  }
}

/* A chart that would look as it does stays as it is, zoomed or not. */
const drawings = new WeakMap();

async function draw(plot) {
  const figure = figureOf(plot);
  const text = JSON.stringify(figure);
  if (drawings.get(plot)?.text !== text) drawings.set(plot, { text, done: react(plot, figure) });
  await drawings.get(plot).done;
  await fit(plot);
}

async function react(plot, { data, layout }) {
  const config = { responsive: true, displayModeBar: true, displaylogo: false, modeBarButtons: modeBar() };
  await Plotly.react(plot, data, layout, config);
  for (const drawing of all(".main-svg", plot)) drawing.ariaHidden = "true";
  if (!layout.meta?.requests || !one(".records")) return;
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", ({ points }) => openRequest(keyOf(layout.meta.requests, points[0].y)));
}

/* Plotly measures its container only on the first draw, or on request. */
function fit(plot) {
  const { width } = one(".main-svg", plot).getBoundingClientRect();
  return Math.abs(width - plot.clientWidth) > 1 && Plotly.Plots.resize(plot);
}

/* One after the other, so that a page with many cases can be read meanwhile; paper waits for all. */
async function redraw(within = document) {
  if (!window.Plotly) return;
  const drawn = (plot) => !plot.closest("[hidden], dialog:not([open]), details:not([open])");
  for (const plot of all(".plot", within).filter(drawn)) {
    await draw(plot);
    if (!view.printing) await new Promise((next) => setTimeout(next));
  }
}

/* -- folds: what is large is text until it is unfolded -- */

function unfold(fold) {
  for (const inner of all("details.large", fold)) inner.open = true;
  for (const text of all("noscript", fold)) {
    const within = text.parentElement;
    text.outerHTML = text.textContent;
    offerTables(within);
    if (one(".records")) offerRequests(within);
  }
}

function onFold({ target: fold }) {
  if (!fold.matches("details[open]")) return;
  unfold(fold);
  fitTables(fold);
  redraw(fold);
}

/* -- the view, and the fragment of the address that stores it -- */

function showTheme() {
  const dark = isDark();
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  one("#theme").textContent = dark ? "Light theme" : "Dark theme";
}

function showPicked() {
  for (const box of all(".picked")) {
    const { value } = one(`#${box.dataset.by}`);
    box.hidden = value !== "all" && value !== box.dataset.key;
  }
}

function show() {
  showTheme();
  showPicked();
  fitTables();
  return redraw();
}

function shownInWords() {
  const boxes = all("[data-case]");
  const cases = `${boxes.filter((box) => box.checked).length} of ${boxes.length} cases`;
  const picked = all("select").map((select) => select.selectedOptions[0].label);
  const scale = one("#log").checked ? "logarithmic" : "linear";
  return `Shown: ${[cases, ...picked].join(", ")}; ${scale} latency.`;
}

function changed() {
  remember();
  say(shownInWords());
  return show();
}

function fragment() {
  const params = new URLSearchParams();
  if (view.theme) params.set("theme", view.theme);
  if (all("#log:not(:checked)").length) params.set("scale", "linear");
  for (const hidden of hiddenCases()) params.append("hide", hidden);
  for (const select of all("select")) if (select.selectedIndex) params.set(select.id, select.value);
  if (view.request) params.set("request", view.request);
  const kept = params.toString();
  return kept && `?${kept}`;
}

/* A fragment is an anchor, then a question mark and the view; either may be missing. */
function anchorAndParams() {
  const [anchor, ...rest] = location.hash.slice(1).split("?");
  return [anchor, rest.length ? new URLSearchParams(rest.join("?")) : null];
}

function remember() {
  const kept = anchorAndParams()[0] + fragment();
  history.replaceState(null, "", kept ? `#${kept}` : location.href.split("#")[0]);
}

function setControls(params) {
  view.theme = ["dark", "light"].find((theme) => theme === params.get("theme")) ?? null;
  for (const log of all("#log")) log.checked = params.get("scale") !== "linear";
  const hidden = new Set(params.getAll("hide"));
  for (const box of all("[data-case]")) box.checked = !hidden.has(box.dataset.case);
  for (const select of all("select")) {
    const wanted = [...select.options].findIndex(({ value }) => value === params.get(select.id));
    select.selectedIndex = Math.max(0, wanted);
  }
}

async function restore() {
  const [anchor, params] = anchorAndParams();
  setControls(params ?? new URLSearchParams());
  await show();
  if (one("#request")) await showRequest(params?.get("request"));
  if (params && anchor) document.getElementById(anchor)?.scrollIntoView();
}

/* A plain anchor does not change the view. */
function followFragment() {
  if (anchorAndParams()[1]) restore();
  else remember();
}

/* -- print: light, with all folds open -- */

let closed = [];

function toPaper() {
  closed = all("details:not([open], .data, .data *)");
  for (const fold of closed) {
    fold.open = true;
    unfold(fold);
  }
  view.printing = true;
  show();
}

function toScreen() {
  for (const fold of closed) fold.open = false;
  view.printing = false;
  show();
}

/* -- start -- */

function offerControls() {
  for (const controls of all(".controls")) controls.hidden = false;
  for (const control of all("#log, [data-case], select")) control.addEventListener("change", changed);
}

function offerTheme() {
  one("#theme").hidden = false;
  one("#theme").addEventListener("click", () => {
    view.theme = isDark() ? "light" : "dark";
    remember();
    show();
  });
  system.addEventListener("change", show);
}

async function start() {
  offerTheme();
  showTheme();
  for (const help of all(".help")) help.hidden = false;
  offerTables();
  offerRecords();
  addEventListener("toggle", onFold, true);
  addEventListener("resize", () => fitTables());
  addEventListener("hashchange", followFragment);
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);
  if (one("#plotly")) {
    await loadPlotly();
    offerControls();
  }
  await restore();
  document.documentElement.dataset.ready = "yes";
}
