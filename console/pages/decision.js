// One experiment: what is proposed and why, what it would do, and the decision on exactly what was seen.
import { html, useEffect, useState } from "./preact.js";
import { ask, post, useAction, useData } from "./api.js";
import { Ago, Button, Dialog, eValue, Field, go, Loaded, may, measured, moment, number, Outcome, pretty, State, Table, To, useKeys, useTitle, words } from "./parts.js";

const SOON_MS = 300;

export function DecisionPage({ params, me }) {
  useTitle(params.id);
  const where = `/experiments/${encodeURIComponent(params.id)}`;
  const campaign = params.id.slice(0, params.id.lastIndexOf("."));
  const about = (change) => change.campaign_id === campaign || change.campaign_id === null;
  const brief = useData(`${where}/decision`, { about, every: 5000 });
  const waiting = useData(`/campaigns/${encodeURIComponent(campaign)}/experiments?state=proposed&limit=20`, { about });
  return html`<${Loaded} from=${brief} what="the experiment">${(data) => html`<${Decision} brief=${data} waiting=${waiting.data ? waiting.data.items : []} where=${where} me=${me} reload=${() => { brief.reload(); waiting.reload(); }} />`}<//>`;
}

function Decision({ brief, waiting, where, me, reload }) {
  const { experiment: one, campaign } = brief;
  // What was looked at first stays what is decided on: somebody may edit it meanwhile.
  const [seen, setSeen] = useState(one);
  const [dialog, setDialog] = useState(null);
  const [mine, setMine] = useState(false);
  const approve = useAction(async () => { const made = await post(`${where}/approve`, { revision: seen.revision, expires_s: brief.expires_s }); setMine(true); reload(); return made; });
  // What follows from one's own decision is no surprise, also where the news of it is faster than the answer.
  const isStale = one.revision !== seen.revision || (one.state !== seen.state && !mine && !approve.isBusy);
  const cannot = !may(me, "experiment.decide", campaign.simulated) ? "Your role may not decide experiments here."
    : one.state !== "proposed" ? `It is ${words(one.state)} already.` : isStale ? "It has changed since you looked." : null;
  const open = (which) => () => { if (!cannot) setDialog(which); };
  const close = () => { setDialog(null); reload(); };
  const decided = () => { setMine(true); close(); };
  const next = waiting.find((item) => item.id !== one.id);
  const onward = () => next && go(`/experiments/${encodeURIComponent(next.id)}`);
  // What somebody types a moment too early must not approve: the key leads to the button, Enter presses it.
  useKeys({ a: () => document.getElementById("approve").focus(), e: open("edit"), r: open("reject"), d: open("defer"), m: open("respond"), n: onward });
  return html`<div class="head"><h1><span class="mono">${one.id}</span></h1><span><${State} of=${one.state} />${campaign.simulated && html` <${State}>simulated<//>`}</span></div>
    <p class="quiet">of <${To} to=${`/campaigns/${encodeURIComponent(one.campaign_id)}`}>${campaign.name}<//>, put up by ${one.source === "operator" ? brief.authors.join(", ") || "a person" : words(one.source)} <${Ago} at=${one.created_at} />, ${words(one.purpose)}, revision <span class="mono">${one.revision.slice(0, 8)}</span></p>
    ${isStale && html`<p class="notice" role="status"><strong>This is not what you looked at any more.</strong> It is ${words(one.state)}${one.reason ? `: ${one.reason}` : ""}. <${Button} onPress=${() => { setSeen(one); approve.clear(); }}>Look at it as it is now<//></p>`}
    ${!isStale && one.reason && html`<p>${one.reason}</p>`}
    ${brief.deferral && html`<p class="notice"><strong>Put off by ${brief.deferral.by}</strong> until ${moment(brief.deferral.until)}: ${brief.deferral.reason}</p>`}
    <div class="grid2"><section class="panel" aria-labelledby="proposal"><h2 id="proposal">Proposal</h2><${Settings} brief=${brief} seen=${seen} />
      ${one.replicates > 1 && html`<p>Measured ${one.replicates} times.</p>`}
      <h3>What it takes</h3><ul class="plainlist">${brief.uses.map((use) => html`<li>${use.what}: ${number(use.takes)}${use.unit ? ` ${pretty(use.unit)}` : ""}, beside ${number(use.used)} so far${use.limit !== null ? ` of ${number(use.limit)}` : ""}</li>`)}</ul></section>
    <section class="panel" aria-labelledby="reasons"><h2 id="reasons">Why</h2><p>${brief.why || words(one.source)}</p>${brief.fallback && html`<p class="bad">✕ Fallback: ${brief.fallback}</p>`}
      ${brief.method && html`<p class="quiet">Chosen by: ${brief.method}</p>`}${brief.advice.map((line) => html`<p class="quiet">Advice: ${line}</p>`)}
      ${brief.hypotheses.map((card) => html`<p><strong>It tests ${card.id.split(".").pop()}:</strong> ${card.statement} <${State} of=${card.state} /></p><p class="quiet">Prior ${number(card.prior, 2)}, by ${card.proposer}. ${card.blocks ? `Evidence after ${card.blocks} blocks: e = ${eValue(card.log_e_support)} for, ${eValue(card.log_e_refute)} against${card.log_threshold_support !== null ? `; ${eValue(card.log_threshold_support)} decides` : ""}.` : "No evidence yet."}</p>`)}
      <h3>Expected</h3><${Table} caption="What the model expects" empty="The model knows too little to say." heads=${["outcome", ["expected ± sd", true], ["best so far", true], "bound"]}
        rows=${brief.expected.map((item) => [html`${item.name}${item.unit ? html` <span class="unit">[${pretty(item.unit)}]</span>` : ""}`, item.mean === null ? html`<span class="quiet">not known</span>` : measured(item.mean, item.sd), number(item.best), item.bound === null ? "—" : `${item.bound}${item.probability !== null ? `, met with ${number(item.probability, 2)}` : ""}${item.required !== null ? ` (${number(item.required, 2)} wanted)` : ""}`])} /></section></div>
    <section class="panel" aria-labelledby="ready"><h2 id="ready">Could it run now?</h2>
      <p>${brief.within_limits ? html`<span class="good">✓ within the limits of ${brief.limits_from}</span>` : html`<strong class="bad">✕ outside the limits of ${brief.limits_from}: it would be refused</strong>`}</p>
      <ul class="plainlist">${brief.conditions.map((item) => html`<li key=${item.what} class=${item.holds ? "" : "bad"}><span aria-hidden="true">${item.holds ? "✓" : "✕"}</span><span class="spoken">${item.holds ? "holds" : "does not hold"}</span> <strong>${item.what}:</strong> ${item.text}${item.remedy ? html` <span class="quiet">${item.remedy}</span>` : ""}</li>`)}</ul></section>
    ${brief.remarks.length > 0 && html`<section class="panel" aria-labelledby="remarks"><h2 id="remarks">Remarks</h2><ul class="plainlist">${brief.remarks.map((item) => html`<li><strong>${item.by}</strong> <span class="quiet"><${Ago} at=${item.at} /></span><div>${item.text}</div></li>`)}</ul></section>`}
    <section class="panel ask decide" aria-labelledby="decide"><h2 id="decide">Decision</h2>
      ${cannot && html`<p class="quiet">${cannot}</p>`}
      <div class="row"><${Button} id="approve" kind="primary" action=${approve} why=${cannot} aria-keyshortcuts="a">✓ Approve <kbd>a ↵</kbd><//><${Button} onPress=${open("edit")} why=${cannot} aria-keyshortcuts="e">Edit … <kbd>e</kbd><//><${Button} kind="danger" onPress=${open("reject")} why=${cannot} aria-keyshortcuts="r">✕ Reject … <kbd>r</kbd><//>
        ${brief.deferral ? html`<${Resume} where=${where} why=${cannot} reload=${reload} />` : html`<${Button} onPress=${open("defer")} why=${cannot} aria-keyshortcuts="d">Put off … <kbd>d</kbd><//>`}<${Button} onPress=${open("respond")} why=${cannot} aria-keyshortcuts="m">Remark … <kbd>m</kbd><//>
        ${next && html`<${To} class="button" to=${`/experiments/${encodeURIComponent(next.id)}`} aria-keyshortcuts="n">Next decision <kbd>n</kbd><//>`}</div>
      <p class="hint">An approval holds for ${number(brief.expires_s / 3600, 3)} h.</p>
      <${Outcome} action=${approve} said="Approved. It runs when the instrument is free." />
    </section>
    ${dialog === "reject" && html`<${Reject} where=${where} seen=${seen} onClose=${close} onDone=${decided} />`}
    ${dialog === "edit" && html`<${Edit} where=${where} seen=${seen} settings=${brief.settings} onClose=${close} />`}
    ${dialog === "defer" && html`<${Defer} where=${where} seen=${seen} onClose=${close} />`}
    ${dialog === "respond" && html`<${Respond} where=${where} seen=${seen} onClose=${close} />`}`;
}

function Settings({ brief, seen }) {
  const last = brief.last_run;
  return html`<${Table} caption="The settings, beside the last experiment that ran" heads=${["setting", ["value", true], [last ? `#${last.split(".").pop()}` : "last run", true], ["change", true], "range", "instrument's limits"]}
      rows=${brief.settings.map((item) => { const value = seen.values[item.name]; return [
        html`${item.name}${item.unit ? html` <span class="unit">[${pretty(item.unit)}]</span>` : ""}`,
        html`<strong class=${item.previous !== null && item.previous !== value ? "changed" : ""}>${number(value)}</strong>`,
        number(item.previous), change(item, value), item.values ? "one of several" : `${number(item.low)} to ${number(item.high)}`,
        html`${item.limit_low === null && item.limit_high === null ? "—" : `${number(item.limit_low)} to ${number(item.limit_high)}`}${item.fault ? html` <strong class="bad">✕ ${item.fault}</strong>` : ""}${item.note ? html` <span class="quiet">${item.note}</span>` : ""}`]; })} />
    <p class="hint">${last ? "Changed settings are underlined." : "Nothing ran before."}</p>`;
}

function change(item, value) {
  if (item.previous === null) return "—";
  if (item.previous === value) return html`<span class="quiet">same</span>`;
  if (item.difference === null) return "other";
  return `${item.difference > 0 ? "+" : "−"}${number(Math.abs(item.difference), 3)}`;
}

function Resume({ where, why, reload }) {
  const resume = useAction(async () => { await ask("DELETE", `${where}/defer`); reload(); });
  return html`<${Button} action=${resume} why=${why}>Decide now after all<//><${Outcome} action=${resume} />`;
}

function Reject({ where, seen, onClose, onDone }) {
  const [reason, setReason] = useState("");
  const reject = useAction(async () => { await post(`${where}/reject`, { revision: seen.revision, reason }); onDone(); });
  return html`<${Dialog} title=${`Reject ${seen.id}`} onClose=${onClose} onSubmit=${() => reason.trim() && reject.run()}>
    <${Field} label="Why" value=${reason} onInput=${setReason} rows="3" hint="The planner learns that this was not wanted; colleagues read why." autofocus />
    <div class="row"><button type="submit" class="danger" aria-disabled=${reason.trim() ? undefined : "true"}>✕ Reject</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${reject} /><//>`;
}

function Respond({ where, seen, onClose }) {
  const [text, setText] = useState("");
  const send = useAction(async () => { await post(`${where}/respond`, { revision: seen.revision, text }); onClose(); });
  return html`<${Dialog} title=${`A remark on ${seen.id}`} onClose=${onClose} onSubmit=${() => text.trim() && send.run()}>
    <p class="quiet">It is kept with the experiment, and reaches whoever proposes the next hypotheses. It decides nothing.</p>
    <${Field} label="Remark" value=${text} onInput=${setText} rows="3" autofocus />
    <div class="row"><button type="submit" class="primary" aria-disabled=${text.trim() ? undefined : "true"}>Keep it</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${send} /><//>`;
}

/** A moment so many milliseconds from now, as an input for local time has it. */
const local = (ms) => { const at = new Date(Date.now() + ms); return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16); };

function Defer({ where, seen, onClose }) {
  const [until, setUntil] = useState(local(3600000)), [reason, setReason] = useState("");
  const defer = useAction(async () => { await post(`${where}/defer`, { revision: seen.revision, until: new Date(until).toISOString(), reason }); onClose(); });
  const isReady = until && reason.trim();
  return html`<${Dialog} title=${`Put off ${seen.id}`} onClose=${onClose} onSubmit=${() => isReady && defer.run()}>
    <p class="quiet">It stands no more among what waits, until then; anybody may decide it before.</p>
    <${Field} label="Until" type="datetime-local" value=${until} onInput=${setUntil} /><${Field} label="Why" value=${reason} onInput=${setReason} rows="2" autofocus />
    <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"}>Put it off</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${defer} /><//>`;
}

function Edit({ where, seen, settings, onClose }) {
  const [texts, setTexts] = useState(Object.fromEntries(settings.map((item) => [item.name, String(seen.values[item.name] ?? "")])));
  const [reason, setReason] = useState(""), [faults, setFaults] = useState([]);
  const values = valuesOf(settings, texts);
  const isWhole = settings.every((item) => texts[item.name] !== "" && (item.values || Number.isFinite(values[item.name])));
  // The server says what it would refuse, as one types: its limits are the instrument's own.
  useEffect(() => {
    if (!isWhole) return undefined;
    let isOver = false;
    const timer = setTimeout(async () => {
      try { const trial = await ask("POST", `${where}/edit/check`, { revision: seen.revision, values }); if (!isOver) setFaults(trial.faults); } catch { /* said when it is sent */ }
    }, SOON_MS);
    return () => { isOver = true; clearTimeout(timer); };
  }, [JSON.stringify(texts)]);
  const edit = useAction(async () => { const made = await post(`${where}/edit`, { revision: seen.revision, values, reason }); onClose(); go(`/experiments/${encodeURIComponent(made.id)}`); });
  const wrong = (item) => (texts[item.name] !== "" && !item.values && !Number.isFinite(values[item.name]) ? "This is not a number." : (faults.find((fault) => fault.field === item.name) || {}).detail || null);
  const isReady = reason.trim() && isWhole && !faults.length;
  return html`<${Dialog} title=${`Edit ${seen.id}`} onClose=${onClose} onSubmit=${() => isReady && edit.run()}>
    <p class="quiet">An experiment with these settings takes its place, and waits for approval; nothing starts by this.</p>
    <div class="values">${settings.map((item) => html`<${Field} key=${item.name} label=${item.name} unit=${item.unit} value=${texts[item.name]} onInput=${(text) => setTexts({ ...texts, [item.name]: text })} wrong=${wrong(item)}
      hint=${item.values ? null : `${number(item.limit_low ?? item.low)} to ${number(item.limit_high ?? item.high)}`} ...${item.values ? { options: item.values.map((level) => [String(level), String(level)]) } : { inputmode: "decimal", autocomplete: "off" }} />`)}</div>
    ${faults.filter((fault) => !fault.field).map((fault) => html`<p class="wrong">✕ ${fault.detail}</p>`)}
    <${Field} label="Why" value=${reason} onInput=${setReason} rows="2" />
    <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"}>Put this in its place</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${edit} /><//>`;
}

function valuesOf(settings, texts) {
  return Object.fromEntries(settings.map((item) => [item.name, item.values ? item.values.find((level) => String(level) === texts[item.name]) : Number(String(texts[item.name]).replace("−", "-"))]));
}
