/* -- the headline, recomputed from the raw data by the formulas of docs/metrics.md -- */

const PERCENTS = [50, 90, 95, 99];
const VERIFIED = /^(output_tokens_per_second|requests_per_second|(ttft|itl|tpot|e2e)_p\d+)$/;
const SIZES = { h: 3600, min: 60, s: 1, ms: 1e-3, "µs": 1e-6, ns: 1e-9, "%": 1e-2 };

function offerVerifying(button) {
  button.hidden = false;
  button.addEventListener("click", () => verify(new Set(button.dataset.succeeded.split(" "))));
}

async function verify(succeeded) {
  const said = [];
  try {
    const bytes = await unpacked(one(".records"));
    said.push(await judgedHash(bytes), judgedHeadline(recomputed(recordsOf(bytes), succeeded)));
  } catch (error) {
    said.push({ holds: false, text: `The raw data cannot be read: ${error.message}` });
  }
  one("#verified").replaceChildren(...said.map(sentence));
}

function sentence({ holds, text }) {
  return element("p", `${holds ? "✓" : "✗"} ${text}`, { class: holds ? "holds" : "fails" });
}

async function judgedHash(bytes) {
  if (!crypto.subtle) {
    return { holds: false, text: "The hash cannot be checked: this browser offers no SHA-256 on this page." };
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const computed = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const holds = computed === one("#sha256").textContent;
  const other = `The raw data do not match the hash above: ${computed}.`;
  return { holds, text: holds ? "The raw data match the hash above." : other };
}

function judgedHeadline(cases) {
  for (const fold of all("[aria-labelledby=results] details")) {
    fold.open = true;
    unfold(fold);
  }
  const table = one("[aria-labelledby=results] table");
  const rows = [...table.tBodies[0].rows];
  const valuesOf = (row) => cases.get(row.cells[0].firstChild.textContent) ?? {};
  const heads = verifiable("thead th", table);
  const judged = rows.flatMap((row) => {
    const values = valuesOf(row);
    return heads.map((head) => mark(row.cells[head.cellIndex], [values[head.dataset.metric]]));
  });
  const shared = verifiable("caption b", table);
  for (const cell of shared) {
    judged.push(mark(cell, rows.map((row) => valuesOf(row)[cell.dataset.metric])));
  }
  const known = judged.filter((holds) => holds !== null);
  const equal = known.filter(Boolean).length;
  const holds = equal > 0 && equal === known.length;
  const names = [...heads, ...shared.map((cell) => cell.previousSibling)];
  const those = `${equal} of ${known.length} figures of the results`;
  const named = names.map((name) => name.textContent.trim()).join(", ");
  return { holds, text: `${those} match the raw data (${named}).` };
}

function verifiable(selector, table) {
  const metrics = all(`${selector}[data-metric]`, table);
  return metrics.filter(({ dataset }) => VERIFIED.test(dataset.metric));
}

/* Mark a cell, which must show each of these values; null if neither has a number. */
function mark(cell, values) {
  for (const before of all(".checked", cell)) before.remove();
  const wrong = values.find((value) => value === undefined || !isShown(cell, value));
  const holds = values.every((value) => value !== undefined && isShown(cell, value));
  if (values.every((value) => value === undefined) && cell.dataset.value === undefined) return null;
  const text = holds ? "✓ equal" : `✗ raw data: ${wrong ?? "none"}`;
  cell.append(element("small", text, { class: `checked ${holds ? "holds" : "fails"}` }));
  return holds;
}

/* Both the exact number of a cell and its text must match the value. */
function isShown(cell, value) {
  const isExact = Math.abs(Number(cell.dataset.value) - value) <= 1e-9 * Math.abs(value);
  const shown = /^([\d,]+(?:\.(\d+))?)(?: (\S+))?/.exec(cell.firstChild.textContent);
  const [, number, decimals, unit] = shown ?? [];
  const away = Math.abs(Number(number?.replaceAll(",", "")) - value / (SIZES[unit] ?? 1));
  return isExact && away <= 0.500001 * 10 ** -(decimals?.length ?? 0);
}

/* Return the metrics of each case: geometric means over its processes. */
function recomputed(rows, succeeded) {
  const cases = new Map();
  for (const [name, ofCase] of Map.groupBy(rows, (row) => row.case)) {
    const processes = [...Map.groupBy(ofCase, (row) => row.repeat).values()];
    cases.set(name, meansOf(processes.map((run) => metricsOf(run, succeeded))));
  }
  return cases;
}

function meansOf(processes) {
  const means = {};
  for (const name of new Set(processes.flatMap(Object.keys))) {
    means[name] = meanOf(processes.filter((each) => name in each).map((each) => each[name]));
  }
  return means;
}

/* The plain mean replaces the geometric one if a process has 0. */
function meanOf(values) {
  const mean = (numbers) => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  return Math.min(...values) > 0 ? Math.exp(mean(values.map(Math.log))) : mean(values);
}

function metricsOf(rows, succeeded) {
  const measured = rows.filter(({ phase }) => phase === "measured");
  const good = measured.filter(({ finish }) => succeeded.has(finish));
  return { ...ratesOf(rows, measured), ...percentilesOf(latenciesOf(good)) };
}

function ratesOf(rows, measured) {
  const begin = measured.reduce((least, { due }) => Math.min(least, due), Infinity);
  const end = measured.reduce((most, { due }) => Math.max(most, due), -Infinity);
  if (!(begin < end)) return {};
  const isWithin = (time) => time >= begin && time < end;
  const answered = rows.filter(({ times }) => times.length);
  const counts = answered.flatMap((row) => row.counts);
  const stamps = filled(answered.flatMap(({ times }) => times));
  const tokens = counts.reduce((sum, count, place) => sum + (isWithin(stamps[place]) ? count : 0), 0);
  const ended = answered.filter(({ finish }) => finish !== "abandoned");
  const finished = ended.filter(({ times }) => isWithin(times.at(-1))).length;
  const seconds = end - begin;
  return { output_tokens_per_second: tokens / seconds, requests_per_second: finished / seconds };
}

/* Unknown timestamps are interpolated between known ones. */
function filled(stamps) {
  const times = [...stamps];
  let before = -1;
  for (let place = 0; place <= times.length; place++) {
    if (place < times.length && Number.isNaN(times[place])) continue;
    const from = times[before] ?? times[place], to = times[place] ?? from;
    const step = (to - from) / (place - before);
    for (let gap = before + 1; gap < place; gap++) times[gap] = from + step * (gap - before);
    before = place;
  }
  return times;
}

function latenciesOf(good) {
  const several = good.filter(({ times, tokens }) => times.length > 1 && tokens > 1);
  return {
    ttft: good.map(({ times, due }) => times[0] - due),
    e2e: good.map(({ times, due }) => times.at(-1) - due),
    itl: good.flatMap(({ times }) => times.slice(1).map((time, place) => time - times[place])),
    tpot: several.map(({ times, tokens }) => (times.at(-1) - times[0]) / (tokens - 1)),
  };
}

function percentilesOf(latencies) {
  const found = {};
  for (const [latency, sample] of Object.entries(latencies)) {
    const known = Float64Array.from(sample.filter((value) => !Number.isNaN(value))).sort();
    if (!known.length) continue;
    for (const p of PERCENTS) found[`${latency}_p${p}`] = percentile(known, p);
  }
  return found;
}

/* Linear interpolation, as in numpy. */
function percentile(sorted, percent) {
  const place = (sorted.length - 1) * percent / 100;
  const below = sorted[Math.floor(place)], above = sorted[Math.ceil(place)];
  return below + (above - below) * (place - Math.floor(place));
}
