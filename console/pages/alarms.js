// Alarms: what wants an answer, with what happens if nobody gives one; what is hidden and until when; how it went.
import { html, useEffect, useRef, useState } from "./preact.js";
import { get, post, useAction, useData } from "./api.js";
import { Ago, Button, count, Dialog, duration, Field, Loaded, may, moment, number, Outcome, State, Table, To, Trouble, useTitle, words } from "./parts.js";

const PRIORITIES = ["critical", "high", "medium", "low"];
const SIGNS = { critical: ["bad", "‼"], high: ["bad", "!"], medium: ["ask", "▲"], low: ["quiet", "▽"] };
const STATES = {
  unacknowledged: ["bad", "●", "active, not acknowledged"], acknowledged: ["ask", "◐", "active, acknowledged"], returned: ["ask", "○", "over, not acknowledged"],
  latched_unacknowledged: ["bad", "◆", "over, kept until it is reset"], latched_acknowledged: ["ask", "◇", "acknowledged, kept until it is reset"],
  shelved: ["quiet", "◔", "shelved"], suppressed: ["quiet", "⊘", "suppressed by design"], out_of_service: ["quiet", "✕", "out of service"], normal: ["good", "✓", "normal"],
};
const HIDDEN = ["shelved", "suppressed", "out_of_service"];
const OPEN = ["unacknowledged", "latched_unacknowledged", "returned", "acknowledged", "latched_acknowledged", ...HIDDEN];
const LIST = `/alarms?limit=500&${OPEN.map((one) => `state=${one}`).join("&")}`;
const said = (one) => (one.detail.startsWith(`${one.subject}: `) ? one.detail.slice(one.subject.length + 2) : one.detail);
const ofSite = (change) => change.campaign_id === null && change.kind === "event";
const where = (one, verb) => `/alarms/${encodeURIComponent(one.id)}/${verb}`;

// verb: [what the button says, what will happen, what is said when it is done, scope]
const ACTS = {
  reset: ["Reset", "The alarm ends. Its condition has gone; if it comes back, so does the alarm.", "reset", "alarm.respond"],
  shelve: ["Shelve", "The alarm is hidden for as long as you say, then it comes back by itself if it is still so.", "shelved", "alarm.respond"],
  unshelve: ["Show again", "The alarm is shown again now, and wants an answer if it is still so.", "shown again", "alarm.respond"],
  suppress: ["Suppress by design", "The alarm is hidden, with no end, until somebody shows it again. Do this where it cannot mean anything.", "suppressed", "alarm.suppress"],
  unsuppress: ["Show again", "The alarm is shown again now, and wants an answer if it is still so.", "shown again", "alarm.suppress"],
  "remove-from-service": ["Take out of service", "The alarm is hidden, with no end, until somebody returns it to service. Do this while what it watches is repaired.", "out of service", "alarm.suppress"],
  "return-to-service": ["Return to service", "The alarm is shown again now, and wants an answer if it is still so.", "in service again", "alarm.suppress"],
};
const SHOWS = { shelved: "unshelve", suppressed: "unsuppress", out_of_service: "return-to-service" };

const Priority = ({ of }) => html`<${State} tone=${SIGNS[of][0]} sign=${SIGNS[of][1]}>${of}<//>`;
const Standing = ({ of }) => html`<${State} tone=${STATES[of][0]} sign=${STATES[of][1]}>${STATES[of][2]}<//>`;

function address(one) {
  if (one.definition.startsWith("outcome.")) return `/experiments/${encodeURIComponent(one.subject)}`;
  if (/^(campaign|approval|grant|reference)\./.test(one.definition)) return `/campaigns/${encodeURIComponent(one.subject)}`;
  return one.instrument ? `/instruments/${encodeURIComponent(one.instrument)}` : null;
}

function Subject({ one }) {
  const to = address(one);
  return html`${to ? html`<${To} to=${to}><strong class="mono">${one.subject}</strong><//>` : html`<strong class="mono">${one.subject}</strong>`}${one.simulated ? html` <span class="quiet">(simulated)</span>` : ""}`;
}

/** Alarms that want an answer, for the top of other pages; nothing where there are none. */
export function AlarmStrip() {
  const alarms = useData("/alarms?limit=100&state=unacknowledged&state=latched_unacknowledged&state=returned", { about: ofSite, every: 15000 });
  const found = alarms.data ? alarms.data.items : [];
  if (alarms.problem && !alarms.data) return html`<p class="stale" role="status">The alarms cannot be read: ${alarms.problem.detail}</p>`;
  if (!found.length) return null;
  const worst = PRIORITIES.find((one) => found.some((alarm) => alarm.priority === one));
  return html`<section class="panel bad" aria-labelledby="alarm-strip"><div class="head"><h2 id="alarm-strip">${count(found.length, "alarm")}${alarms.data.next ? " or more" : ""} ${found.length === 1 ? "wants" : "want"} an answer</h2><${To} to="/alarms">See to them<//></div>
    <ul class="plainlist">${found.slice(0, 3).map((one) => html`<li key=${one.id}><${Priority} of=${one.priority} /> <strong>${one.title}</strong>: ${one.detail || one.subject}</li>`)}</ul>
    ${found.length > 3 && html`<p class="quiet">… and ${found.length - 3} more; the most urgent is ${worst}.</p>`}</section>`;
}

export function Alarms({ me }) {
  useTitle("Alarms");
  const [view, setView] = useState("now");
  const views = { now: "Now", history: "History", figures: "Figures", catalogue: "Catalogue" };
  return html`<div class="head"><h1>Alarms</h1><div class="row" role="group" aria-label="What to show">${Object.entries(views).map(([key, name]) =>
      html`<button type="button" key=${key} class=${view === key ? "primary" : ""} aria-pressed=${view === key ? "true" : "false"} onClick=${() => setView(key)}>${name}</button>`)}</div></div>
    ${view === "now" ? html`<${Now} me=${me} />` : view === "history" ? html`<${Everything} />` : view === "figures" ? html`<${Figures} />` : html`<${Catalogue} />`}`;
}

function Now({ me }) {
  const alarms = useData(LIST, { about: ofSite, every: 10000 }), figures = useData("/alarm-figures?hours=1", { about: ofSite, every: 30000 });
  const [asking, setAsking] = useState(null), [told, setTold] = useState(""), [seen, setSeen] = useState(null);
  const heading = useRef(null), moved = useRef(false);
  const acknowledge = useAction(async (one) => {
    try {
      await post(where(one, "acknowledge"));
      setTold(`Acknowledged: ${one.title}, ${one.subject}.`);
      moved.current = true;
    } finally {
      await alarms.reload();
    }
  });
  useEffect(() => {  // what was pressed has gone elsewhere: go on with the next, not with the top of the page
    if (!moved.current) return;
    moved.current = false;
    (document.querySelector("button[data-acknowledge]") || heading.current)?.focus();
  }, [alarms.data]);
  const done = async (one, verb) => { setAsking(null); setTold(`${one.title}, ${one.subject}: ${ACTS[verb][2]}.`); await alarms.reload(); heading.current?.focus(); };
  const tools = { me, acknowledge, ask: (one, verb) => { acknowledge.clear(); setAsking([one, verb]); }, show: setSeen };
  return html`<div><div role="status" aria-live="polite" class="outcome">${told && html`<span class="good">✓ ${told}</span>`}</div><${Trouble} problem=${acknowledge.problem} />
    <${Loaded} from=${alarms} what="the alarms">${(data) => {
      const open = data.items.filter((one) => one.needs_answer), seenTo = data.items.filter((one) => !one.needs_answer && !one.hidden), hidden = data.items.filter((one) => one.hidden);
      return html`<div>${figures.data && figures.data.is_flood && html`<p class="notice" role="status"><strong>‼ A flood of alarms:</strong> ${figures.data.worst_ten_minutes} new ones within ten minutes, more than one person can answer. They are in groups below, the most urgent first: begin at the top, and look for one cause.</p>`}
        <h2 ref=${heading} tabindex="-1">Want an answer (${open.length})</h2>
        ${!open.length && html`<div class="panel"><p class="empty">✓ No alarm wants an answer.</p></div>`}
        ${groups(open).map((group) => html`<${Group} key=${group[0].definition} group=${group} tools=${tools} />`)}
        ${seenTo.length > 0 && html`<h2>Acknowledged (${seenTo.length})</h2>${groups(seenTo).map((group) => html`<${Group} key=${group[0].definition} group=${group} tools=${tools} />`)}`}
        <h2>Hidden (${hidden.length})</h2><section class="panel"><${Hidden} hidden=${hidden} tools=${tools} /></section>
        ${data.next && html`<p class="quiet">There are more than are shown; the most urgent are.</p>`}</div>`;
    }}<//>
    ${asking && html`<${Asking} one=${asking[0]} verb=${asking[1]} onDone=${done} onClose=${() => setAsking(null)} />`}
    ${seen && html`<${History} one=${seen} onClose=${() => setSeen(null)} />`}</div>`;
}

/** Alarms of one definition together, in the order in which they come. */
function groups(alarms) {
  const found = new Map();
  for (const one of alarms) found.set(one.definition, [...(found.get(one.definition) || []), one]);
  return [...found.values()].sort((a, b) => PRIORITIES.indexOf(a[0].priority) - PRIORITIES.indexOf(b[0].priority));
}

function Group({ group, tools }) {
  const [first] = group, [isAll, setAll] = useState(false);
  const needs = group.some((one) => one.needs_answer), shown = isAll ? group : group.slice(0, 8), id = `alarms-${first.definition.replace(".", "-")}-${needs}`;
  return html`<section class="panel ${needs ? SIGNS[first.priority][0] : ""}" aria-labelledby=${id}>
    <div class="head"><h3 id=${id}><${Priority} of=${first.priority} /> ${first.title}${group.length > 1 ? ` (${group.length})` : ""}</h3><span class="quiet">respond within ${duration(first.respond_s)}</span></div>
    <dl class="facts"><dt>If nobody acts</dt><dd>${first.consequence}</dd><dt>What to do</dt><dd><strong>${first.response}</strong></dd></dl>
    <ul class="plainlist">${shown.map((one) => html`<${Line} key=${one.id} one=${one} tools=${tools} />`)}</ul>
    ${group.length > shown.length && html`<button type="button" onClick=${() => setAll(true)}>Show ${group.length - shown.length} more</button>`}
  </section>`;
}

function Left({ one }) {
  if (!one.answer_by) return null;
  const left = (new Date(one.answer_by) - Date.now()) / 1000;
  return left > 0 ? html` <span>${duration(left)} left to respond</span>` : html` <strong class="bad">✕ respond now: ${duration(-left)} overdue</strong>`;
}

function Line({ one, tools }) {
  const can = may(tools.me, "alarm.respond", one.simulated), canHide = may(tools.me, "alarm.suppress", one.simulated);
  const about = `${one.title}, ${one.subject}`, isBusy = tools.acknowledge.isBusy;
  const act = (verb, kind = "") => html`<${Button} kind=${kind} onPress=${() => tools.ask(one, verb)} aria-label=${`${ACTS[verb][0]}: ${about}`}>${ACTS[verb][0]} …<//>`;
  return html`<li><div class="head"><span><${Subject} one=${one} /> <${Standing} of=${one.state} /></span><span class="quiet">came <${Ago} at=${one.raised_at} />${one.count > 1 ? `, ${one.count} times so far` : ""}</span></div>
    <div>${said(one)}</div>
    <div class="quiet">${one.acknowledged_by ? html`acknowledged by <strong>${one.acknowledged_by}</strong> <${Ago} at=${one.acknowledged_at} />` : ""}${!one.is_active && one.cleared_at ? html` went <${Ago} at=${one.cleared_at} />` : ""}<${Left} one=${one} /></div>
    <div class="row">${can && one.needs_answer && html`<button type="button" class="primary" data-acknowledge onClick=${() => tools.acknowledge.run(one)} aria-busy=${isBusy ? "true" : undefined} aria-disabled=${isBusy ? "true" : undefined} aria-label=${`Acknowledge: ${about}`}>✓ Acknowledge</button>`}
      ${can && one.state === "latched_acknowledged" && act("reset", "primary")}${can && act("shelve")}${canHide && act("suppress", "plain")}${canHide && act("remove-from-service", "plain")}
      <button type="button" class="plain" onClick=${() => tools.show(one)} aria-label=${`History: ${about}`}>History</button>${!can && html`<span class="quiet">To be answered by somebody whose role may.</span>`}</div></li>`;
}

function Hidden({ hidden, tools }) {
  return html`<${Table} caption="Hidden alarms" empty="No alarm is hidden." keys=${hidden.map((one) => one.id)} heads=${["alarm", "how", "by whom, and why", "comes back", ""]}
    rows=${hidden.map((one) => {
      const verb = SHOWS[one.hidden.how], can = may(tools.me, ACTS[verb][3], one.simulated) && !one.hidden.cause;
      return [html`<${Priority} of=${one.priority} /> ${one.title}<br /><${Subject} one=${one} />`, html`<${Standing} of=${one.state} /><br />${one.is_active ? html`<strong class="bad">● it is so now</strong>` : html`<span class="quiet">○ it is not so now</span>`}`,
        html`<strong>${one.hidden.by === "athanor" ? "by itself" : one.hidden.by}</strong>: ${one.hidden.why}`, one.hidden.until ? html`<${Ago} at=${one.hidden.until} />` : one.hidden.cause ? "when that has ended" : "never by itself",
        html`${can && html`<${Button} onPress=${() => tools.ask(one, verb)} aria-label=${`${ACTS[verb][0]}: ${one.title}, ${one.subject}`}>${ACTS[verb][0]} …<//>`}<button type="button" class="plain" onClick=${() => tools.show(one)} aria-label=${`History: ${one.title}, ${one.subject}`}>History</button>`];
    })} />`;
}

const LENGTHS = [[900, "15 minutes"], [3600, "1 hour"], [4 * 3600, "4 hours"], [8 * 3600, "8 hours"], [24 * 3600, "24 hours"], [72 * 3600, "72 hours"]];

function Asking({ one, verb, onDone, onClose }) {
  const [reason, setReason] = useState(""), [lasts, setLasts] = useState("900");
  const [name, effect] = ACTS[verb], wants = reason.trim() === "";
  const act = useAction(async () => {
    await post(where(one, verb), { reason: reason.trim(), ...(verb === "shelve" ? { lasts_s: Number(lasts) } : {}) });
    await onDone(one, verb);
  });
  const submit = () => { if (!wants) act.run(); };
  return html`<${Dialog} title=${`${name}: ${one.title}`} onClose=${onClose} onSubmit=${submit}><p><strong class="mono">${one.subject}</strong> ${said(one)}</p><p>${effect}</p>
    ${verb === "shelve" && html`<${Field} label="For how long" value=${lasts} onInput=${setLasts} options=${LENGTHS.filter(([seconds]) => seconds <= one.longest_shelved_s).map(([seconds, said]) => [String(seconds), said])} hint=${`One of priority ${one.priority} is shelved for ${duration(one.longest_shelved_s)} at most.`} />`}
    <${Field} label="Reason" rows="2" value=${reason} onInput=${setReason} maxlength="2000" hint="It is kept in the record, with your name." autofocus />
    <div class="row"><button type="submit" class="primary" aria-disabled=${wants || act.isBusy ? "true" : undefined} aria-busy=${act.isBusy ? "true" : undefined}>${name}</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${act} /><//>`;
}

const DID = { raised: "came", cleared: "went", removed: "taken out of service", restored: "returned to service", unshelved: "shown again", unsuppressed: "shown again", suppressed: "suppressed by design" };
const by = (line) => (line.by === "athanor" ? html`<span class="quiet">by itself</span>` : html`<strong>${line.by}</strong>`);

/** A long list, page by page. */
function usePages(path) {
  const [rows, setRows] = useState([]), [next, setNext] = useState(null);
  const more = useAction(async (after) => {
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=50${after ? `&after=${encodeURIComponent(after)}` : ""}`);
    setRows((before) => (after ? [...before, ...page.items] : page.items));
    setNext(page.next);
    return page;
  });
  useEffect(() => { more.run(null); }, [path]);
  return { rows, next, more };
}

function More({ pages }) {
  return html`${pages.next && html`<p><${Button} action=${pages.more} onPress=${() => pages.more.run(pages.next)}>Show older<//></p>`}<${Trouble} problem=${pages.more.problem} />`;
}

function History({ one, onClose }) {
  const pages = usePages(`/alarms/${encodeURIComponent(one.id)}/history`);
  return html`<${Dialog} title=${`History: ${one.title}`} onClose=${onClose}><p class="mono">${one.subject}</p>
    <${Table} caption="History" empty=${pages.more.isBusy ? "Reading …" : "Nothing yet."} keys=${pages.rows.map((line) => line.id)} heads=${["when", "what", "by", "why"]} rows=${pages.rows.map((line) => [moment(line.at), `${DID[line.verb] || words(line.verb)}${line.until ? ` until ${moment(line.until)}` : ""}`, by(line), line.why])} />
    <${More} pages=${pages} /><div class="row"><button type="button" onClick=${onClose}>Close</button></div><//>`;
}

function Everything() {
  const pages = usePages("/alarm-history");
  return html`<section class="panel" aria-labelledby="everything"><div class="head"><h2 id="everything">History</h2><${Button} action=${pages.more} onPress=${() => pages.more.run(null)}>Read again<//></div>
    <${Table} caption="What happened to all alarms" empty=${pages.more.isBusy ? "Reading …" : "No alarm has come yet."} keys=${pages.rows.map((line) => line.id)} heads=${["when", "priority", "alarm", "what", "by", "why"]}
      rows=${pages.rows.map((line) => [moment(line.at), html`<${Priority} of=${line.priority} />`, html`<span class="mono">${line.definition}</span><br />${line.subject}`, `${DID[line.verb] || words(line.verb)}${line.until ? ` until ${moment(line.until)}` : ""}`, by(line), line.why])} /><${More} pages=${pages} /></section>`;
}

function Figures() {
  const [hours, setHours] = useState("24");
  const figures = useData(`/alarm-figures?hours=${hours}`, { about: ofSite, every: 60000 });
  return html`<section class="panel" aria-labelledby="figures"><h2 id="figures">Figures</h2><div class="filters"><${Field} label="Of the last" value=${hours} onInput=${setHours} options=${[["1", "hour"], ["8", "8 hours"], ["24", "24 hours"], ["168", "7 days"], ["720", "30 days"]]} /></div>
    <${Loaded} from=${figures} what="the figures">${(data) => html`<dl class="facts">
      <dt>New alarms</dt><dd>${data.raised}, ${number(data.per_hour, 3)} an hour <span class="quiet">(about 6 an hour can be answered well, 12 at most)</span></dd>
      <dt>Most within ten minutes</dt><dd>${data.worst_ten_minutes}${data.worst_ten_minutes > 10 ? html` <strong class="bad">✕ a flood</strong>` : ""}</dd>
      <dt>By priority</dt><dd>${PRIORITIES.map((one) => `${one} ${Math.round(100 * data.shares[one])} %`).join(", ")}</dd>
      <dt>Active for more than a day</dt><dd>${data.standing.length ? data.standing.join(", ") : "none"}</dd>
      <dt>Chattering</dt><dd>${data.chattering.length ? data.chattering.join(", ") : "none"}</dd></dl>
      <h3>Floods</h3><${Table} caption="Floods" empty="None: never more than ten new alarms within ten minutes." heads=${["began", "ended", ["alarms", true], ["most within ten minutes", true]]} rows=${data.floods.map((one) => [moment(one.began), moment(one.ended), one.count, one.worst])} />
      <h3>Most frequent</h3><${Table} caption="Most frequent alarms" empty="None came." heads=${["alarm", ["times", true]]} rows=${data.most_frequent.map(([id, times]) => [html`<span class="mono">${id}</span>`, times])} />`}<//></section>`;
}

function Catalogue() {
  const found = useData("/alarm-definitions", { about: () => false });
  return html`<section class="panel" aria-labelledby="catalogue"><h2 id="catalogue">Every alarm there can be</h2><${Loaded} from=${found} what="the catalogue">${(data) => html`<${Table} caption="Catalogue of alarms" keys=${data.items.map((one) => one.id)} heads=${["priority", "alarm", "if nobody acts", "what to do", "within"]}
    rows=${[...data.items].sort((a, b) => PRIORITIES.indexOf(a.priority) - PRIORITIES.indexOf(b.priority)).map((one) => [html`<${Priority} of=${one.priority} />`, html`<strong>${one.title}</strong><br /><span class="mono quiet">${one.id}</span>${one.latches ? html`<br /><span class="quiet">kept until it is reset</span>` : ""}`, one.consequence, one.response, duration(one.respond_s)])} />`}<//></section>`;
}
