// The audit: who did, tried or was refused what; whether the record of it is whole; a copy of it.
import { html, useEffect, useState } from "./preact.js";
import { post, useAction, useData, usePages } from "./api.js";
import { Ago, Button, count, Dialog, Field, Loaded, may, Meter, moment, Outcome, State, Table, To, Trouble, useTitle, words } from "./parts.js";

const NONE = { who: "", kind: "", instrument: "", campaign: "", since: "", until: "", refusals: false, order: "newest" };

/** What the address asks for. */
function asked() {
  const given = new URLSearchParams(location.search);
  return { ...NONE, ...Object.fromEntries(Object.keys(NONE).filter((name) => given.has(name)).map((name) => [name, name === "refusals" ? given.get(name) === "true" : given.get(name)])) };
}

/** Filters as the API takes them; a moment as the person's own clock shows it becomes one for everybody. */
function query(filters, { order = true } = {}) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) {
    if (!value || (name === "order" && !order)) continue;
    if (name === "since" || name === "until") { const at = new Date(value); if (!Number.isNaN(at.getTime())) said.set(name, at.toISOString()); }
    else if (name === "kind") value.split(",").map((kind) => kind.trim().replaceAll(" ", "_")).filter(Boolean).forEach((kind) => said.append("kind", kind));
    else said.set(name, value);
  }
  return said.toString();
}

export function AuditPage({ me }) {
  useTitle("Audit");
  if (!may(me, "audit.read")) return html`<h1>Audit</h1><p>Your role may not see the audit: ask an owner for a role that may.</p>`;
  return html`<${Audit} />`;
}

function Audit() {
  const [filters, setFilters] = useState(asked), [typed, setTyped] = useState(asked), [open, setOpen] = useState(null);
  const show = (wanted) => {
    setFilters(wanted);
    setTyped(wanted);
    const said = new URLSearchParams(Object.entries(wanted).filter(([name, value]) => value && value !== NONE[name]).map(([name, value]) => [name, String(value)])).toString();
    history.replaceState(null, "", `/audit${said ? `?${said}` : ""}`);
  };
  const path = `/audit/rows?${query(filters)}`;
  const rows = usePages(path);
  const newest = useData("/audit/rows?limit=1");
  const isUnfiltered = Object.entries(filters).every(([name, value]) => value === NONE[name]);
  const fresh = isUnfiltered && newest.data && rows.items.length ? newest.data.items[0].position - rows.items[0].position : 0;
  return html`<h1>Audit</h1>
    <p class="quiet">Every row of the journal: who did, tried or was refused what. Each row's hash covers the hash of the row before, so that none can be changed, removed or put in without a trace.</p>
    <${Verification} onShow=${setOpen} />
    <section class="panel" aria-labelledby="rows"><h2 id="rows">The journal</h2>
      <form onSubmit=${(event) => { event.preventDefault(); show(typed); }} aria-label="Which rows">
        <div class="filters even">
          <${Field} label="Who" value=${typed.who} onInput=${(who) => setTyped({ ...typed, who })} autocapitalize="none" spellcheck=${false} />
          <${Field} label="Kind" value=${typed.kind} onInput=${(kind) => setTyped({ ...typed, kind })} placeholder="decision, signed in" autocapitalize="none" />
          <${Field} label="Instrument" value=${typed.instrument} onInput=${(instrument) => setTyped({ ...typed, instrument })} autocapitalize="none" />
          <${Field} label="Campaign" value=${typed.campaign} onInput=${(campaign) => setTyped({ ...typed, campaign })} autocapitalize="none" />
          <${Field} label="From" type="datetime-local" value=${typed.since} onInput=${(since) => setTyped({ ...typed, since })} />
          <${Field} label="To" type="datetime-local" value=${typed.until} onInput=${(until) => setTyped({ ...typed, until })} />
          <${Field} label="Order" value=${typed.order} onInput=${(order) => setTyped({ ...typed, order })} options=${[["newest", "newest first"], ["oldest", "oldest first"]]} />
          <${Field} label="Refusals only" type="checkbox" value=${typed.refusals} onInput=${(refusals) => setTyped({ ...typed, refusals })} />
        </div>
        <div class="row"><button type="submit" class="primary">Show</button><${Button} onPress=${() => show(NONE)}>Show everything<//>
          <a class="button" href=${`/api/v1/audit/export?${query(filters, { order: false })}`} download>Copy of these rows (JSONL)</a></div>
        <p class="hint">The copy holds the hashes; without filters its chains are whole, and anybody can check them. That you took it is written down.</p>
      </form>
      ${fresh > 0 && filters.order === "newest" && html`<p class="notice" role="status">${count(fresh, "newer row")}. <${Button} onPress=${rows.reload}>Show<//></p>`}
      <${Table} caption="Rows of the journal" empty=${rows.isLoading || rows.problem ? "" : rows.isMore ? "Nothing so far." : "There is no such row."} keys=${rows.items.map((row) => row.position)}
        heads=${["row", "when", "who", "what", "hash", ""]}
        rows=${rows.items.map((row) => [html`<span class="mono nowrap">${row.position}</span>`, html`<time class="nowrap" datetime=${row.at}>${moment(row.at)}</time>`, row.who || html`<span class="quiet">—</span>`, html`<${What} row=${row} />`, html`<${Link} row=${row} />`,
          html`<${Button} kind="nowrap" onPress=${() => setOpen(row.position)} aria-label=${`Row ${row.position} in full`}>In full<//>`])} />
      <div aria-live="polite">${rows.isLoading && html`<p class="quiet">Reading …</p>`}<${Trouble} problem=${rows.problem} />
        ${!rows.isLoading && rows.isMore && !rows.items.length && html`<p class="quiet">Nothing like this among the rows looked at so far, ${filters.order === "newest" ? "back" : "up"} to row ${rows.next}.</p>`}</div>
      ${rows.isMore && !rows.isLoading && html`<p><${Button} onPress=${rows.more}>${rows.items.length ? "Show more" : "Look further"}<//></p>`}
    </section>
    ${open !== null && html`<${Row} position=${open} onMove=${setOpen} onClose=${() => setOpen(null)} />`}`;
}

function What({ row }) {
  return html`${row.is_refused && html`<${State} tone="bad" sign="✕">refused<//> `}${row.what} <span class="quiet">(${words(row.kind)}${row.campaign_id ? html`, <${To} to=${`/campaigns/${encodeURIComponent(row.campaign_id)}`}>${row.campaign_id}<//>` : ""})</span>`;
}

/** The hash, and whether it holds and hangs on to the row before. */
function Link({ row }) {
  return html`<span class="mono nowrap" title=${row.hash}>${row.hash.slice(0, 10)}</span>${!row.is_whole && html` <${State} tone="bad" sign="✕">altered<//>`}${!row.is_linked && html` <${State} tone="bad" sign="✕">not linked<//>`}`;
}

function Row({ position, onMove, onClose }) {
  const row = useData(`/audit/rows/${position}`, { about: () => false });
  return html`<${Dialog} title=${`Row ${position}`} onClose=${onClose}><${Loaded} from=${row} what="the row">${(found) => html`
    <p><strong>${found.who || "By itself"}</strong>: ${found.what}</p>
    <dl class="facts"><dt>When</dt><dd>${found.at}</dd><dt>Chain</dt><dd class="mono">${found.chain}, row ${found.seq} of it</dd><dt>Kind</dt><dd>${words(found.kind)}</dd>
      <dt>Hash</dt><dd class="mono">${found.hash} ${found.is_whole ? html`<span class="good">✓ that of this text</span>` : html`<strong class="bad">✕ not that of this text: the row was altered</strong>`}</dd>
      <dt>Row before</dt><dd class="mono">${found.previous} ${found.is_linked ? html`<span class="good">✓ its hash</span>` : html`<strong class="bad">✕ not the hash of the row before</strong>`}</dd></dl>
    <h3>What the hash covers</h3><pre class="body" tabindex="0" aria-label="The text of the row">${pretty(found.body)}</pre>
    <div class="row">${found.before !== null && html`<${Button} onPress=${() => onMove(found.before)}>Row before<//>`}<button type="button" onClick=${onClose}>Close</button></div>`}<//><//>`;
}

function pretty(body) {
  try { return JSON.stringify(JSON.parse(body), null, 1); } catch { return body; }
}

function Verification({ onShow }) {
  const [isWatched, setWatched] = useState(false);
  const job = useData("/audit/verify", { about: (change) => change.campaign_id === null, every: isWatched ? 1000 : 0 });
  const isRunning = Boolean(job.data) && job.data.state === "running";
  useEffect(() => setWatched(isRunning), [isRunning]);
  const start = useAction(async () => { await post("/audit/verify"); setWatched(true); await job.reload(); });
  return html`<section class="panel" aria-labelledby="verify"><div class="head"><h2 id="verify">Is the record whole?</h2><${Button} action=${start} kind="primary" why=${isRunning ? "It is being verified." : null}>Verify the record<//></div>
    <p class="quiet">Reads the whole record and names every row that was altered, removed, reordered or cut. It runs beside everything else, in a process of its own.</p>
    <${Outcome} action=${start} />
    <${Loaded} from=${job} what="the last verification">${(found) => html`<div role="status"><${Found} found=${found} onShow=${onShow} /></div>`}<//></section>`;
}

function Found({ found, onShow }) {
  if (found.state === "none") return html`<p class="empty">Not verified since this console was started.</p>`;
  if (found.state === "running") return html`<p>${found.by} is having it verified: <${Meter} used=${found.rows} of=${found.of} label="Rows read" /> rows read${found.of && found.rows >= found.of ? "; now the tables are held against them" : ""}.</p>`;
  if (found.state === "failed") return html`<p class="trouble"><strong>✕ It could not be carried out:</strong> ${found.detail}</p>`;
  const when = html`<span class="quiet">Asked for by ${found.by}, done <${Ago} at=${found.ended} />.</span>`;
  const notes = found.notes.map((note) => html`<li key=${note.detail} class="quiet">Note: ${note.detail}</li>`);
  if (found.state === "whole") return html`<p class="good"><strong>✓ ${count(found.rows, "row")} in ${count(found.chains, "chain")}, all as they were written.</strong></p><ul class="plainlist">${notes}</ul><p>${when}</p>`;
  return html`<div class="trouble"><strong>✕ The record is not whole: ${count(found.count, "problem")} in ${count(found.rows, "row")}.</strong>
      ${found.first && html`<p>The first: ${found.first.detail}${found.first.chain ? html` <span class="mono">(${found.first.chain}${found.first.seq !== null ? `, row ${found.first.seq}` : ""})</span>` : ""}. ${found.first.position !== null && html`<${Button} onPress=${() => onShow(found.first.position)}>Show row ${found.first.position}<//>`}</p>`}</div>
    <ul class="plainlist log" tabindex="0" aria-label="What is wrong">${found.problems.map((one, index) => html`<li key=${index}><strong>${one.kind}</strong>: ${one.detail} ${one.position !== null && html`<${Button} kind="plain" onPress=${() => onShow(one.position)}>row ${one.position}<//>`}</li>`)}${notes}</ul>
    ${found.count > found.problems.length && html`<p class="quiet">${count(found.count - found.problems.length, "further problem")} not listed: <code>athanor ledger verify</code> lists all.</p>`}
    <p>Leave the ledger as it is, keep a copy, and hold it against a backup. ${when}</p>`;
}
