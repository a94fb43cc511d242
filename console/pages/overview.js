// The site at one look: what waits for me first, then campaigns and instruments.
import { html } from "./preact.js";
import { AlarmStrip } from "./alarms.js";
import { useData } from "./api.js";
import { Ago, count, Loaded, may, Meter, Spark, State, To, useTitle } from "./parts.js";

const KINDS = {
  decision: ["Decide", "ask", "?"],
  in_doubt: ["In doubt", "bad", "?"],
  bench: ["At the bench", "ask", "✎"],
};

export function Overview({ me }) {
  useTitle("Overview");
  const site = useData("/overview", { every: 5000 });
  return html`<h1>Overview</h1><${AlarmStrip} /><${Loaded} from=${site} what="the site">${(data) => html`
    <${Waiting} waiting=${data.waiting} me=${me} />
    <div class="grid2">
      <${Campaigns} data=${data} me=${me} />
      <${Instruments} instruments=${data.instruments} />
    </div>`}<//>`;
}

function Waiting({ waiting, me }) {
  const can = (one) => may(me, one.what === "in_doubt" ? "outcome.settle" : one.what === "bench" ? "sample.keep" : "experiment.decide", one.simulated);
  const ordered = [...waiting].sort((a, b) => can(b) - can(a) || (a.since || "").localeCompare(b.since || ""));
  const mine = ordered.filter(can).length;
  return html`<section class="panel ${mine ? "ask" : ""}" aria-labelledby="waiting">
    <h2 id="waiting">Waiting for ${mine || !waiting.length ? "you" : "others"}${waiting.length ? ` (${waiting.length})` : ""}</h2>
    ${!waiting.length && html`<p class="empty">✓ Nothing waits for a decision.</p>`}
    <ul class="plainlist">${ordered.slice(0, 20).map((one) => {
      const [word, tone, sign] = KINDS[one.what];
      const to = one.what === "decision" ? `/experiments/${encodeURIComponent(one.experiment_id)}` : `/instruments/${encodeURIComponent(one.instrument)}`;
      return html`<li key=${`${one.what} ${one.experiment_id}`}>
        <div class="head"><span><${State} tone=${tone} sign=${sign}>${word}<//> <${To} to=${to}><strong class="mono">${one.experiment_id || one.instrument}</strong><//> <span class="quiet">${one.campaign}${one.simulated ? " (simulated)" : ""}</span></span>
        <span class="quiet">since <${Ago} at=${one.since} /></span></div>
        <div>${one.settings}</div>${one.why && html`<div class="quiet">${one.why}</div>`}
        ${!can(one) && html`<div class="quiet">For somebody whose role may.</div>`}</li>`;
    })}</ul>
    ${ordered.length > 20 && html`<p class="quiet">… and ${ordered.length - 20} more; the campaigns list them.</p>`}
  </section>`;
}

function Campaigns({ data, me }) {
  return html`<section aria-labelledby="campaigns"><div class="head"><h2 id="campaigns">Campaigns</h2></div>
    ${!data.campaigns.length && html`<div class="panel"><p class="empty">There is no campaign yet. ${may(me, "campaign.start", true) ? html`<${To} to="/new">Start one<//>, or use <code>athanor run</code>.` : "Somebody whose role may has to start one."}</p></div>`}
    ${data.campaigns.map((one) => html`<article class="panel ${one.halted || one.trouble ? "bad" : one.waiting ? "ask" : ""}" key=${one.id}>
      <div class="head"><h3><${To} to=${`/campaigns/${encodeURIComponent(one.id)}`}>${one.name}<//></h3>
        <span><${State} of=${one.state} />${one.simulated && html` <${State}>simulated<//>`}</span></div>
      <div class="quiet">${one.question}</div>
      <div class="row"><${Meter} used=${one.used} of=${one.budget} label=${`${one.used} of ${one.budget} experiments used`} />
        <${Spark} values=${one.trace} label="How the best so far grew" /> <span>${one.best}</span></div>
      ${one.trouble && html`<p class="bad"><strong>✕ ${one.trouble}</strong></p>`}
      ${one.halted && html`<p class="bad"><strong>■ ${one.halted}</strong></p>`}
      ${one.state === "running" && !one.is_driven && html`<p class="bad">✕ No process drives it: the one that did has ended without pausing it.</p>`}
      ${one.reason && html`<p>${one.reason}</p>`}
      ${one.low.map((low) => html`<p class="bad">▾ ${low}</p>`)}
      <div class="quiet">${one.underway.length ? html`▶ ${one.underway.join(", ")} ` : ""}${one.waiting ? `${count(one.waiting, "decision")} open. ` : ""}${one.failures ? `${one.failures} failed. ` : ""}${one.step || ""}</div>
    </article>`)}
    ${data.more_over > 0 && html`<p class="quiet">${count(data.more_over, "more campaign")} that ended earlier.</p>`}
  </section>`;
}

function Instruments({ instruments }) {
  return html`<section aria-labelledby="instruments"><h2 id="instruments">Instruments</h2>
    ${!instruments.length && html`<div class="panel"><p class="empty">No instrument has run here yet.</p></div>`}
    ${instruments.map((one) => html`<article class="panel ${one.latch.engaged || one.trouble ? "bad" : one.taken_over_by ? "ask" : ""}" key=${one.name}>
      <div class="head"><h3><${To} to=${`/instruments/${encodeURIComponent(one.name)}`}>${one.name}<//></h3>
      <span>${one.latch.engaged ? html`<${State} of="stopped">Stop All is latched<//>` : one.taken_over_by ? html`<${State} tone="ask" sign="☞">by hand<//>` : html`<${State} tone="good" sign="●">free to run<//>`}${one.simulated && html` <${State}>simulated<//>`}</span></div>
      ${one.latch.engaged && html`<p class="bad">${one.latch.reason || "no reason given"}, by ${one.latch.by || "somebody"}, <${Ago} at=${one.latch.at} /></p>`}
      ${one.taken_over_by && html`<p>In the hands of <strong>${one.taken_over_by}</strong>.</p>`}
      ${!one.writes && html`<p class="bad">✕ Writes are off${one.writes_reason ? `: ${one.writes_reason}` : ""}</p>`}
      ${one.trouble && html`<p class="bad">✕ ${one.trouble}</p>`}
    </article>`)}</section>`;
}
