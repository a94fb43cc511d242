// Approving several at once, inside an envelope: all of them or none. For the page of a campaign.
import { html, useEffect, useState } from "./preact.js";
import { look, post, useAction, useData } from "./api.js";
import { Button, count, Dialog, Field, Loaded, may, number, Outcome, pretty, Table, Trouble, useMe } from "./parts.js";
import { EnvelopeFields, envelopeOf, textsOf } from "./autonomy.js";

const SOON_MS = 300;

/** A button that opens the batch; shown where two or more wait. `onDone` is called when something was approved. */
export function BatchApproval({ campaign, simulated, waiting, onDone = () => {} }) {
  const me = useMe();
  const [isOpen, setOpen] = useState(false);
  if (waiting < 2 && !isOpen) return null;
  const why = may(me, "experiment.decide", simulated) ? null : "Your role may not decide experiments here.";
  return html`<${Button} why=${why} onPress=${() => setOpen(true)}>Approve several at once …<//>
    ${isOpen && html`<${Batch} campaign=${campaign} onClose=${() => setOpen(false)} onDone=${onDone} />`}`;
}

function Batch({ campaign, onClose, onDone }) {
  const where = `/campaigns/${encodeURIComponent(campaign)}`;
  // Read once: what is approved is what was seen here, whatever is edited meanwhile.
  const proposed = useData(`${where}/experiments?state=proposed&limit=100`, { about: () => false });
  const ranges = useData(`${where}/autonomy`, { about: () => false });
  return html`<${Dialog} title="Approve several at once" onClose=${onClose} kind="wide"><${Loaded} from=${proposed} what="what waits">${(page) => html`<${Loaded} from=${ranges} what="its ranges">${(own) => html`<${Choice} experiments=${page.items} own=${own} where=${where} onClose=${onClose} onDone=${onDone} />`}<//>`}<//><//>`;
}

function Choice({ experiments, own, where, onClose, onDone }) {
  const [chosen, setChosen] = useState(() => new Set(experiments.map((one) => one.id)));
  const [texts, setTexts] = useState(textsOf(own.default_envelope));
  const [most, setMost] = useState(String(Math.max(1, experiments.length))), [hours, setHours] = useState("24"), [reason, setReason] = useState("");
  const [told, setTold] = useState({ lines: {}, of: null, problem: null });
  const envelope = envelopeOf(texts, own.default_envelope);
  const picked = experiments.filter((one) => chosen.has(one.id));
  const body = envelope && picked.length && Number.isInteger(Number(most)) && Number(most) > 0 && Number(hours) > 0
    ? { revisions: picked.map((one) => ({ experiment: one.id, revision: one.revision })), envelope, max_experiments: Number(most), expires_s: Number(hours) * 3600, reason: reason.trim() } : null;
  const asked = body && JSON.stringify({ ...body, reason: "" });
  useEffect(() => {
    if (!asked) return undefined;
    let isOver = false;
    const timer = setTimeout(async () => {
      try {
        const found = await look(`${where}/approve-batch/check`, JSON.parse(asked));
        if (!isOver) setTold({ lines: Object.fromEntries(found.lines.map((line) => [line.experiment, line])), of: asked, problem: null });
      } catch (problem) { if (!isOver) setTold({ lines: {}, of: asked, problem }); }
    }, SOON_MS);
    return () => { isOver = true; clearTimeout(timer); };
  }, [asked]);
  const approve = useAction(async () => { const made = await post(`${where}/approve-batch`, body); onDone(); return made; });
  const isFresh = told.of === asked && asked !== null;
  const outside = picked.filter((one) => told.lines[one.id] && !told.lines[one.id].ok);
  const isReady = isFresh && !told.problem && outside.length === 0 && !approve.isBusy;
  const names = Object.keys(own.default_envelope);
  const toggle = (id) => { const next = new Set(chosen); if (next.has(id)) next.delete(id); else next.add(id); setChosen(next); };
  if (!experiments.length) return html`<p class="empty">Nothing waits for a decision.</p>`;
  if (approve.done) return html`<p class="good" role="status">✓ ${count(approve.done.length, "experiment")} approved.</p><div class="row"><button type="button" class="primary" onClick=${onClose}>Close</button></div>`;
  return html`<p>Every chosen experiment must lie inside these ranges, edges included. All of them are approved, or none.</p>
    <${EnvelopeFields} widest=${own.default_envelope} units=${own.units} texts=${texts} onChange=${setTexts} />
    ${!envelope && html`<p class="wrong">✕ Give every range in numbers.</p>`}
    <div class="values"><${Field} label="Experiments at most" value=${most} onInput=${setMost} inputmode="numeric" autocomplete="off" /><${Field} label="The approvals hold for" unit="h" value=${hours} onInput=${setHours} inputmode="decimal" autocomplete="off" /></div>
    <${Table} caption="Experiments that wait for a decision" keys=${experiments.map((one) => one.id)}
      heads=${["approve", "experiment", "inside?", ...names.map((name) => [`${name}${own.units[name] ? ` [${pretty(own.units[name])}]` : ""}`, true])]}
      rows=${experiments.map((one) => { const line = told.lines[one.id]; return [
        html`<input type="checkbox" checked=${chosen.has(one.id)} onChange=${() => toggle(one.id)} aria-label=${`Approve ${one.id}`} />`, html`<span class="mono">${one.id}</span>`,
        !chosen.has(one.id) ? html`<span class="quiet">left out</span>` : !isFresh || !line ? html`<span class="quiet">checking …</span>` : line.ok ? html`<span class="good">✓ inside</span>` : html`<span class="bad">✕ ${line.why}</span>`, ...names.map((name) => number(one.values[name], 6))]; })} />
    <${Field} label="Why" value=${reason} onInput=${setReason} optional autocomplete="off" />
    <${Trouble} problem=${told.problem} />
    <div class="row"><${Button} kind="primary" action=${approve} why=${isReady || approve.isBusy ? null : outside.length ? `${count(outside.length, "experiment")} cannot be approved with these: nothing would be.` : "Choose experiments, and give every range."}>Approve ${count(picked.length, "experiment")}<//><button type="button" onClick=${onClose}>Cancel</button></div>
    <div aria-live="polite">${outside.length > 0 && isFresh && html`<p class="bad">✕ Nothing would be approved: ${outside.map((one) => one.id).join(", ")}. Widen the envelope, or leave ${outside.length === 1 ? "it" : "them"} out.</p>`}</div>
    <${Outcome} action=${approve} busy="Signing …" />`;
}
