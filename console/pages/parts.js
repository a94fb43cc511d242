// What every page is made of. A page is a function of `{me, params}`; it reads with `useData`, acts with `useAction`.
import { html, useEffect, useLayoutEffect, useRef, useState, createContext, useContext } from "./preact.js";

export const Me = createContext(null);

/** Whether whoever is signed in may do this, on a simulated instrument or a real one. The server decides; this is for showing. */
export function may(me, scope, isSimulated = false) {
  return Boolean(me) && (isSimulated ? me.scopes_on_simulated : me.scopes).includes(scope);
}
export const useMe = () => useContext(Me);

/** Go to another page without loading anew. */
export function go(address) {
  history.pushState(null, "", address);
  window.dispatchEvent(new PopStateEvent("popstate"));
}

// -- words ------------------------------------------------------------------------------------------------------------

const MISSING = "—";

/** A number with at most four significant digits, as the reports write it. */
export function number(value, digits = 4) {
  if (value === null || value === undefined) return MISSING;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  if (Number.isInteger(value) && Math.abs(value) < 10 ** digits) return String(value).replace("-", "−");
  const size = Math.floor(Math.log10(Math.abs(value)));
  const text = size >= 6 || size < -4
    ? value.toExponential(Math.max(digits - 2, 0)).replace(/\.?0+e/, "e").replace("e+", "e")
    : value.toFixed(Math.max(digits - 1 - size, 0)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  return text.replaceAll("-", "−");
}

/** A value with its standard error: as many decimals as two digits of the error call for. */
export function measured(mean, sem, unit) {
  const tail = unit ? ` ${pretty(unit)}` : "";
  if (mean === null || mean === undefined) return MISSING;
  if (!(sem > 0) || !Number.isFinite(sem) || !Number.isFinite(mean)) return number(mean) + tail;
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(sem)));
  const text = decimals > 8 ? `${number(mean, 6)} ± ${number(sem, 2)}` : `${mean.toFixed(sem < 100 ? decimals : 0)} ± ${sem.toFixed(sem < 100 ? decimals : 0)}`;
  return text.replaceAll("-", "−") + tail;
}

const POWERS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** A unit as print has it: m³ for m^3, °C for degC; nothing for none. */
export function pretty(unit) {
  if (!unit || unit === "1") return "";
  return unit.replace(/(?:\^|\*\*)(-?\d+)/g, (_, power) => [...power].map((c) => POWERS[c]).join(""))
    .replace(/\bdegC\b/g, "°C").replace(/\bu(?=[A-Za-z])/g, "µ").replaceAll("*", "·");
}

/** A length of time in its two largest units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return MISSING;
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const both = (size, unit, part, name) => {
    const rest = Math.floor((whole % size) / part);
    return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${name}` : ""}`;
  };
  if (whole < 600) return both(60, "min", 1, "s");
  if (whole < 3600) return whole < 3570 ? `${Math.round(whole / 60)} min` : "1 h";
  if (whole < 86400) return both(3600, "h", 60, "min");
  return both(86400, "d", 3600, "h");
}

/** `1 experiment`, `2 experiments`. */
export const count = (quantity, thing, several = `${thing}s`) => `${quantity} ${quantity === 1 ? thing : several}`;

/** `in_doubt` as people say it. */
export const words = (state) => String(state).replaceAll("_", " ");

/** An e-value from its natural logarithm. */
export function eValue(log) {
  if (log === null || log === undefined) return MISSING;
  const exponent = log / Math.LN10;
  return exponent > 4 || exponent < -3 ? `10^${number(exponent, 3)}` : number(Math.exp(log), 3);
}

/** When something was: how long ago, with the moment itself on hovering and for readers of the page. */
export function Ago({ at }) {
  const [, tick] = useState(0);
  useEffect(() => { const clock = setInterval(() => tick((n) => n + 1), 10000); return () => clearInterval(clock); }, []);
  if (!at) return html`<span>${MISSING}</span>`;
  const time = new Date(at);
  const passed = (Date.now() - time) / 1000;
  const text = passed >= 0 ? (passed < 10 ? "just now" : `${duration(passed)} ago`) : `in ${duration(-passed)}`;
  return html`<time datetime=${time.toISOString()} title=${time.toLocaleString()}>${text}</time>`;
}

/** A moment as the person's own clock shows it. */
export const moment = (at) => (at ? new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }) : MISSING);

// -- pieces -----------------------------------------------------------------------------------------------------------

/** A link within the console. */
export function To({ to, children, ...rest }) {
  const follow = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${to} onClick=${follow} ...${rest}>${children}</a>`;
}

const TONES = {
  running: ["live", "▶"], approved: ["live", "✓"], dispatched: ["live", "▶"], testing: ["live", "▶"], registered: ["live", "◇"],
  proposed: ["ask", "?"], in_doubt: ["bad", "?"], paused: ["ask", "❚❚"], queued: ["quiet", "…"],
  completed: ["quiet", "✓"], succeeded: ["good", "✓"], supported: ["good", "✓"],
  failed: ["bad", "✕"], aborted: ["bad", "✕"], refused: ["bad", "✕"], stopped_early: ["bad", "✕"], refuted: ["bad", "✕"], stopped: ["bad", "■"],
  rejected: ["quiet", "✕"], cancelled: ["quiet", "✕"], expired: ["quiet", "✕"], withdrawn: ["quiet", "✕"], inconclusive: ["quiet", "~"], void: ["quiet", "∅"],
};

/** A state: a sign, a word and a colour; never the colour alone. */
export function State({ of, tone, sign, children }) {
  const [given, mark] = TONES[of] || ["quiet", "·"];
  return html`<span class="state-tag ${tone || given}"><span aria-hidden="true">${sign || mark}</span> ${children || words(of)}</span>`;
}

/** Why something was not done, with what to do. */
export function Trouble({ problem }) {
  if (!problem) return null;
  return html`<div class="trouble" role="alert"><strong>✕ ${problem.detail}</strong>${problem.remedy && html` <span>${problem.remedy}</span>`}</div>`;
}

/** What came of an action: nothing yet, busy, done or trouble. `said` is what to say when it is done. */
export function Outcome({ action, said, busy = "Working …" }) {
  return html`<div class="outcome" aria-live="polite">
    ${action.isBusy && html`<span class="quiet">${busy}</span>`}
    ${action.done !== null && said && html`<span class="good">✓ ${typeof said === "function" ? said(action.done) : said}</span>`}
    <${Trouble} problem=${action.problem} />
  </div>`;
}

/** A button that does something: busy while it does, and never pressed twice. `why` says why it cannot be pressed. */
export function Button({ action, onPress, kind = "", why = null, disabled = false, children, ...rest }) {
  const isBusy = action ? action.isBusy : false;
  const press = () => { if (!isBusy && !disabled && !why) (onPress || action.run)(); };
  return html`<button type="button" class=${kind} onClick=${press} aria-disabled=${isBusy || disabled || why ? "true" : undefined} aria-busy=${isBusy ? "true" : undefined} title=${why || undefined} ...${rest}>${children}</button>`;
}

let fields = 0;

/** A labelled input. `value` and `onInput(text)`; `hint` says what to write, `wrong` what is wrong with it. */
export function Field({ label, value, onInput, hint, wrong, type = "text", unit, rows, options, optional, ...rest }) {
  const id = useRef(null);
  if (id.current === null) { fields += 1; id.current = `field-${fields}`; }
  const described = [hint && `${id.current}-hint`, wrong && `${id.current}-wrong`].filter(Boolean).join(" ") || undefined;
  const shared = { id: id.current, value, onInput: (event) => onInput(event.target.value), "aria-describedby": described, "aria-invalid": wrong ? "true" : undefined, ...rest };
  return html`<div class="field ${type === "checkbox" ? "check" : ""}">
    <label for=${id.current}>${label}${unit ? html` <span class="unit">[${pretty(unit)}]</span>` : null}${optional ? html` <span class="unit">optional</span>` : null}</label>
    ${options ? html`<select ...${shared}>${options.map((one) => { const [key, text] = Array.isArray(one) ? one : [one, words(one)]; return html`<option value=${key} selected=${key === value}>${text}</option>`; })}</select>`
      : rows ? html`<textarea rows=${rows} ...${shared}></textarea>`
      : type === "checkbox" ? html`<input type="checkbox" id=${id.current} checked=${value} onChange=${(event) => onInput(event.target.checked)} aria-describedby=${described} ...${rest} />`
      : html`<input type=${type} ...${shared} />`}
    ${hint && html`<p class="hint" id=${`${id.current}-hint`}>${hint}</p>`}
    ${wrong && html`<p class="wrong" id=${`${id.current}-wrong`}>✕ ${wrong}</p>`}
  </div>`;
}

/** The event that presses Stop All: a dialog covers the button of the frame, so that it has one of its own. */
export const STOP = "athanor-stop-all";

/** A dialog over the page: focus goes in, stays, and comes back; Escape closes. `onSubmit` on Enter or its button. */
export function Dialog({ title, onClose, onSubmit, children, kind = "" }) {
  const box = useRef(null);
  useLayoutEffect(() => {  // as with keys: nothing is pressed between its being there and its being open
    const before = document.activeElement;
    const it = box.current;
    it.showModal();
    const first = it.querySelector("[autofocus], input, select, textarea, button:not(.close):not(.stop)");
    if (first) first.focus();
    return () => { if (it.open) it.close(); if (before && before.focus) before.focus(); };
  }, []);
  const cancel = (event) => { event.preventDefault(); onClose(); };
  const submit = (event) => { event.preventDefault(); if (onSubmit) onSubmit(); };
  return html`<dialog ref=${box} class=${kind} aria-labelledby="dialog-title" onCancel=${cancel}>
    <form onSubmit=${submit} novalidate>
      <header><h2 id="dialog-title">${title}</h2>${kind !== "stopping" && html`<button type="button" class="stop" onClick=${() => window.dispatchEvent(new Event(STOP))}>■ Stop All</button>`}<button type="button" class="close" aria-label="Close" onClick=${onClose}>✕</button></header>
      ${children}
    </form>
  </dialog>`;
}

/** A table with a caption; `heads` are `[text, isNumeric]` or text, `rows` lists of cells. */
export function Table({ caption, heads, rows, keys, empty = "Nothing here.", kind = "" }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  const shape = heads.map((head) => (Array.isArray(head) ? head : [head, false]));
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}><table class=${kind}>
    <caption class="spoken">${caption}</caption>
    <thead><tr>${shape.map(([text, isNumeric]) => html`<th scope="col" class=${isNumeric ? "n" : ""}>${text}</th>`)}</tr></thead>
    <tbody>${rows.map((cells, index) => html`<tr key=${keys ? keys[index] : index}>${cells.map((cell, column) => html`<td class=${shape[column] && shape[column][1] ? "n" : ""}>${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** What is loaded, or why it is not, or that it is on its way. `children(data)` draws it. */
export function Loaded({ from, children, what = "this page" }) {
  if (from.data === null && from.problem) return html`<div><${Trouble} problem=${from.problem} /><p><${Button} onPress=${from.reload}>Try again<//></p></div>`;
  if (from.data === null) return html`<p class="quiet" role="status">Reading ${what} …</p>`;
  return html`<div>${from.problem && html`<p class="stale" role="status">What you see is not fresh: ${from.problem.detail}</p>`}${children(from.data)}</div>`;
}

/** How much of a budget is used. */
export function Meter({ used, of, label }) {
  return html`<span class="meter"><meter min="0" max=${Math.max(of, 1)} value=${used} aria-label=${label}></meter> <span class="n">${used}/${of}</span></span>`;
}

/** A small line of numbers. `label` says what it shows to who cannot see it. */
export function Spark({ values, label, width = 120, height = 28 }) {
  const finite = values.filter((value) => Number.isFinite(value));
  if (finite.length < 2) return html`<span class="quiet">${finite.length ? "one point" : "no points yet"}</span>`;
  const low = Math.min(...finite), high = Math.max(...finite);
  const x = (index) => 2 + (index * (width - 4)) / (values.length - 1);
  const y = (value) => (high === low ? height / 2 : height - 3 - ((value - low) * (height - 6)) / (high - low));
  let path = "", isOpen = false;
  values.forEach((value, index) => {
    if (!Number.isFinite(value)) { isOpen = false; return; }
    path += `${isOpen ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    isOpen = true;
  });
  return html`<svg class="spark" viewBox="0 0 ${width} ${height}" width=${width} height=${height} role="img" aria-label=${label}><path d=${path} class="campaign thin" /></svg>`;
}

/** How a signal went: `points` are `[Unix s, value]`, null for a gap. With its lowest and highest, so that it says something without a scale. */
export function Trend({ points, name, unit, width = 150, height = 36 }) {
  const known = points.filter(([, value]) => typeof value === "number");
  if (!known.length) return html`<span class="quiet">${points.length ? "not a number, or never read" : "no points yet"}</span>`;
  const low = Math.min(...known.map(([, value]) => value)), high = Math.max(...known.map(([, value]) => value));
  const first = points[0][0], span = Math.max(points[points.length - 1][0] - first, 1);
  const x = (at) => 2 + ((at - first) * (width - 4)) / span;
  const y = (value) => (high === low ? height / 2 : height - 4 - ((value - low) * (height - 8)) / (high - low));
  let path = "", isOpen = false, last = null;
  for (const [at, value] of points) {
    const isKnown = typeof value === "number";
    if (isKnown) { path += `${isOpen && at - last < 5 ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}h0`; last = at; }
    isOpen = isKnown;
  }
  const tail = unit && unit !== "1" ? ` ${pretty(unit)}` : "";
  const said = `${name} over the last ${duration(span)}: between ${number(low)} and ${number(high)}${tail}`;
  return html`<span class="trend"><svg viewBox="0 0 ${width} ${height}" width=${width} height=${height} role="img" aria-label=${said}><title>${said}</title><path d=${path} class="campaign thin" /></svg><span class="quiet">${low === high ? "steady" : `${number(low, 3)} to ${number(high, 3)}`}</span></span>`;
}

/** A picture drawn by the server, put in as nodes: it is SVG of our own, and no script in it would run. */
export function Picture({ svg }) {
  const place = useRef(null);
  useEffect(() => {
    const parsed = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
    place.current.replaceChildren(...(parsed ? [document.importNode(parsed, true)] : []));
  }, [svg]);
  return html`<div class="picture" ref=${place}></div>`;
}

/** Set the document's title, and say the page's name to who cannot see it. */
export function useTitle(title) {
  useEffect(() => { document.title = `${title} · Athanor`; }, [title]);
}

const KEYS_APART_MS = 500;

/** Keys of a page: `{a: () => ...}`; not while somebody writes, not with a dialog open, and not right after another. */
export function useKeys(keys) {
  const current = useRef(keys), last = useRef(-KEYS_APART_MS);
  current.current = keys;
  useLayoutEffect(() => {  // an effect comes after painting: whoever is quick would press a key that nobody hears yet
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
      const isTooSoon = event.timeStamp - last.current < KEYS_APART_MS;
      last.current = event.timeStamp;
      const found = current.current[event.key];
      if (found && !isTooSoon) { event.preventDefault(); found(); }
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
