// SPDX-License-Identifier: MIT
// The status page. It reads the documents of this listener and draws them. What they say is text wherever it goes: nodes are made
// one by one, and none from markup.
"use strict";

const PAUSE = 2000; // ms between two readings
const PATIENCE = 10000; // ms that one may take
const KEPT = 120; // values of a chart
const WINDOW = 6; // readings that quantiles are taken over
const MOST_ROUTES = 200;
const MOST_SERVERS = 300;
const DAY = 86400;

const CLASSES = ["2xx", "3xx", "4xx", "5xx"];
let token = ""; // in memory only
let operable = false;
let role = "none";
let history = new Map(); // values of charts by key
let counters = new Map(); // last values of counters by key
let classes = new Map(); // last classes of times by key
let process = null; // whose counters they are
let lastRead = 0;
let lastAnswer = 0;
let failing = "";
let needle = "";
let latest = null;

const byId = (id) => document.getElementById(id);

// Marks that turn the direction of writing, and control characters, are written out: a name must not look like another one.
function shown(text) {
  return String(text).replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (mark) => "\\u{" + mark.codePointAt(0).toString(16) + "}");
}

function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function put(where, text) {
  const words = shown(text);
  if (where.textContent !== words) where.textContent = words;
}

function set(where, name, value) {
  if (value === null || value === "") where.removeAttribute(name);
  else if (where.getAttribute(name) !== value) where.setAttribute(name, value);
}

// Keeps one child for each item, by key: what stays is changed in place, so that neither focus nor selection is lost.
function keyed(parent, items, keyOf, make, update) {
  const known = parent.kept ?? (parent.kept = new Map());
  const wanted = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let entry = known.get(key);
    if (!entry) known.set(key, entry = make(item));
    update(entry, item);
    if (entry.node === place) place = place.nextSibling;
    else parent.insertBefore(entry.node, place);
  }
  for (const [key, entry] of known) {
    if (!wanted.has(key)) { entry.node.remove(); known.delete(key); }
  }
}

// ---- Numbers in words ----

// Between a number and its unit no line ends.
const GAP = "\u00a0";

function count(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "–";
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (n >= size) return (n / (unit === "k" ? 1e3 : size)).toFixed(1) + GAP + unit;
  }
  return String(Math.round(n));
}

function rate(n) {
  if (n === null) return "–";
  if (n > 0 && n < 10) return n.toFixed(1);
  return count(n);
}

function ms(n) {
  if (n === null || n === undefined) return "–";
  if (n < 1) return n.toFixed(2) + GAP + "ms";
  if (n < 10) return n.toFixed(1) + GAP + "ms";
  if (n < 1000) return n.toFixed(0) + GAP + "ms";
  return (n / 1000).toFixed(n < 10000 ? 1 : 0) + GAP + "s";
}

function bytes(n) {
  if (n === null) return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (n >= size) return (n / size).toFixed(1) + GAP + unit;
  }
  return Math.round(n) + GAP + "B";
}

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return s + GAP + "s";
  if (s < 3600) return Math.floor(s / 60) + GAP + "min";
  if (s < DAY) return Math.floor(s / 3600) + GAP + "h " + Math.floor(s % 3600 / 60) + GAP + "min";
  if (s >= 60 * DAY) return Math.floor(s / DAY) + GAP + "d";
  return Math.floor(s / DAY) + GAP + "d " + Math.floor(s % DAY / 3600) + GAP + "h";
}

const now = () => Date.now() / 1000;
const ago = (unix) => span(now() - unix) + " ago";
function date(unix) {
  const time = new Date(unix * 1000);
  return Number.isNaN(time.getTime()) ? "–" : time.toISOString().slice(0, 16).replace("T", " ") + " UTC";
}

// ---- Rates, quantiles, charts ----

let passed = 0; // seconds since the reading before; 0: there was none

function since(key, value) {
  const before = counters.get(key);
  counters.set(key, value);
  if (before === undefined || passed <= 0 || value < before) return null;
  return (value - before) / passed;
}

function remember(key, value) {
  let values = history.get(key);
  if (!values) history.set(key, values = []);
  values.push(value);
  if (values.length > KEPT) values.shift();
  return values;
}

// Quantiles of what has come in the last readings, evenly spread within a class.
function quantiles(key, times) {
  const now = times?.classes ?? [];
  let kept = classes.get(key);
  if (!kept) classes.set(key, kept = []);
  kept.push(now);
  if (kept.length > WINDOW) kept.shift();
  const before = kept[0];
  const fresh = now.map((n, index) => n - (before[index] ?? 0));
  if (kept.length < 2 || fresh.some((n) => n < 0)) return [null, null];
  return [quantile(fresh, 0.5), quantile(fresh, 0.99)];
}

function quantile(all, part) {
  const sum = all.reduce((a, b) => a + b, 0);
  if (sum === 0) return null;
  let below = 0, from = 0, to = 1024 / 1e6;
  for (let index = 0; index < all.length; index++) {
    if (index === all.length - 1) return from;
    if (all[index] > 0 && below + all[index] >= part * sum) return from + (to - from) * (part * sum - below) / all[index];
    below += all[index];
    [from, to] = [to, to * 2];
  }
  return null;
}

const SVG = "http://www.w3.org/2000/svg";

function chart(lines, look) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "chart " + (look ?? ""));
  svg.setAttribute("viewBox", `0 0 ${KEPT - 1} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.paths = [];
  for (let line = 0; line < lines; line++) {
    const kind = line === 0 ? "" : "second";
    const pair = [`area ${kind}`, kind].map((name) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name.trim());
      svg.append(path);
      return path;
    });
    svg.paths.push(pair);
  }
  return svg;
}

// Values of each line, the newest to the right; what is not known is a gap.
function draw(svg, label, tell, ...lines) {
  const top = Math.max(1e-9, ...lines.flat().filter((value) => value !== null));
  lines.forEach((values, line) => {
    const first = KEPT - values.length;
    let path = "", area = "", open = null;
    const close = (at) => { if (open !== null) area += `L${at} 100Z`; open = null; };
    values.forEach((value, index) => {
      const x = first + index;
      if (value === null) { close(x - 1); return; }
      const y = (98 - 94 * value / top).toFixed(1);
      path += (open === null ? "M" : "L") + x + " " + y;
      area += open === null ? `M${x} 100L${x} ${y}` : `L${x} ${y}`;
      open = x;
    });
    close(KEPT - 1);
    set(svg.paths[line][0], "d", area);
    set(svg.paths[line][1], "d", path);
  });
  const newest = lines[0][lines[0].length - 1];
  set(svg, "aria-label", `${label}: ${tell(newest ?? null)} now, at most ${tell(top > 1e-8 ? top : 0)} in ${span(lines[0].length * PAUSE / 1000)}`);
}

// ---- Tables ----

// A table: columns are [heading, class of the cells, part of the width]. Roles are said, since narrow screens draw rows as blocks.
function table(columns, caption) {
  const sum = columns.reduce((a, [, , width]) => a + width, 0);
  const widths = columns.map(([, kind, width]) => {
    const col = node("col", { class: kind });
    col.style.width = (100 * width / sum).toFixed(2) + "%";
    return col;
  });
  const head = node("tr", { role: "row" }, ...columns.map(([heading, kind]) =>
    node("th", { scope: "col", role: "columnheader", class: kind }, heading)));
  const body = node("tbody", { role: "rowgroup" });
  const made = node("table", { role: "table" }, node("caption", { class: "hidden" }, caption), node("colgroup", {}, ...widths),
    node("thead", { role: "rowgroup" }, head), body);
  return { node: made, body, columns };
}

function row(columns) {
  const cells = columns.map(([heading, kind]) =>
    node("td", { role: "cell", class: kind ?? "", "data-label": heading }));
  return { node: node("tr", { role: "row" }, ...cells), cells };
}

// Text, and a second line below it.
function lines(cell, first, second) {
  if (!cell.small) { cell.append(node("span"), node("small")); [cell.big, cell.small] = cell.children; }
  put(cell.big, first);
  put(cell.small, second ?? "");
  cell.small.hidden = !second;
}

function chartIn(cell, label, tell, look, ...lines) {
  if (!cell.firstChild) cell.append(chart(lines.length, look));
  draw(cell.firstChild, label, tell, ...lines);
}

function bar(cell, shares, label) {
  if (!cell.bar) {
    cell.bar = node("div", { class: "bar", role: "img" }, ...CLASSES.map((name) => node("i", { class: "c" + name[0] })));
    cell.append(cell.bar);
  }
  const sum = shares.reduce((a, b) => a + b, 0);
  shares.forEach((share, index) => { cell.bar.children[index].style.width = (sum ? 100 * share / sum : 0) + "%"; });
  const words = CLASSES.map((name, index) => `${name} ${count(shares[index])}`).join(", ");
  set(cell.bar, "aria-label", `${label}: ${words}`);
  set(cell.bar, "title", words);
}

const is = (...texts) => needle === "" || texts.some((text) => String(text ?? "").toLowerCase().includes(needle));

function more(where, left) {
  if (!where.moreLine) where.append(where.moreLine = node("p", { class: "more" }));
  where.moreLine.hidden = left <= 0;
  put(where.moreLine, `and ${left} more: l7ctl shows all`);
}

// ---- Reading ----

async function ask(path, options = {}) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const wait = new AbortController();
  const timer = setTimeout(() => wait.abort(), PATIENCE);
  try {
    return await fetch(path, { cache: "no-store", credentials: "omit", redirect: "error", ...options, headers: { ...headers, ...options.headers }, signal: wait.signal });
  } finally {
    clearTimeout(timer);
  }
}

async function read(path) {
  const answer = await ask(path);
  if (answer.status === 401) throw new NeedsToken(token ? "The token is not known." : "This switch shows its numbers to those who have the token.");
  // From another machine, without a token: the answer says which option is wanted.
  if (answer.status === 403) throw new Error((await answer.json()).error);
  if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
  return answer.json();
}

class NeedsToken extends Error {}

async function round() {
  try {
    // One after another, on one connection: the listener has a bounded number of them, and others read there, too.
    const documents = [];
    for (const name of ["role", "status", "servers", "routes?most=" + MOST_ROUTES, "events", "kernel"]) documents.push(await read("v1/" + name));
    const [who, status, servers, routes, events, kernel] = documents;
    [role, operable] = [who.role, who.operable];
    const read_at = performance.now();
    if (process !== status.pid) {
      process = status.pid;
      [history, counters, classes, lastRead] = [new Map(), new Map(), new Map(), 0];
    }
    passed = lastRead ? (read_at - lastRead) / 1000 : 0;
    lastRead = read_at;
    lastAnswer = now();
    failing = "";
    latest = reckon({ status, servers: servers.servers, routes, events, kernel });
    drawAll();
  } catch (error) {
    if (error instanceof NeedsToken) {
      failing = "it asks for a token";
      openDialog(error.message, true);
    } else failing = error.name === "AbortError" ? `no answer in ${PATIENCE / 1000} s` : error.message;
    drawState();
  }
}

let timer = 0;
let reading = false;
async function again() {
  clearTimeout(timer);
  if (reading) return;
  reading = true;
  if (!document.hidden) await round();
  reading = false;
  timer = setTimeout(again, PAUSE);
}

// What follows of the counters: once for each reading, whatever is drawn.
function reckon(all) {
  const { status, servers, routes, kernel } = all;
  all.services = Object.entries(status.services).map(([name, of]) => {
    const inKernel = kernel.counted?.services[name];
    const key = "service/" + name;
    const one = { name, of, inKernel };
    one.rate = since(key, of.requests + (inKernel?.requests ?? 0));
    one.classRates = CLASSES.map((name) => since(key + "/" + name, (of.responses[name] ?? 0) + (inKernel?.responses[name] ?? 0)));
    one.in = since(key + "/in", of.bytes_in + (inKernel?.bytes_in ?? 0));
    one.out = since(key + "/out", of.bytes_out + (inKernel?.bytes_out ?? 0));
    [one.p50, one.p99] = quantiles(key, of.first_byte);
    one.rates = remember(key, one.rate);
    one.p99s = remember(key + "/p99", one.p99);
    return one;
  });
  const inKernel = new Map((kernel.counted?.servers ?? []).map((server) => [server.pool + "\n" + server.address, server]));
  all.of = servers.map((server) => {
    const name = server.pool + "\n" + server.address;
    const key = "server/" + name;
    const one = { server, key, inKernel: inKernel.get(name) };
    one.rate = since(key, server.total + (one.inKernel?.requests ?? 0));
    [one.p50, one.p99] = quantiles(key, server.first_byte);
    one.rates = remember(key, one.rate);
    return one;
  });
  all.routeRates = routes.routes.map((route) => {
    const key = "route/" + route.service + "\n" + route.route;
    const one = { route, key };
    one.rate = since(key, route.requests + (route.kernel?.requests ?? 0));
    [one.p50, one.p99] = quantiles(key, route.first_byte);
    one.rates = remember(key, one.rate);
    return one;
  });
  const sum = (numbers) => numbers.some((n) => n !== null) ? numbers.reduce((a, b) => a + (b ?? 0), 0) : null;
  const total = all.total = {};
  total.rate = sum(all.services.map((one) => one.rate));
  total.errors = sum(all.services.map((one) => one.classRates[3]));
  total.active = all.services.reduce((a, one) => a + one.of.active, 0);
  const together = [];
  for (const one of all.services) (one.of.first_byte?.classes ?? []).forEach((n, index) => { together[index] = (together[index] ?? 0) + n; });
  (kernel.counted?.first_byte.classes ?? []).forEach((n, index) => { together[index] = (together[index] ?? 0) + n; });
  [total.p50, total.p99] = quantiles("total", { classes: together });
  total.rates = remember("total/rate", total.rate);
  total.errorRates = remember("total/errors", total.errors);
  total.actives = remember("total/active", total.active);
  total.p50s = remember("total/p50", total.p50);
  total.p99s = remember("total/p99", total.p99);
  total.flows = remember("total/flows", kernel.counted ? kernel.counted.flows : null);
  // What has gone from the rules is forgotten.
  const there = new Set([...all.services.map((one) => "service/" + one.name), ...all.of.map((one) => one.key), ...all.routeRates.map((one) => one.key)]);
  for (const kept of [history, counters, classes]) {
    for (const key of kept.keys()) {
      const of = key.startsWith("service/") ? key.replace(/\/(in|out|p99|[2-5]xx)$/, "") : key;
      if (!key.startsWith("total") && !there.has(of) && !there.has(key)) kept.delete(key);
    }
  }
  all.certificates = certificatesOf(all.services);
  all.problems = problemsOf(all);
  return all;
}

function certificatesOf(services) {
  const all = services.flatMap(({ name, of }) => (of.certificates ?? []).map((certificate) => {
    const left = certificate.not_after === null ? null : certificate.not_after - now();
    const mark = left === null ? (certificate.order ? "ordered" : "unknown") : left <= 0 ? "expired" : left < 14 * DAY ? "soon" : "valid";
    return { service: name, certificate, left, mark };
  }));
  return all.sort((a, b) => (a.left ?? 0) - (b.left ?? 0));
}

// Their words stay the same while nothing changes: they are read out where they do.
function problemsOf({ status, of, kernel, certificates }) {
  const all = [];
  const add = (bad, what, text) => all.push({ bad, what, text });
  if (status.draining) add(true, "The switch is about to end", "it finishes the requests in progress");
  if (status.last_error) add(true, "The last reload was refused", "the rules before stay in force\n" + status.last_error);
  const pools = new Map();
  for (const { server } of of) {
    const pool = pools.get(server.pool) ?? { up: 0, all: 0, out: [] };
    pools.set(server.pool, pool);
    pool.all++;
    if (server.state === "up") pool.up++;
    else pool.out.push(server);
  }
  for (const [name, pool] of pools) {
    if (pool.up === 0) add(true, `Pool ${name} has no server`, pool.out.slice(0, 3).map((s) => `${s.address} is ${s.state}: ${s.why ?? "?"}`).join("\n"));
    else for (const s of pool.out.slice(0, 3)) if (s.state !== "draining") add(false, `${s.address} in pool ${name} is ${s.state}`, `${s.why ?? "?"}, since ${date(s.since)}`);
    if (pool.up > 0 && pool.out.filter((s) => s.state !== "draining").length > 3) add(false, `Pool ${name}`, `${pool.out.length} of ${pool.all} servers are out`);
  }
  for (const { certificate, left, mark } of certificates) {
    if (mark === "expired") add(true, `The certificate of ${certificate.name} has expired`, ago(certificate.not_after));
    if (mark === "soon") add(false, `The certificate of ${certificate.name} expires`, "in " + span(left));
    if (certificate.order?.error) add(true, `No new certificate for ${certificate.name}`, certificate.order.error);
  }
  if (["refused", "replaced", "unloaded", "failed"].includes(kernel.status.state)) add(kernel.status.state === "refused", `The kernel module: ${kernel.status.state}`, kernel.status.why ?? "");
  for (const [name, of] of Object.entries(status.names ?? {})) if (of.error) add(false, `${name} is not resolved`, of.error);
  if (status.state_file?.error) add(true, "The state file is not written", status.state_file.error);
  return all.sort((a, b) => b.bad - a.bad).slice(0, 20);
}

// ---- Drawing ----

function drawAll() {
  document.body.classList.toggle("operable", operable);
  drawState();
  drawProblems();
  drawTiles();
  drawServices();
  drawPools();
  drawRoutes();
  drawEvents();
  drawCertificates();
  drawKernel();
}

function drawState() {
  const badge = byId("state");
  const words = failing ? "no numbers: " + failing : latest?.status.draining ? "draining" : "serving";
  put(badge, words);
  set(badge, "class", "badge " + (failing ? "down" : latest?.status.draining ? "draining" : "up"));
  if (latest) {
    const { status } = latest;
    put(byId("about"), `${status.version}, process ${status.pid}, up ${span(status.uptime)}, generation ${status.generation}` + (failing ? `, read ${ago(lastAnswer)}` : ""));
    const bad = latest.problems.length;
    document.title = (failing ? "(?) " : bad ? `(${bad}) ` : "") + "l7switch";
  }
  const label = role === "operate" ? "Operator" : token ? "Token ✓" : "Token";
  put(byId("token"), label);
}

function drawProblems() {
  const list = latest.problems;
  const items = list.length ? list : [{ well: true, what: "All is well", text: "" }];
  keyed(byId("problems"), items, (item) => item.what, () => {
    const [what, text] = [node("b"), node("span")];
    return { node: node("li", {}, what, text), what, text };
  }, (entry, item) => {
    set(entry.node, "class", item.well ? "well" : item.bad ? "problem bad" : "problem");
    put(entry.what, item.what);
    put(entry.text, item.text ? ": " + item.text : "");
  });
}

function drawTiles() {
  const { total, of, kernel } = latest;
  const inState = (state) => of.filter(({ server }) => server.state === state).length;
  const up = inState("up");
  const others = ["down", "ejected", "draining"].map((state) => [inState(state), state]).filter(([n]) => n > 0).map(([n, state]) => n + " " + state);
  const tiles = [
    ["Requests per second", rate(total.rate), "", rate, "", [total.rates]],
    ["Answers 5xx per second", rate(total.errors), "", rate, "errors", [total.errorRates]],
    ["First byte, p50 and p99", ms(total.p50), "/ " + ms(total.p99), ms, "", [total.p50s, total.p99s]],
    ["Connections in the front", count(total.active), "", count, "", [total.actives]],
    ["Servers up", String(up), "of " + of.length, null, "", null, others.join(", ")],
  ];
  if (kernel.counted) tiles.push(["Flows in the kernel", count(kernel.counted.flows), "of " + count(kernel.counted.max_flows), count, "", [total.flows]]);
  keyed(byId("tiles"), tiles, ([label]) => label, ([label, , , tell, look, lines]) => {
    const [value, small] = [node("span"), node("small")];
    const svg = lines ? chart(lines.length, look) : null;
    const made = node("div", { class: "tile" }, node("div", { class: "label" }, label), node("div", { class: "value" }, value, " ", small), svg);
    const below = lines ? null : node("div", { class: "label" });
    if (below) made.append(below);
    return { node: made, value, small, svg, below };
  }, (entry, [label, value, small, tell, , lines, below]) => {
    put(entry.value, value);
    put(entry.small, small);
    if (entry.below) put(entry.below, below);
    if (lines) draw(entry.svg, label, tell, ...lines);
  });
}

const SERVICE = [["Service", "name", 22], ["State", "k", 8], ["Listens on", "k", 15], ["Active", "n", 6], ["Req/s", "n", 6], ["", "draws", 9], ["Classes", "half", 9], ["p50", "n", 7], ["p99", "n", 7], ["In/s", "n", 8], ["Out/s", "n", 8]];

function sectionTable(where, columns, caption) {
  if (!where.table) {
    where.table = table(columns, caption);
    where.panel = node("div", { class: "panel" }, where.table.node);
    where.append(where.panel);
  }
  return where.table.body;
}

function drawServices() {
  const body = sectionTable(byId("services"), SERVICE, "Services");
  const items = latest.services.filter(({ name, of }) => is(name, of.protocol, ...of.listen));
  keyed(body, items, ({ name }) => name, () => row(SERVICE), (entry, one) => {
    const { of } = one;
    const [name, state, listen, active, perSecond, spark, shares, p50, p99, received, sent] = entry.cells;
    const reasons = Object.entries(of.refused).sort((a, b) => b[1] - a[1]).slice(0, 3).map(([reason, n]) => `${reason} ${count(n)}`);
    lines(name, one.name, reasons.length ? "refused: " + reasons.join(", ") : "");
    const isClosed = of.maintenance !== undefined && of.maintenance !== false;
    put(state, isClosed ? "maintenance" : "open");
    set(state, "class", "k " + (isClosed ? "warn" : "up"));
    lines(listen, of.listen.slice(0, 2).join(", ") + (of.listen.length > 2 ? ` and ${of.listen.length - 2} more` : ""), of.protocol);
    put(active, count(of.active));
    put(perSecond, rate(one.rate));
    chartIn(spark, "Requests per second of " + shown(one.name), rate, "", one.rates);
    const totals = CLASSES.map((name) => (of.responses[name] ?? 0) + (one.inKernel?.responses[name] ?? 0));
    bar(shares, totals, "Responses");
    put(p50, ms(one.p50));
    put(p99, ms(one.p99));
    put(received, bytes(one.in));
    put(sent, bytes(one.out));
  });
}

const SERVER = [["Server", "name", 21], ["State", "t", 25], ["Weight", "n", 6], ["Active", "n", 6], ["Req/s", "n", 6], ["", "draws", 9], ["Failed", "n", 6], ["p50", "n", 7], ["p99", "n", 7], ["Last check", "k", 13], ["", "act", 11]];

function drawPools() {
  const pools = new Map();
  for (const one of latest.of) {
    const pool = pools.get(one.server.pool) ?? [];
    pools.set(one.server.pool, pool);
    pool.push(one);
  }
  let room = MOST_SERVERS;
  const items = [...pools].map(([name, all]) => {
    const wanted = all.filter(({ server }) => is(name, server.address, server.name, server.state, server.why));
    // Those that are out come first where not all can be shown.
    const sorted = wanted.length > room ? [...wanted].sort((a, b) => (a.server.state === "up") - (b.server.state === "up")) : wanted;
    const some = sorted.slice(0, room);
    room -= some.length;
    return { name, all, some, left: wanted.length - some.length, isWanted: wanted.length > 0 };
  }).filter((pool) => pool.isWanted);
  keyed(byId("pools"), items, ({ name }) => name, ({ name }) => {
    const [title, about] = [node("h3"), node("span", { class: "muted" })];
    const made = table(SERVER, "Servers of pool " + shown(name));
    const panel = node("div", { class: "panel" }, node("div", { class: "head" }, title, about), made.node);
    return { node: panel, title, about, body: made.body };
  }, (entry, pool) => {
    put(entry.title, pool.name);
    const up = pool.all.filter(({ server }) => server.state === "up").length;
    const about = latest.status.pools?.[pool.name] ?? {};
    const parts = [`${up} of ${pool.all.length} up`];
    if (about.queued) parts.push(`${about.queued} wait`);
    if (about.retries) parts.push(`${count(about.retries)} sent again`);
    if (about.retries_refused) parts.push(`${count(about.retries_refused)} not sent again`);
    put(entry.about, parts.join(", "));
    keyed(entry.body, pool.some, ({ key }) => key, serverRow, (row, one) => drawServer(row, one, up));
    more(entry.node, pool.left);
  });
}

function serverRow({ server }) {
  const made = row(SERVER);
  made.server = server;
  [made.word, made.why] = [node("span"), node("small")];
  made.cells[1].append(made.word, made.why);
  made.button = node("button", { type: "button", class: "small" });
  made.button.addEventListener("click", () => operate(made));
  made.cells[10].append(made.button);
  return made;
}

// Whether an administrator can bring it back: not where its checks decide.
const isBroughtBack = (server) => server.state === "draining" || server.state === "ejected" || (server.state === "down" && server.health !== "down");

function drawServer(made, one, up) {
  const { server } = one;
  made.server = server;
  made.isLast = up === 1 && server.state === "up";
  const [name, , weight, active, perSecond, spark, failed, p50, p99, check] = made.cells;
  set(made.node, "class", server.state === "down" ? "bad" : server.state === "ejected" ? "warn" : null);
  lines(name, server.address, [server.name, server.backup ? "backup" : ""].filter(Boolean).join(", "));
  put(made.word, server.state);
  set(made.word, "class", "dot " + server.state);
  const times = [`for ${span(now() - server.since)}`];
  if (server.back) times.push(`back in ${span(server.back - now())}`);
  put(made.why, [server.why, times.join(", ")].filter(Boolean).join(" · "));
  put(weight, server.weight === server.effective_weight ? server.weight : `${server.effective_weight} (${server.weight})`);
  put(active, count(server.active + (one.inKernel?.active ?? 0)));
  put(perSecond, rate(one.rate));
  chartIn(spark, "Requests per second of " + shown(server.address), rate, "", one.rates);
  lines(failed, count(server.failures + (one.inKernel?.failures ?? 0)), one.inKernel?.failing ? "left out by the kernel" : "");
  put(p50, ms(one.p50));
  put(p99, ms(one.p99));
  const last = server.last_check;
  lines(check, last ? (last.error ? "failed" : "ok") + ", " + ms(last.took_ms) : server.health ? "soon" : "none", last ? ago(last.at) : "");
  set(check, "class", "k " + (last?.error ? "down" : ""));
  const wanted = isBroughtBack(server) ? "Put back" : "Drain";
  if (!made.button.sure) put(made.button, wanted);
  set(made.button, "aria-label", `${made.button.textContent} ${shown(server.address)} in pool ${shown(server.pool)}`);
}

const ROUTE = [["Route", "name", 12], ["Service", "k", 10], ["Takes", "t", 24], ["Does", "t", 13], ["Requests", "n", 8], ["Req/s", "n", 6], ["", "draws", 9], ["Classes", "half", 9], ["p50", "n", 7], ["p99", "n", 7]];

function drawRoutes() {
  const where = byId("routes");
  const body = sectionTable(where, ROUTE, "Routes");
  const items = latest.routeRates.filter(({ route }) => is(route.service, route.route, route.action, ...route.matches));
  keyed(body, items, ({ key }) => key, () => row(ROUTE), (entry, one) => {
    const { route } = one;
    const [name, service, takes, does, requests, perSecond, spark, shares, p50, p99] = entry.cells;
    put(name, route.route);
    put(service, route.service);
    put(takes, route.matches.join("; ") || "everything");
    put(does, route.action);
    const inKernel = route.kernel?.requests ?? 0;
    lines(requests, count(route.requests + inKernel), inKernel ? count(inKernel) + " in the kernel" : "");
    put(perSecond, rate(one.rate));
    chartIn(spark, "Requests per second of route " + shown(route.route), rate, "", one.rates);
    bar(shares, CLASSES.map((name) => (route.responses[name] ?? 0) + (route.kernel?.responses[name] ?? 0)), "Responses");
    put(p50, ms(one.p50));
    put(p99, ms(one.p99));
  });
  more(where.panel, latest.routes.left_out);
}

const EVENT = [["When", "k", 12], ["Times", "n", 7], ["Kind", "k", 14], ["Where", "t", 27], ["What", "t", 40]];

function drawEvents() {
  const where = byId("events");
  const body = sectionTable(where, EVENT, "Events, the newest first");
  const all = latest.events.events.filter((event) => is(event.kind, event.pool, event.server, event.text));
  if (!where.none) where.panel.append(where.none = node("p", { class: "more" }, "Nothing has happened."));
  where.none.hidden = all.length > 0;
  keyed(body, all.slice(0, 50), ({ number }) => number, () => row(EVENT), (entry, event) => {
    const [when, times, kind, about, what] = entry.cells;
    lines(when, ago(event.last), event.count > 1 ? "first " + ago(event.first) : "");
    set(when, "title", date(event.last));
    put(times, event.count > 1 ? count(event.count) : "1");
    put(kind, event.kind.replaceAll("_", " "));
    set(kind, "class", "k " + ({ warning: "warn", error: "down" }[event.level] ?? "muted"));
    put(about, event.server ? `${event.server} in pool ${event.pool}` : "");
    set(about, "class", event.server ? "t" : "t empty");
    put(what, event.text);
  });
  more(where.panel, Math.max(0, all.length - 50));
}

const CERTIFICATE = [["Certificate", "name", 24], ["Service", "k", 12], ["Expires", "k", 15], ["Left", "k", 10], ["From", "t", 24], ["Next order", "t", 15]];

function drawCertificates() {
  const where = byId("certificates");
  where.parentNode.hidden = latest.certificates.length === 0;
  const body = sectionTable(where, CERTIFICATE, "Certificates, the first to expire first");
  const items = latest.certificates.filter(({ service, certificate, mark }) => is(service, mark, certificate.file, ...certificate.names));
  keyed(body, items, ({ service, certificate }) => [service, certificate.name, certificate.file].join("\n"), () => row(CERTIFICATE), (entry, { service, certificate, left, mark }) => {
    const [name, of, ends, rest, from, order] = entry.cells;
    set(entry.node, "class", mark === "expired" ? "bad" : mark === "soon" ? "warn" : null);
    const others = certificate.names.filter((other) => other !== certificate.name);
    lines(name, certificate.name, others.slice(0, 4).join(", ") + (others.length > 4 ? ` and ${others.length - 4} more` : ""));
    put(of, service);
    put(ends, certificate.not_after === null ? "–" : date(certificate.not_after));
    put(rest, left === null ? mark : left <= 0 ? "expired" : span(left));
    set(rest, "class", "k " + ({ expired: "down", soon: "warn", valid: "up" }[mark] ?? "muted"));
    put(from, certificate.order ? "ACME" : certificate.file);
    const next = certificate.order ? (certificate.order.next === 0 ? "at once" : date(certificate.order.next)) : "";
    lines(order, next || "–", certificate.order?.error ?? "");
  });
}

function drawKernel() {
  const { status, counted } = latest.kernel;
  const where = byId("kernel");
  where.parentNode.hidden = status.state === "off";
  const facts = [["State", status.state + (status.why ? ": " + status.why : "")]];
  if (status.generation !== null) facts.push(["Generation", status.generation]);
  if (counted) {
    facts.push(["Flows", `${count(counted.flows)} of ${count(counted.max_flows)}`]);
    for (const [state, n] of Object.entries(counted.flow_states)) facts.push(["Flows " + state, count(n)]);
    const services = Object.values(counted.services);
    facts.push(["Requests", count(services.reduce((a, of) => a + of.requests, 0))], ["p50 / p99", ms(counted.first_byte.p50_ms) + " / " + ms(counted.first_byte.p99_ms)]);
  }
  facts.push(["Tables loaded, refused, failed", `${status.loads}, ${status.refusals}, ${status.failures}`]);
  if (!where.panel) where.append(where.panel = node("div", { class: "panel facts" }));
  keyed(where.panel, facts, ([label]) => label, ([label]) => {
    const value = node("div");
    return { node: node("div", {}, node("div", { class: "muted" }, label), value), value };
  }, (entry, [, value]) => put(entry.value, value));
}

// ---- Operating ----

let noted = 0;
function note(text) {
  put(byId("note"), text);
  clearTimeout(noted);
  noted = setTimeout(() => put(byId("note"), ""), 6000);
}

async function operate(made) {
  const { server, isLast } = made;
  const drains = !isBroughtBack(server);
  if (role !== "operate") { openDialog("To drain a server and put it back, the token to operate is needed.", false); return; }
  if (drains && isLast && !made.button.sure) {
    made.button.sure = true;
    put(made.button, "The last one: sure?");
    set(made.button, "class", "small sure");
    setTimeout(() => { made.button.sure = false; set(made.button, "class", "small"); drawPools(); }, 5000);
    return;
  }
  made.button.sure = false;
  set(made.button, "class", "small");
  made.button.disabled = true;
  try {
    const path = `v1/servers/${encodeURIComponent(server.pool)}/${encodeURIComponent(server.address)}`;
    const answer = await ask(path, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ state: drains ? "drain" : "up" }) });
    if (answer.ok) note(`${server.address} in pool ${server.pool}: ${drains ? "drained" : "put back"}`);
    else if (answer.status === 401 || answer.status === 403) openDialog("The token does not allow that.", false);
    else note(`${server.address}: ${(await answer.text()).slice(0, 200)}`);
  } catch (error) {
    note(`${server.address}: ${error.message}`);
  } finally {
    made.button.disabled = false;
  }
  again();
}

function openDialog(why, isNeeded) {
  const dialog = byId("ask");
  if (dialog.open || (isNeeded && dialog.dismissed)) return;
  put(byId("ask-why"), why);
  byId("ask-token").value = "";
  dialog.showModal();
}

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("ask-token").value.trim();
  byId("ask-token").value = "";
  byId("ask").dismissed = false;
  byId("ask").close();
  again();
});
byId("ask-cancel").addEventListener("click", () => byId("ask").close());
byId("ask").addEventListener("close", () => { byId("ask-token").value = ""; byId("ask").dismissed = failing !== "" && token === ""; });
byId("token").addEventListener("click", () => { byId("ask").dismissed = false; openDialog(operable ? "One to read, or the one to operate: with that, servers can be drained here." : "Numbers may need a token.", false); });

const COLOURS = [["Auto", "light dark", "as the system"], ["Light", "light", "light"], ["Dark", "dark", "dark"]];
let colour = 0;
byId("theme").addEventListener("click", () => {
  colour = (colour + 1) % COLOURS.length;
  const [word, scheme, label] = COLOURS[colour];
  document.documentElement.style.colorScheme = scheme;
  put(byId("theme"), word);
  set(byId("theme"), "aria-label", "Colours: " + label);
});
byId("filter").addEventListener("input", () => {
  needle = byId("filter").value.trim().toLowerCase();
  if (latest) drawAll();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
again();
