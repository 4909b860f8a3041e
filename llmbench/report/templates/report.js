"use strict";
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const swap = JSON.parse(one("#swap").textContent);
const system = matchMedia("(prefers-color-scheme: dark)");
const state = { dark: system.matches, log: true };

function bytesOf(script) {
  return new Blob([Uint8Array.from(atob(script.textContent), (letter) => letter.charCodeAt(0))]);
}

async function loadPlotly() {
  const packed = bytesOf(one("#plotly")).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.nonce = one("script[nonce]").nonce;
  script.textContent = await new Response(packed).text();
  document.head.append(script);
}

/* Figures are stored in light colours; a dark page swaps each for its counterpart. */
function figureOf(plot) {
  const text = one(`script[data-for="${plot.id}"]`).textContent;
  const figure = JSON.parse(text, (_, value) => (state.dark && swap[value]) || value);
  const hidden = new Set(all("[data-case]:not(:checked)").map((box) => Number(box.dataset.case)));
  for (const trace of figure.data) trace.visible = !hidden.has(trace.meta?.case);
  if (plot.id.startsWith("ecdf-") && state.log) {
    Object.assign(figure.layout.xaxis, { type: "log", rangemode: "normal", dtick: "D2" });
  }
  if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  return figure;
}

function draw(plot) {
  const { data, layout } = figureOf(plot);
  return Plotly.react(plot, data, layout, { responsive: true, displayModeBar: false });
}

function redraw() {
  return Promise.all(all(".plot").filter((plot) => !plot.closest("[hidden]")).map(draw));
}

function showTheme(dark) {
  state.dark = dark;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  one("#theme").setAttribute("aria-pressed", String(dark));
  one("#theme").textContent = dark ? "Light" : "Dark";
  if (window.Plotly) return redraw();
}

function showPicked(event) {
  const { id, value } = event.target;
  for (const box of all(`.picked[data-by="${id}"]`)) box.hidden = box.dataset.key !== value;
  redraw();
}

function offerDownload() {
  const packed = one("#raw-data");
  if (packed) one("#download").href = URL.createObjectURL(bytesOf(packed));
}

async function drawCharts() {
  if (!one("#plotly")) return;
  await loadPlotly();
  await redraw();
  for (const controls of all(".controls")) controls.hidden = false;
  for (const log of all("#log")) log.addEventListener("change", (event) => { state.log = event.target.checked; redraw(); });
  for (const box of all("[data-case]")) box.addEventListener("change", redraw);
  for (const select of all("select")) select.addEventListener("change", showPicked);
}

/* Paper is light, and a fold cannot be opened on it. */
const onScreen = {};
addEventListener("beforeprint", () => {
  Object.assign(onScreen, { dark: state.dark, closed: all("details:not([open])") });
  for (const fold of onScreen.closed) fold.open = true;
  showTheme(false);
});
addEventListener("afterprint", () => {
  for (const fold of onScreen.closed) fold.open = false;
  showTheme(onScreen.dark);
});

one("#theme").hidden = false;
one("#theme").addEventListener("click", () => showTheme(!state.dark));
system.addEventListener("change", (event) => showTheme(event.matches));
showTheme(state.dark);
offerDownload();
drawCharts().then(() => { document.documentElement.dataset.ready = "yes"; });
