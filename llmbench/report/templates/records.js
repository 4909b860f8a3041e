/* -- the raw data: CSV in which lists are JSON and missing values are empty -- */

let records = null;

function offerRecords() {
  if (!one(".records")) return;
  for (const link of all("#download")) link.href = URL.createObjectURL(bytesOf(one(".records")));
  offerWaterfall();
  for (const button of all("#verify")) offerVerifying(button);
}

function rawRecords() {
  records ??= readRecords();
  return records;
}

async function readRecords() {
  return recordsOf(await unpacked(one(".records")));
}

function recordsOf(bytes) {
  const [names, ...rows] = parseCsv(new TextDecoder().decode(bytes));
  const named = (row) => Object.fromEntries(row.map((field, place) => [names[place], field]));
  return rows.map((row) => recordOf(named(row)));
}

function recordOf(row) {
  const number = (text) => (text === "" ? NaN : Number(text));
  return {
    ...row,
    key: `${row.case}/${row.repeat}/${row.request_id}`,
    due: number(row.due),
    sent: number(row.sent),
    started: number(row.started),
    connect: number(row.connect_seconds),
    serverQueue: number(row.server_queue_seconds),
    serverTtft: number(row.server_ttft_seconds),
    serverPrefill: number(row.server_prefill_seconds),
    tokens: number(row.output_tokens),
    times: JSON.parse(row.token_times).map((time) => time ?? NaN),
    counts: JSON.parse(row.token_counts),
  };
}

function parseCsv(text) {
  const rows = [];
  let row = [];
  for (let at = 0; at < text.length; at++) {
    const [field, end] = text[at] === '"' ? quotedField(text, at) : plainField(text, at);
    row.push(field);
    if (text[end] === "\n") { rows.push(row); row = []; }
    at = end;
  }
  return rows;
}

function plainField(text, at) {
  const plain = /[^,\n]*/y;
  plain.lastIndex = at;
  const [field] = plain.exec(text);
  return [field, at + field.length];
}

function quotedField(text, at) {
  let end = text.indexOf('"', at + 1);
  while (end > 0 && text[end + 1] === '"') end = text.indexOf('"', end + 2);
  if (end < 0) throw new Error("the CSV is truncated");
  return [text.slice(at + 1, end).replaceAll('""', '"'), end + 1];
}
