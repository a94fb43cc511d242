// One campaign: where it stands and why, what was found, what is believed, and what one can do about it.
import { html, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, count, Dialog, duration, eValue, Field, go, Loaded, may, measured, Meter, moment, number, Outcome, Picture, pretty, State, Table, To, useTitle, words } from "./parts.js";
import { Autonomy } from "./autonomy.js";
import { BatchApproval } from "./batch.js";
import { Driving } from "./driving.js";

export function CampaignPage({ params, me }) {
  useTitle(params.id);
  const where = `/campaigns/${encodeURIComponent(params.id)}`;
  const board = useData(`${where}/board`, { about: (change) => change.campaign_id === params.id || change.campaign_id === null, every: 5000 });
  return html`<${Loaded} from=${board} what="the campaign">${(data) => html`<${Board} data=${data} where=${where} me=${me} reload=${board.reload} />`}<//>`;
}

function Board({ data, where, me, reload }) {
  const isOver = ["succeeded", "failed", "cancelled"].includes(data.state);
  return html`<div class="head"><h1>${data.name}</h1><span><${State} of=${data.state} />${data.simulated && html` <${State}>simulated<//>`}</span></div>
    <p class="quiet">${data.question}</p>
    ${data.halted && html`<p class="trouble"><strong>■ ${data.halted}</strong></p>`}
    ${data.state === "running" && !data.is_driven && html`<p class="trouble"><strong>✕ No process drives this campaign:</strong> the one that did has ended without pausing it.</p>`}
    <section class="panel" aria-labelledby="now"><h2 id="now">Now</h2><p aria-live="polite">${data.now}</p>
      <div class="row"><${Meter} used=${data.used} of=${data.budget} label=${`${data.used} of ${data.budget} experiments used`} /><span class="quiet">${data.failures} failed · ${duration(data.elapsed_s)} · on <${To} to=${`/instruments/${encodeURIComponent(data.instrument)}`}>${data.instrument}<//> · autonomy: ${words(data.autonomy)}${data.tokens ? ` · ${data.tokens} tokens${data.cost !== null ? `, ${data.cost.toFixed(4)} USD` : ""}` : ""}</span></div>
      ${data.low.map((low) => html`<p class="bad">▾ ${low}</p>`)}${data.references.map((line) => html`<p class="quiet">reference: ${line}</p>`)}
      ${data.waiting.length > 0 && html`<p><strong>Waiting for a decision:</strong> ${data.waiting.slice(0, 8).map((id, index) => html`${index ? ", " : ""}<${To} to=${`/experiments/${encodeURIComponent(id)}`} class="mono">${id}<//>`)}${data.waiting.length > 8 ? ` and ${data.waiting.length - 8} more` : ""}</p>`}
      <${BatchApproval} campaign=${data.id} simulated=${data.simulated} waiting=${data.waiting.length} onDone=${reload} />
      ${!isOver && html`<${Steering} data=${data} where=${where} me=${me} reload=${reload} />`}
    </section>
    ${!isOver && html`<section class="panel" aria-labelledby="process"><h2 id="process">Process</h2><${Driving} campaign=${data.id} simulated=${data.simulated} state=${data.state} reload=${reload} /></section>`}
    <${Autonomy} campaign=${data.id} simulated=${data.simulated} isOver=${isOver} />
    <section class="panel" aria-labelledby="best"><div class="head"><h2 id="best">${data.objectives.length > 1 ? "Best trade-offs" : "Best found"}</h2><a class="button" href=${`/api/v1${where}/report`} download>Report (HTML)</a></div>
      <${Best} data=${data} />
      ${data.front && html`<${Picture} svg=${data.front} />`}
      ${data.progress ? html`<h3>Best so far</h3><${Picture} svg=${data.progress} /><p class="hint">Bars are one standard error of what was measured, where it gives one. ◇ test of a hypothesis · ◆ put up by a person · × failed</p>` : html`<p class="empty">Nothing was measured yet.</p>`}
    </section>
    ${data.space.length > 0 && html`<section class="panel" aria-labelledby="space"><h2 id="space">Where it was looked</h2><p class="quiet">${data.objectives[0].name}${data.objectives[0].unit ? ` [${pretty(data.objectives[0].unit)}]` : ""} as measured, along each parameter over its whole range. Those held for best stand out; failures (×) are at the foot.</p><div class="panels">${data.space.map((svg, index) => html`<${Picture} key=${index} svg=${svg} />`)}</div></section>`}
    <${Hypotheses} cards=${data.cards} />
    <${Experiments} data=${data} where=${where} me=${me} reload=${reload} isOver=${isOver} />
    <section class="panel" aria-labelledby="log"><h2 id="log">Log</h2>${!data.log.length && html`<p class="empty">Nothing was noted yet.</p>`}<ul class="plainlist log" tabindex="0" aria-label="Log, newest first">${data.log.map((line, index) => html`<li key=${`${line.at} ${index}`}><span class="quiet"><${Ago} at=${line.at} /></span> ${line.text}</li>`)}</ul></section>`;
}

function Best({ data }) {
  if (!data.best.length) return html`<p class="empty">Nothing that counts was measured yet.</p>`;
  const outcomes = Object.keys(data.outcomes);
  return html`<${Table} caption="Best found" heads=${["experiment", ...data.parameters.map((p) => [`${p.name}${p.unit ? ` [${pretty(p.unit)}]` : ""}`, true]), ...outcomes.map((name) => [`${name}${data.outcomes[name] ? ` [${pretty(data.outcomes[name])}]` : ""}`, true])]}
    rows=${data.best.slice(0, 12).map((one) => [one.experiment || "—", ...data.parameters.map((p) => number(one.values[p.name])), ...outcomes.map((name) => (one.outcomes[name] ? measured(...one.outcomes[name]) : "—"))])} />`;
}

function Steering({ data, where, me, reload }) {
  const may_ = may(me, "campaign.steer", data.simulated) ? null : "Your role may not steer campaigns here.";
  const [isCancelling, setCancelling] = useState(false);
  const pause = useAction(async () => { const told = await post(`${where}/pause`); reload(); return told; });
  const step = useAction(async () => { const told = await post(`${where}/stop-after-step`); reload(); return told; });
  const said = (told) => (told.is_driven ? "Asked. It pauses as soon as nothing is half done." : "No process drives it: nothing new starts.");
  const idle = data.state !== "running" ? `It is ${words(data.state)}.` : null;
  return html`<div class="row"><${Button} action=${pause} why=${may_ || idle}>❚❚ Pause<//><${Button} action=${step} why=${may_ || idle}>Stop after this step<//></div>
    <${Outcome} action=${pause} said=${said} /><${Outcome} action=${step} said=${(told) => (told.is_driven ? "Asked. The present step is finished and remembered first." : "No process drives it: nothing new starts.")} />`;
}

function Hypotheses({ cards }) {
  return html`<section aria-labelledby="hypotheses"><h2 id="hypotheses">Hypotheses</h2>
    ${!cards.length && html`<div class="panel"><p class="empty">None yet: first a few spread-out experiments.</p></div>`}
    ${cards.map((card) => {
      const last = card.evidence[card.evidence.length - 1];
      return html`<article class="panel" key=${card.id}><div class="head"><h3>${card.id.split(".").pop()}: ${card.statement}</h3><${State} of=${card.state} /></div>
        <p class="quiet">${card.rationale}</p>
        <div class="grid2"><dl class="facts"><dt>Prior</dt><dd>${number(card.prior, 2)}, believed by ${card.proposer}</dd>
          <dt>Evidence</dt><dd>${last ? html`e = ${eValue(last.log_e_support)} for, ${eValue(last.log_e_refute)} against, after ${count(card.evidence.length, "block")}${card.cap_blocks ? ` of at most ${card.cap_blocks}` : ""}` : "none yet"}${card.log_threshold_support !== null ? html`; ${eValue(card.log_threshold_support)} decides` : ""}</dd>
          <dt>Verdict</dt><dd>${["supported", "refuted", "inconclusive", "void"].includes(card.state) ? html`<strong>${words(card.state)}</strong>${card.reason ? `: ${card.reason}` : ""}` : "open"}</dd>
          ${card.registered_at && html`<dt>Registered</dt><dd>${moment(card.registered_at)}, before any of its measurements</dd>`}
          ${card.is_tainted && html`<dt>Beware</dt><dd class="bad">✕ tainted: text from outside took part in it</dd>`}</dl>
        ${card.picture && html`<${Picture} svg=${card.picture} />`}</div></article>`;
    })}</section>`;
}

const STATES = ["all", "proposed", "approved", "running", "completed", "failed", "in_doubt", "rejected"];

function Experiments({ data, where, me, reload, isOver }) {
  const [state, setState] = useState("all"), [isProposing, setProposing] = useState(false);
  const shown = data.rows.filter((row) => state === "all" || row.state === state);
  const outcomes = Object.keys(data.outcomes);
  const why = may(me, "experiment.propose", data.simulated) ? (isOver ? "The campaign is over." : null) : "Your role may not put up experiments here.";
  return html`<section class="panel" aria-labelledby="experiments"><div class="head"><h2 id="experiments">Experiments</h2><${Button} onPress=${() => setProposing(true)} why=${why}>Put up one of your own …<//></div>
    <div class="filters"><${Field} label="State" value=${state} onInput=${setState} options=${STATES} /></div>
    <${Table} caption="Experiments, newest first" empty=${data.rows.length ? "None of these is in that state." : "None yet."} keys=${shown.map((row) => row.id)}
      heads=${["#", "state", ...data.parameters.map((p) => [`${p.name}${p.unit ? ` [${pretty(p.unit)}]` : ""}`, true]), ...outcomes.map((name) => [`${name}${data.outcomes[name] ? ` [${pretty(data.outcomes[name])}]` : ""}`, true]), "why"]}
      rows=${shown.map((row) => [html`<${To} to=${`/experiments/${encodeURIComponent(row.id)}`}>${row.id.split(".").pop()}<//>`, html`<${State} of=${row.state} />`, ...data.parameters.map((p) => number(row.values[p.name])), ...outcomes.map((name) => (row.observed[name] ? measured(...row.observed[name]) : "—")), html`<span class="quiet why" title=${row.reason || row.said}>${row.reason || row.said}</span>`])} />
    ${data.more_rows > 0 && html`<p class="quiet">${count(data.more_rows, "older experiment")} not shown here; the report has all.</p>`}
    ${isProposing && html`<${Propose} data=${data} where=${where} onClose=${() => { setProposing(false); reload(); }} />`}</section>`;
}

/** Inputs for a point of a campaign: `values` are texts by name, `wrong` what is wrong with each. */
function Values({ parameters, values, onChange, wrong = {} }) {
  return html`<div class="values">${parameters.map((p) => html`<${Field} key=${p.name} label=${p.name} unit=${p.unit} value=${values[p.name] ?? ""} onInput=${(text) => onChange({ ...values, [p.name]: text })} wrong=${wrong[p.name] || problemWith(p, values[p.name])}
    ...${p.levels ? { options: [["", "choose"], ...p.levels.map((level) => [String(level), String(level)])] } : { inputmode: "decimal", autocomplete: "off" }}
    hint=${p.levels ? null : `${number(p.low)} to ${number(p.high)}${p.is_integer ? ", whole" : ""}`} />`)}</div>`;
}

/** What is wrong with what was typed for a parameter; null for nothing, and for nothing typed yet. */
function problemWith(p, text) {
  if (text === undefined || text === "" || p.levels) return null;
  const value = Number(String(text).replace("−", "-"));
  if (!Number.isFinite(value)) return "This is not a number.";
  if (p.is_integer && !Number.isInteger(value)) return "This must be a whole number.";
  if (p.low !== null && value < p.low) return `Not below ${number(p.low)}${p.unit ? ` ${pretty(p.unit)}` : ""}.`;
  if (p.high !== null && value > p.high) return `Not above ${number(p.high)}${p.unit ? ` ${pretty(p.unit)}` : ""}.`;
  return null;
}

/** What was typed, as the API takes it. */
function valuesOf(parameters, texts) {
  return Object.fromEntries(parameters.filter((p) => texts[p.name] !== undefined && texts[p.name] !== "").map((p) => {
    const level = p.levels && p.levels.find((one) => String(one) === texts[p.name]);
    return [p.name, p.levels ? level : Number(String(texts[p.name]).replace("−", "-"))];
  }));
}

function Propose({ data, where, onClose }) {
  const [values, setValues] = useState({});
  const propose = useAction(async () => { const made = await post(`${where}/experiments`, { values: valuesOf(data.parameters, values) }); go(`/experiments/${encodeURIComponent(made.id)}`); return made; });
  const isReady = data.parameters.every((p) => values[p.name] && !problemWith(p, values[p.name]));
  return html`<${Dialog} title="An experiment of your own" onClose=${onClose} onSubmit=${() => isReady && propose.run()}>
    <p class="quiet">It is put up for decision like any other; nothing starts by this.</p>
    <${Values} parameters=${data.parameters} values=${values} onChange=${setValues} />
    <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"}>Put it up</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${propose} /><//>`;
}
