"use strict";
// Trends: asks for thinned series and draws them, one chart below the other with one time axis and one cursor.
// Times are the station's: everything is reckoned in UTC milliseconds and shown with the station's offset, 24 hours.
(() => {
  const form = document.getElementById("trends");
  if (!form) return;
  const words = JSON.parse(form.dataset.words), longest = JSON.parse(form.dataset.longest);
  const offset = Number(form.dataset.offset) * 1000, most = Number(form.dataset.most);
  const by = (id) => document.getElementById(`trends-${id}`);
  const charts = by("charts"), said = by("said");
  const MINUTE = 60, HOUR = 3600, DAY = 86400, MONTH = 30 * DAY;
  const STEPS = [1, 5, 10, 30, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR,
    12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, MONTH, 2 * MONTH, 3 * MONTH, 6 * MONTH, 12 * MONTH];
  let plots = [], found = null, asking = null, timer = 0, pulling = null;

  // -- what is chosen stands in the address

  function chosen() {
    const query = new URLSearchParams(location.search);
    if (!query.has("s")) for (const one of form.querySelectorAll("input[name=s]")) query.append("s", one.value);
    for (const one of ["s", "span", "from", "to", "kind"]) if (!query.get(one)) query.delete(one);
    return query;
  }

  function go(change, replace) {
    const query = chosen();
    change(query);
    history[replace ? "replaceState" : "pushState"]({ zoomed: !replace }, "", `?${query}`);
    return load();
  }

  const show = (from, to) => go((query) => {
    const left = Math.round(from), right = Math.max(Math.round(to), left + 60000);
    query.delete("span");
    query.set("from", left);
    query.set("to", right);
    const kind = query.get("kind");
    if (kind && kind !== "auto" && (right - left) / 1000 > longest[kind]) query.set("kind", "auto");
  });

  // -- asking

  async function load(quiet) {
    clearTimeout(timer);
    if (asking) asking.abort();
    asking = new AbortController();
    const mine = asking;
    if (!quiet) charts.setAttribute("aria-busy", "true");
    try {
      const began = performance.now();
      const answer = await fetch(`${form.dataset.url}?${chosen()}`, {
        signal: mine.signal, headers: { Accept: "application/json" }, credentials: "same-origin" });
      if (answer.status === 401) return location.reload();
      const text = await answer.text();
      performance.measure("trends-fetch", { start: began });
      const came = performance.now();
      const next = JSON.parse(text);
      if (!answer.ok) throw new Error(next.error || answer.status);
      said.hidden = true;
      found = next;
      draw();
      await null;  // the charts are painted in a microtask of their own
      performance.measure("trends-draw", { start: came });
    } catch (error) {
      if (error.name === "AbortError") return;
      said.textContent = `${words.failed} ${error.message}`;
      said.hidden = false;
    } finally {
      if (mine === asking) {
        charts.removeAttribute("aria-busy");
        if (!chosen().has("from")) timer = setTimeout(again, Number(form.dataset.again) * 1000);
      }
    }
  }

  const again = () => (document.hidden ? (timer = setTimeout(again, 5000)) : load(true));

  // -- words and numbers

  const two = (n) => String(n).padStart(2, "0");

  function parts(ms) {
    const at = new Date(ms + offset);
    return { day: `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`,
      short: `${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`, month: `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}`,
      minute: `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`, second: two(at.getUTCSeconds()) };
  }

  function wall(ms, seconds) {
    const at = parts(ms);
    return `${at.day} ${at.minute}${seconds ? `:${at.second}` : ""}`;
  }

  // What is told of a bucket: a day by its date, a reading with its second.
  const when = (one, i) => (one.kind === "day" && (one.at[i] + offset) % (DAY * 1000) === 0 ? parts(one.at[i]).day : wall(one.at[i], one.kind === "readings"));

  const number = (value, one) => (value === null || value === undefined ? "–" : value.toFixed(one.decimals));

  function span(ms) {
    const seconds = ms / 1000;
    const [n, unit] = seconds < MINUTE ? [seconds, "s"] : seconds < HOUR ? [seconds / MINUTE, "min"]
      : seconds < DAY ? [seconds / HOUR, "h"] : [seconds / DAY, "d"];
    return `${Number(n.toFixed(2))} ${unit}`;
  }

  function spoken(one, i) {
    const at = when(one, i);
    const mark = one.marks[i] ? ` · ${words.marks[one.marks[i]]}` : "";
    if (one.valid[i]) {
      const reach = one.low[i] !== null && one.low[i] !== one.high[i] ? ` (${number(one.low[i], one)}–${number(one.high[i], one)})` : "";
      return `${at}  ${number(one.mean[i], one)} ${one.unit}${reach}${mark}`;
    }
    return `${at}  ${one.flagged[i] === null ? words.nothing : `${number(one.flagged[i], one)} ${one.unit}`}${mark}`;
  }

  // -- drawing

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888888";
  const faint = (name, share) => colour(name) + share;  // the page's colours are #rrggbb

  function ticks(self, axis, low, high, step) {
    const made = [];
    if (step < MONTH) {
      const shift = offset / 1000, size = Math.max(step, 1);
      for (let at = Math.ceil((low + shift) / size) * size - shift; at <= high; at += size) made.push(at);
      return made;
    }
    const months = Math.round(step / MONTH), first = new Date(low * 1000 + offset);
    for (let n = Math.floor(first.getUTCMonth() / months) * months; ; n += months) {
      const at = (Date.UTC(first.getUTCFullYear(), n, 1) - offset) / 1000;
      if (at > high) return made;
      if (at >= low) made.push(at);
    }
  }

  function labels(self, splits, axis, space, step) {
    let day = "";
    return splits.map((at) => {
      const one = parts(at * 1000);
      if (step >= MONTH) return one.month;
      if (step >= DAY) return one.short;
      const clock = step < MINUTE ? `${one.minute}:${one.second}` : one.minute;
      const text = one.day === day ? clock : `${clock}\n${one.short}`;
      day = one.day;
      return text;
    });
  }

  // From the data and, where they are near, the limits; from zero where that is no great loss.
  function reach(one, rain) {
    return (self, low, high) => {
      if (low === null || !Number.isFinite(low)) return [0, 1];
      const near = one.limits.flatMap((l) => [l.value, l.pre_alarm]).filter((v) => v !== null);
      const size = Math.max(high - low, Math.abs(high) * 0.05, 1e-9);
      for (const limit of near) {
        if (limit > high && limit - high < size) high = limit;
        if (limit < low && low - limit < size) low = limit;
      }
      if (rain || (low >= 0 && low < high * 0.6)) low = Math.min(0, low);
      if (high <= low) [low, high] = [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
      return uPlot.rangeNum(low, high, { min: { pad: low === 0 ? 0 : 0.05, soft: 0, mode: low >= 0 ? 1 : 0 }, max: { pad: 0.08, soft: 0, mode: 0 } });
    };
  }

  // Where a value carries a mark there is a stroke at the foot; where all do, or there is none, the whole is shaded.
  function shade(one) {
    return (self) => {
      const { left, top, width, height } = self.bbox, ctx = self.ctx;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, top, width, height);
      ctx.clip();
      for (let i = 0; i < one.at.length; i++) {
        if (!one.flags[i]) continue;
        const end = Math.min(i + 1 < one.at.length ? one.at[i + 1] : Infinity, one.at[i] + Math.max(one.width_ms, usual(one)));
        const x0 = self.valToPos(one.at[i] / 1000, "x", true), x1 = self.valToPos(end / 1000, "x", true);
        if (!one.valid[i]) {
          ctx.fillStyle = faint("--warn", "24");
          ctx.fillRect(x0, top, x1 - x0, height);
        }
        ctx.fillStyle = colour("--warn");
        ctx.fillRect(x0, top + height - 4 * devicePixelRatio, Math.max(x1 - x0, devicePixelRatio), 4 * devicePixelRatio);
      }
      ctx.restore();
    };
  }

  function usual(one) {
    if (one.usual === undefined) {
      const apart = one.at.slice(1).map((at, i) => at - one.at[i]).sort((a, b) => a - b);
      one.usual = apart.length ? apart[apart.length >> 1] : one.width_ms;
    }
    return one.usual;
  }

  function limits(one) {
    return (self) => {
      const { left, top, width, height } = self.bbox, ctx = self.ctx;
      ctx.save();
      ctx.lineWidth = 1.5 * devicePixelRatio;
      for (const limit of one.limits) {
        for (const [value, name, dash] of [[limit.value, "--bad", [8, 4]], [limit.pre_alarm, "--warn", [3, 4]]]) {
          if (value === null) continue;
          const y = self.valToPos(value, "y", true);
          if (y < top || y > top + height) continue;
          ctx.strokeStyle = colour(name);
          ctx.setLineDash(dash.map((n) => n * devicePixelRatio));
          ctx.beginPath();
          ctx.moveTo(left, y);
          ctx.lineTo(left + width, y);
          ctx.stroke();
        }
      }
      ctx.restore();
    };
  }

  // A value without neighbours has no line to be seen by; few values are seen one by one.
  function alone(values) {
    return (self, series, shown) => {
      const wanted = [];
      const few = values.length < 80;
      for (let i = 0; i < values.length; i++)
        if (values[i] !== null && (few || ((i === 0 || values[i - 1] === null) && (i + 1 === values.length || values[i + 1] === null)))) wanted.push(i);
      return wanted;
    };
  }

  function options(one, figure, width) {
    const text = colour("--soft"), grid = { stroke: colour("--line"), width: 1 }, line = colour("--accent");
    const font = "12px system-ui, sans-serif";
    const rain = one.averaging === "sum" && one.kind !== "readings", vane = one.averaging === "vector";
    const bars = rain ? uPlot.paths.bars({ size: [0.9, 60], align: 1 }) : vane ? () => null : undefined;
    return {
      width, height: width < 500 ? 220 : 260, padding: [10, 28, 0, 0], legend: { show: false },
      cursor: { sync: { key: "trends", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } }, drag: { x: true, y: false, setScale: false, dist: 6 }, y: false,
        points: { size: 8 }, bind: { dblclick: () => null } },
      scales: { x: { time: false, range: () => pulling || [found.from / 1000, found.to / 1000] }, y: { range: reach(one, rain) } },
      axes: [
        { stroke: text, grid, ticks: grid, font, incrs: STEPS, space: 64, size: 44, splits: ticks, values: labels },
        { stroke: text, grid, ticks: grid, font, size: (self, values) => 18 + 7 * Math.max(3, ...(values || []).map((v) => String(v).length)) },
      ],
      series: [
        {},
        { stroke: "transparent", width: 0, points: { show: false } },
        { stroke: "transparent", width: 0, points: { show: false } },
        { stroke: line, width: 1.6, paths: bars, fill: rain ? faint("--accent", "50") : undefined,
          points: { show: !rain, size: vane ? 4 : 5, fill: line, stroke: line, filter: vane ? undefined : alone(one.mean) } },
        { stroke: colour("--warn"), paths: () => null, points: { show: true, size: 6, width: 1.5, stroke: colour("--warn"), fill: "transparent" } },
      ],
      bands: [{ series: [2, 1], fill: faint("--accent", "40") }],
      hooks: { drawClear: [shade(one)], draw: [limits(one)], setCursor: [(self) => point(figure, one, self.cursor.idx)],
        setSelect: [(self) => zoom(self)], ready: [(self) => touch(self)] },
    };
  }

  function zoom(self) {
    const { left, width } = self.select;
    if (width < 6) return;
    const from = self.posToVal(left, "x") * 1000, to = self.posToVal(left + width, "x") * 1000;
    self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    show(from, to);
  }

  function point(figure, one, i) {
    const now = figure.querySelector(".trends-now");
    now.textContent = i === null || i === undefined || one.at[i] === undefined ? "" : spoken(one, i);
    figure.position = i ?? null;
  }

  function draw() {
    for (const plot of plots) plot.destroy();
    plots = [];
    const opened = new Set([...charts.querySelectorAll("details[open]")].map((d) => d.dataset.key));
    const focused = charts.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    charts.replaceChildren();
    for (const one of found.series) {
      const figure = by("figure").content.cloneNode(true).firstElementChild;
      const key = `${one.point}:${one.parameter}`;
      const title = found.series.some((other) => other.point !== one.point) ? `${one.name} · ${one.where}` : one.name;
      figure.querySelector("h2").textContent = title;
      figure.querySelector(".trends-of").textContent = [one.unit, one.kind_name, scope(one)].filter(Boolean).join(" · ");
      figure.querySelector(".trends-limits").textContent = one.limits.map((l) => written(l, one)).join("; ");
      charts.append(figure);
      const chart = figure.querySelector(".trends-chart");
      chart.dataset.key = key;
      chart.setAttribute("aria-label", `${title}, ${words.chart}`);
      chart.setAttribute("aria-valuemin", 0);
      chart.setAttribute("aria-valuemax", Math.max(0, one.at.length - 1));
      chart.setAttribute("aria-valuenow", 0);
      chart.setAttribute("aria-valuetext", one.at.length ? `${wall(found.from)} – ${wall(found.to)}` : words.no_data);
      if (!one.at.length) figure.querySelector(".trends-now").textContent = words.no_data;
      const data = [one.at.map((at) => at / 1000), one.low, one.high, one.mean, one.flagged];
      const plot = new uPlot(options(one, figure, chart.clientWidth), data, chart);
      chart.addEventListener("keydown", (event) => key_pressed(event, plot, figure, one, chart));
      plots.push(plot);
      tabled(figure, one, title, key, opened.has(key));
      if (focused === key) chart.focus({ preventScroll: true });
    }
    pressed();
  }

  function scope(one) {
    const base = { readings: 0, minute: 60, hour: 3600, day: 86400 }[found.kind] * 1000;
    return one.width_ms > base && one.count > one.at.length ? words.width.replace("{width}", span(one.width_ms)) : "";
  }

  function written(limit, one) {
    const sign = { most: "≤", below: "<", least: "≥" }[limit.sense];
    const pre = limit.pre_alarm === null ? "" : ` (${words.pre_alarm} ${number(limit.pre_alarm, one)})`;
    return `${words.limit} ${sign} ${Number(limit.value.toPrecision(9))} ${one.unit} · ${[limit.standard, limit.period, limit.name].filter(Boolean).join(" · ")}${pre}`;
  }

  // What the buttons say follows the address, and what they would do wrong they do not offer.
  function pressed() {
    const query = chosen(), seconds = (found.to - found.from) / 1000;
    for (const one of form.querySelectorAll("button[name=span]")) one.setAttribute("aria-pressed", String(one.value === found.span));
    for (const one of by("kind").options) one.disabled = one.value in longest && seconds > longest[one.value];
    by("kind").value = query.get("kind") || "auto";
    by("out").disabled = Boolean(found.span);
    by("from").value = wall(found.from);
    by("to").value = wall(found.to);
    const keys = query.getAll("s");
    by("add").disabled = keys.length >= most;
    for (const one of by("add").options) one.disabled = keys.includes(one.value);
    by("chosen").replaceChildren(...found.series.map((one) => {
      const item = document.createElement("li"), name = document.createElement("span"), button = document.createElement("button");
      name.textContent = found.series.some((other) => other.point !== one.point) ? `${one.name} · ${one.where}` : one.name;
      button.type = "button";
      button.className = "trends-remove";
      button.dataset.s = `${one.point}:${one.parameter}`;
      button.textContent = "×";
      button.setAttribute("aria-label", `${words.remove}: ${name.textContent}`);
      button.disabled = found.series.length === 1;
      item.append(name, button);
      return item;
    }));
  }

  // -- the same as a table

  function tabled(figure, one, title, key, open) {
    const details = figure.querySelector(".trends-table"), place = details.querySelector(".trends-scroll");
    details.querySelector("summary").textContent = words.table_of.replace("{name}", title);
    details.dataset.key = key;
    place.setAttribute("aria-label", title);
    details.addEventListener("toggle", () => { if (details.open && !place.firstChild) place.append(table(one, title)); });
    if (open) details.open = true;
  }

  function table(one, title) {
    const made = document.createElement("table"), sum = one.averaging === "sum" && one.kind !== "readings";
    made.createCaption().textContent = `${title}, ${one.unit}`;
    const head = made.createTHead().insertRow();
    for (const key of ["time", sum ? "sum" : "mean", "smallest", "largest", "count", "flagged", "flags", "mark"]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = words[key];
      head.append(cell);
    }
    const body = made.createTBody();
    one.at.forEach((at, i) => {
      const row = body.insertRow(), name = document.createElement("th");
      name.scope = "row";
      name.textContent = when(one, i);
      row.append(name);
      for (const text of [number(one.mean[i], one), number(one.low[i], one), number(one.high[i], one), one.valid[i],
        number(one.flagged[i], one), one.flags[i], one.marks[i] ? words.marks[one.marks[i]] : ""]) row.insertCell().textContent = text;
    });
    return made;
  }

  // -- keys and fingers

  function key_pressed(event, plot, figure, one, chart) {
    const last = one.at.length - 1, length = found.to - found.from;
    const at = figure.position ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    const step = event.shiftKey ? 10 : 1;
    const to = { ArrowRight: at + step, ArrowLeft: at - step, Home: 0, End: last, PageUp: at + 50, PageDown: at - 50 }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (to !== undefined && last >= 0) {
      const i = Math.min(last, Math.max(0, to));
      const top = plot.valToPos(one.mean[i] ?? one.flagged[i] ?? 0, "y");
      plot.setCursor({ left: plot.valToPos(one.at[i] / 1000, "x"), top });
      chart.setAttribute("aria-valuenow", i);
      chart.setAttribute("aria-valuetext", spoken(one, i));
    } else if (event.key === "+" || event.key === "=") {
      const middle = figure.position === null || figure.position === undefined ? found.from + length / 2 : one.at[figure.position];
      show(middle - length / 4, middle + length / 4);
    } else if (event.key === "-") {
      show(found.from - length / 2, found.to + length / 2);
    } else if (event.key === "Escape" || event.key === "0") {
      if (!found.span) out();
      else return;
    } else return;
    event.preventDefault();
  }

  // One finger moves the cursor, two pull the time apart or together.
  function touch(self) {
    const over = self.over, fingers = new Map();
    let begun = null;
    const place = (event) => event.clientX - over.getBoundingClientRect().left;
    const ends = () => [...fingers.values()].sort((a, b) => a - b);
    over.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch") return;
      fingers.set(event.pointerId, place(event));
      over.setPointerCapture(event.pointerId);
      if (fingers.size === 2) begun = ends().map((left) => self.posToVal(left, "x") * 1000);
    });
    over.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, place(event));
      if (fingers.size === 1 && !begun) self.setCursor({ left: place(event), top: over.clientHeight / 2 });
      if (fingers.size === 2 && begun) {
        pulling = pulled().map((at) => at / 1000);
        for (const plot of plots) plot.setScale("x", { min: pulling[0], max: pulling[1] });
      }
    });
    // The times that were under the fingers stay under them.
    function pulled() {
      const [left, right] = ends(), wide = over.clientWidth, [a, b] = begun;
      const each = (b - a) / Math.max(right - left, 12);
      const from = a - left * each;
      return [from, Math.min(from + wide * each, from + 3650 * DAY * 1000)];
    }
    const done = (event) => {
      if (!fingers.has(event.pointerId)) return;
      const span = begun && fingers.size === 2 && event.type === "pointerup" ? pulled() : null;
      fingers.delete(event.pointerId);
      pulling = null;
      if (!fingers.size) begun = null;
      if (span) {
        begun = [0, 0];
        show(...span);
      }
    };
    over.addEventListener("pointerup", done);
    over.addEventListener("pointercancel", done);
  }

  // -- the controls

  const out = () => go((query) => { query.delete("from"); query.delete("to"); query.delete("span"); });

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || !found) return;
    const length = found.to - found.from;
    if (button.name === "span") {
      go((query) => { query.set("span", button.value); query.delete("from"); query.delete("to"); fitted(query, button.value); });
    } else if (button.classList.contains("trends-remove")) {
      go((query) => { const rest = query.getAll("s").filter((s) => s !== button.dataset.s); query.delete("s"); rest.forEach((s) => query.append("s", s)); });
      by("add").focus();
    } else if (button.id === "trends-back") show(found.from - length / 2, found.to - length / 2);
    else if (button.id === "trends-on") show(found.from + length / 2, found.to + length / 2);
    else if (button.id === "trends-out") out();
    else if (button.id === "trends-show") free();
  });

  function fitted(query, word) {
    const seconds = { h: HOUR, d: DAY, y: 365 * DAY }[word.slice(-1)] * Number(word.slice(0, -1)), kind = query.get("kind");
    if (kind in longest && seconds > longest[kind]) query.set("kind", "auto");
  }

  function free() {
    const ends = [by("from"), by("to")];
    for (const one of ends) if (!one.value || !one.reportValidity()) return one.focus();
    const [from, to] = ends.map((one) => Date.parse(`${one.value.replace(" ", "T")}${one.value.includes(" ") ? "" : "T00:00"}:00Z`) - offset);
    show(from, to);
  }

  by("add").addEventListener("change", (event) => {
    if (event.target.value) go((query) => query.append("s", event.target.value));
    event.target.value = "";
  });
  by("kind").addEventListener("change", (event) => go((query) => query.set("kind", event.target.value)));
  addEventListener("popstate", () => load());

  let width = 0;
  new ResizeObserver(() => {
    if (!found || charts.clientWidth === width) return;
    width = charts.clientWidth;
    for (const plot of plots) plot.setSize({ width: plot.root.parentElement.clientWidth, height: plot.height });
  }).observe(charts);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => found && draw());
  new MutationObserver(() => found && draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  load();
})();
