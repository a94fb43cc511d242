// How far a campaign may go by itself: what holds now, granting it, ending it. For the page of a campaign.
import { html, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, count, Dialog, Field, Loaded, may, number, Outcome, pretty, State, useMe } from "./parts.js";

const STANDING = { "in force": ["live", "▶"], ended: ["quiet", "✕"], expired: ["quiet", "✕"], "used up": ["quiet", "✓"], void: ["bad", "■"] };
const WORDS = { void: "void: Stop All was used" };

/** A range as a person reads it. */
export const rangeText = (range, unit) => `${range.allowed ? range.allowed.map((one) => number(one)).join(", ") : `${number(range.low)} … ${number(range.high)}`}${unit ? ` ${pretty(unit)}` : ""}`;

/** `campaign` is its id, `simulated` whether its instrument is. */
export function Autonomy({ campaign, simulated, isOver = false }) {
  const me = useMe();
  const where = `/campaigns/${encodeURIComponent(campaign)}/autonomy`;
  const found = useData(where, { about: (change) => change.campaign_id === campaign, every: 5000 });
  return html`<section class="panel" aria-labelledby="autonomy"><h2 id="autonomy">Autonomy</h2><${Loaded} from=${found} what="its grants">${(data) => html`<${Standing} data=${data} where=${where} simulated=${simulated} isOver=${isOver} me=${me} reload=${found.reload} />`}<//></section>`;
}

function Standing({ data, where, simulated, isOver, me, reload }) {
  const [dialog, setDialog] = useState(null);
  const why = isOver ? "The campaign is over." : may(me, "autonomy.grant", simulated) ? null : "Your role may not grant autonomy here.";
  const free = data.now === "auto_within_limits";
  const close = () => { setDialog(null); reload(); };
  return html`<p><${State} tone=${free ? "live" : "ask"} sign=${free ? "▶" : "?"}>${free ? "runs by itself within its grant" : "each experiment waits for a person"}<//> <span class="quiet">Its file asks for: ${data.asked === "auto_within_limits" ? "running by itself within its ranges" : "approving each"}${data.asks_for_two ? "; nobody approves what they proposed or edited themselves" : ""}.</span></p>
    <div class="row"><${Button} why=${why} onPress=${() => setDialog("grant")}>Let it run by itself …<//><${Button} kind="danger" why=${why || (free ? null : "No grant is in force.")} onPress=${() => setDialog("end")}>Have each wait for a person …<//></div>
    ${data.grants.length > 0 && html`<ul class="plainlist">${data.grants.slice(0, 5).map((one) => { const [tone, sign] = STANDING[one.standing]; return html`<li key=${one.id}><div class="head"><span><${State} tone=${tone} sign=${sign}>${WORDS[one.standing] || one.standing}<//> granted by <strong>${one.by}</strong> <${Ago} at=${one.given} />${one.ended_by ? `, ended by ${one.ended_by}` : ""}</span><span class="quiet">${one.used} of ${count(one.most, "experiment")}${one.standing === "in force" ? html`, until <${Ago} at=${one.expires} />` : ""}</span></div>
      <div class="quiet">${Object.entries(one.envelope).map(([name, range]) => `${name} ${rangeText(range, data.units[name])}`).join(" · ")}${one.reason ? ` · “${one.reason}”` : ""}</div></li>`; })}</ul>`}
    ${dialog === "grant" && html`<${Grant} data=${data} where=${where} onClose=${close} />`}
    ${dialog === "end" && html`<${End} where=${where} onClose=${close} />`}`;
}

/** Inputs for an envelope: `texts` is `{name: {low, high}}` or `{name: {allowed}}`, as typed. */
export function EnvelopeFields({ widest, units, texts, onChange }) {
  return html`${Object.entries(widest).map(([name, own]) => html`<div class="slots" key=${name} role="group" aria-label=${name}><strong>${name}${units[name] ? html` <span class="unit">[${pretty(units[name])}]</span>` : ""}</strong>
    ${own.allowed ? html`<${Field} label="Allowed" value=${texts[name].allowed} onInput=${(allowed) => onChange({ ...texts, [name]: { allowed } })} hint=${own.allowed.join(", ")} autocomplete="off" />`
      : html`<${Field} label="Low" value=${texts[name].low} onInput=${(low) => onChange({ ...texts, [name]: { ...texts[name], low } })} inputmode="decimal" autocomplete="off" /><${Field} label="High" value=${texts[name].high} onInput=${(high) => onChange({ ...texts, [name]: { ...texts[name], high } })} inputmode="decimal" autocomplete="off" />`}</div>`)}`;
}

/** An envelope as texts to edit. */
export const textsOf = (envelope) => Object.fromEntries(Object.entries(envelope).map(([name, range]) => [name, range.allowed ? { allowed: range.allowed.join(", ") } : { low: String(range.low), high: String(range.high) }]));

/** What was typed, as the API takes it; null where something is no number. */
export function envelopeOf(texts, widest) {
  const found = {};
  for (const [name, text] of Object.entries(texts)) {
    if (text.allowed !== undefined) {
      const named = text.allowed.split(",").map((one) => one.trim()).filter(Boolean);
      const known = widest[name].allowed || [];
      found[name] = { allowed: named.map((one) => known.find((level) => String(level) === one) ?? one) };
      continue;
    }
    const [low, high] = [text.low, text.high].map((one) => (one.trim() === "" ? NaN : Number(one.replace("−", "-"))));
    if (!Number.isFinite(low) || !Number.isFinite(high)) return null;
    found[name] = { low, high };
  }
  return found;
}

function Grant({ data, where, onClose }) {
  const [texts, setTexts] = useState(textsOf(data.default_envelope));
  const [most, setMost] = useState(String(Math.min(data.default_experiments, 10))), [hours, setHours] = useState(String(Math.max(1, Math.round(data.default_expires_s / 3600)))), [reason, setReason] = useState("");
  const envelope = envelopeOf(texts, data.default_envelope);
  const isReady = envelope && Number.isInteger(Number(most)) && Number(most) > 0 && Number(hours) > 0 && reason.trim();
  const grant = useAction(async () => { await post(`${where}/grants`, { envelope, max_experiments: Number(most), expires_s: Number(hours) * 3600, reason: reason.trim() }); onClose(); });
  return html`<${Dialog} title="Let it run by itself" onClose=${onClose} onSubmit=${() => isReady && grant.run()}>
    <p>It approves its own experiments inside these ranges, at once and without asking. What lies outside waits for a person. Stop All ends it.</p>
    <${EnvelopeFields} widest=${data.default_envelope} units=${data.units} texts=${texts} onChange=${setTexts} />
    ${!envelope && html`<p class="wrong">✕ Give every range in numbers.</p>`}
    <div class="values"><${Field} label="Experiments at most" value=${most} onInput=${setMost} inputmode="numeric" autocomplete="off" /><${Field} label="For how long" unit="h" value=${hours} onInput=${setHours} inputmode="decimal" autocomplete="off" /></div>
    <${Field} label="Why" value=${reason} onInput=${setReason} autocomplete="off" />
    <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"}>Sign the grant</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${grant} busy="Signing …" /><//>`;
}

function End({ where, onClose }) {
  const [reason, setReason] = useState("");
  const end = useAction(async () => { await post(`${where}/end`, { reason: reason.trim() }); onClose(); });
  return html`<${Dialog} title="Have each experiment wait for a person?" onClose=${onClose} onSubmit=${() => reason.trim() && end.run()}>
    <p>Its grants end now. What they approved and has not begun will not begin; a run that has begun is finished.</p>
    <${Field} label="Why" value=${reason} onInput=${setReason} autocomplete="off" />
    <div class="row"><button type="submit" class="primary" aria-disabled=${reason.trim() ? undefined : "true"}>End it</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${end} busy="Ending …" /><//>`;
}
