/* -- one request, from its due time to its last chunk -- */

const MOST_ROWS = 500;
let opened = null;

function offerRequests(within) {
  for (const head of all("[data-request]", within)) {
    const button = element("button", head.firstChild.textContent, { type: "button", class: "open" });
    button.addEventListener("click", () => openRequest(head.dataset.request));
    head.firstChild.replaceWith(button);
  }
}

function offerWaterfall() {
  offerRequests();
  one("#close").addEventListener("click", () => one("#request").close());
  one("#request").addEventListener("close", () => { view.request = null; remember(); });
}

/* The key of a request in the raw data: case, process and id. */
function keyOf({ case: index, repeat, ids }, row) {
  const name = one(`[data-case="${index}"]`).closest("label").textContent;
  return `${name}/${repeat}/${ids[row]}`;
}

async function showRequest(key) {
  if (key && one(".records")) await openRequest(key);
  else one("#request").close();
}

async function openRequest(key) {
  try {
    const record = (await rawRecords()).find((each) => each.key === key);
    if (record) return await openRecord(record);
    one("#request").close();
    say(`This page does not have the record of request ${key}.`);
  } catch (error) {
    say(`The raw data cannot be read: ${error.message}`);
  }
}

function openRecord(record) {
  const spans = spansOf(record);
  opened = { record, spans };
  view.request = record.key;
  remember();
  const { request_id: number, case: name, repeat } = record;
  one("#request-title").textContent = `Request ${number} of ${name}, run ${repeat}`;
  one("#request-facts").textContent = factsOf(record, spans);
  one("#waterfall").ariaLabel = `Waterfall. ${factsOf(record, spans)}`;
  one("#spans").replaceChildren(...tableOf(spans));
  if (!one("#request").open) one("#request").showModal();
  fitTables(one("#request"));
  return draw(one("#waterfall"));
}

/* An unknown timestamp has no span: its tokens count for the next known one. What a server reports
   has no time of its own: it is drawn from sending on, and what nobody reports comes last. */
function spansOf(record) {
  const { due, sent, started, times, counts } = record;
  const spans = [];
  let at = due, tokens = 0;
  const until = (kind, end, chunk = 0) => {
    if (Number.isNaN(end) || (end <= at && !chunk)) return;
    spans.push({ kind, chunk, tokens, begin: at, end, row: spans.length });
    [at, tokens] = [end, 0];
  };
  until("unsent", sent);
  until("queue", started);
  const reported = Number.isNaN(started) && times.length ? reportedOf(record) : [];
  for (const [kind, seconds] of reported) until(kind, Math.min(at + seconds, times[0]));
  const first = reported.length ? "rest" : Number.isNaN(started) ? "waiting" : "prefill";
  times.forEach((time, index) => {
    tokens += counts[index];
    until(spans.some(({ chunk }) => chunk) ? "decode" : first, time, index + 1);
  });
  return spans;
}

/* The parts before the first token that client and server report, as in the table of all requests. */
function reportedOf({ connect, serverQueue, serverTtft, serverPrefill }) {
  const inServer = serverTtft - serverQueue;
  const prefill = Number.isNaN(inServer) ? serverPrefill : inServer;
  const parts = [["connect", connect], ["queue", serverQueue], ["prefill", prefill]];
  return parts.filter(([, seconds]) => !Number.isNaN(seconds));
}

function nameOf({ kind, chunk }) {
  return kind === "decode" ? `chunk ${chunk}` : labelOf(kind);
}

function labelOf(kind) {
  return storedFigure(one("#waterfall")).data.find(({ meta }) => meta.span === kind).name;
}

function fillWaterfall({ data, layout }) {
  const { spans } = opened;
  for (const trace of data) {
    const mine = spans.filter(({ kind }) => kind === trace.meta.span);
    trace.base = mine.map(({ begin }) => begin);
    trace.x = mine.map(({ begin, end }) => end - begin);
    trace.y = mine.map(({ row }) => row);
    trace.customdata = mine.map(inWords);
    trace.showlegend = mine.length > 0;
  }
  const every = Math.ceil(spans.length / 16);
  const named = spans.filter(({ kind, row }) => kind !== "decode" || row % every === 0);
  layout.height = Math.min(640, 150 + 18 * spans.length);
  layout.yaxis.range = [spans.length - 0.5, -0.5];
  layout.yaxis.tickvals = named.map(({ row }) => row);
  layout.yaxis.ticktext = named.map(nameOf);
}

function inWords(span) {
  const tokens = span.chunk ? `, ${span.tokens} token${span.tokens === 1 ? "" : "s"}` : "";
  return `${nameOf(span)}: ${duration(span.end - span.begin)}${tokens}`;
}

function duration(seconds) {
  if (Number.isNaN(seconds)) return "unknown";
  const units = [["s", 1], ["ms", 1e-3], ["µs", 1e-6]];
  const [unit, size] = units.find(([, each]) => seconds >= each) ?? units[0];
  return `${(seconds / size).toLocaleString("en", { maximumSignificantDigits: 3 })} ${unit}`;
}

function factsOf(record, spans) {
  const { due, times, phase, tokens } = record;
  const error = [record.error_kind, record.error_message].filter(Boolean).join(": ");
  const finish = error ? `${record.finish} (${error})` : record.finish;
  const came = `${tokens} tokens in ${times.length} chunks`;
  const request = `Due at ${duration(due)}, ${phase}; ${came}; finish: ${finish}.`;
  return [request, latenciesInWords(record), longestInWords(spans)].filter(Boolean).join(" ");
}

function latenciesInWords({ due, times }) {
  if (!times.length) return "No tokens.";
  return `TTFT ${duration(times[0] - due)}, E2E ${duration(times.at(-1) - due)}.`;
}

function longestInWords(spans) {
  const length = ({ begin, end }) => end - begin;
  const gaps = spans.filter(({ kind }) => kind === "decode");
  const [longest] = gaps.sort((a, b) => length(b) - length(a));
  return longest && `The longest gap is ${duration(length(longest))}, before chunk ${longest.chunk}.`;
}

function tableOf(spans) {
  const seconds = (value) => ({ text: duration(value), value, unit: "s" });
  const rows = spans.slice(0, MOST_ROWS).map((span) => [
    nameOf(span), seconds(span.begin), seconds(span.end - span.begin),
    { text: span.tokens, value: span.tokens, unit: span.chunk ? "tokens" : "" },
  ]);
  const table = madeTable("Spans of the request", ["span", "from", "duration", "tokens"], rows);
  const some = `The first ${MOST_ROWS} of ${spans.length} spans; the raw data have all of them.`;
  return spans.length > MOST_ROWS ? [table, element("p", some, { class: "note" })] : [table];
}
