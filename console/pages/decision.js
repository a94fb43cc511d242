// One experiment: what is proposed and why, what it would do, and the decision on exactly what was seen.
import { html, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, Dialog, eValue, Field, go, Loaded, may, measured, number, Outcome, pretty, State, Table, To, useKeys, useTitle, words } from "./parts.js";
import { problemWith, Values, valuesOf } from "./campaign.js";

export function DecisionPage({ params, me }) {
  useTitle(params.id);
  const where = `/experiments/${encodeURIComponent(params.id)}`;
  const campaign = params.id.slice(0, params.id.lastIndexOf("."));
  const about = (change) => change.campaign_id === campaign || change.campaign_id === null;
  const experiment = useData(where, { about });
  const board = useData(`/campaigns/${encodeURIComponent(campaign)}/board`, { about, every: 5000 });
  return html`<${Loaded} from=${experiment} what="the experiment">${(one) => html`<${Loaded} from=${board} what="its campaign">${(data) => html`<${Decision} one=${one} board=${data} where=${where} me=${me} reload=${() => { experiment.reload(); board.reload(); }} />`}<//>`}<//>`;
}

/** The newest experiment before this one that was measured. */
const before = (one, board) => board.rows.find((row) => row.ordinal < one.ordinal && row.state === "completed");

function Decision({ one, board, where, me, reload }) {
  // What was looked at first stays what is decided on: somebody may edit it meanwhile.
  const [seen, setSeen] = useState(one);
  const [dialog, setDialog] = useState(null);
  const isStale = one.revision !== seen.revision || one.state !== seen.state;
  const cannot = !may(me, "experiment.decide", board.simulated) ? "Your role may not decide experiments here."
    : one.state !== "proposed" ? `It is ${words(one.state)} already.` : isStale ? "It has changed since you looked." : null;
  const approve = useAction(async () => { const made = await post(`${where}/approve`, { revision: seen.revision }); reload(); return made; });
  const open = (which) => () => { if (!cannot) setDialog(which); };
  const next = board.waiting.find((id) => id !== one.id);
  useKeys({ a: () => !cannot && approve.run(), e: open("edit"), r: open("reject"), n: () => next && go(`/experiments/${encodeURIComponent(next)}`) });
  const last = before(one, board);
  const predicted = (one.predicted || {});
  const card = board.cards.find((item) => item.runs.includes(one.id));
  return html`<div class="head"><h1><span class="mono">${one.id}</span></h1><span><${State} of=${one.state} />${board.simulated && html` <${State}>simulated<//>`}</span></div>
    <p class="quiet">of <${To} to=${`/campaigns/${encodeURIComponent(one.campaign_id)}`}>${board.name}<//>, put up by ${words(one.source)} <${Ago} at=${one.created_at} />, ${words(one.purpose)}, revision <span class="mono">${one.revision.slice(0, 8)}</span></p>
    ${isStale && html`<p class="notice" role="status"><strong>This is not what you looked at any more.</strong> It is ${words(one.state)}${one.reason ? `: ${one.reason}` : ""}. <${Button} onPress=${() => { setSeen(one); approve.clear(); }}>Look at it as it is now<//></p>`}
    ${board.halted && html`<p class="trouble"><strong>■ ${board.halted}</strong></p>`}
    ${one.reason && html`<p>${one.reason}</p>`}
    <div class="grid2"><section class="panel" aria-labelledby="proposal"><h2 id="proposal">Proposal</h2>
      <${Table} caption="The settings, beside the last measured experiment" heads=${["setting", ["value", true], [last ? `#${last.id.split(".").pop()}` : "last run", true], ["change", true], "range"]}
        rows=${board.parameters.map((p) => { const value = seen.values[p.name], old = last ? last.values[p.name] : undefined; return [
          html`${p.name}${p.unit ? html` <span class="unit">[${pretty(p.unit)}]</span>` : ""}`, html`<strong class=${old !== undefined && old !== value ? "changed" : ""}>${number(value)}</strong>`, number(old), change(old, value), p.levels ? "one of several" : `${number(p.low)} to ${number(p.high)}`]; })} />
      <p class="hint">${last ? "Changed settings are underlined." : "Nothing was measured before."}</p>
      ${one.replicates > 1 && html`<p>Measured ${one.replicates} times.</p>`}
    </section>
    <section class="panel" aria-labelledby="why"><h2 id="why">Why</h2><p>${one.why.detail || words(one.source)}</p>${one.why.fallback && html`<p class="bad">✕ Fallback: ${one.why.fallback}</p>`}
      ${one.why.method && html`<p class="quiet">Chosen by: ${one.why.method}</p>`}
      ${card && html`<p><strong>It tests ${card.id.split(".").pop()}:</strong> ${card.statement}</p><p class="quiet">Prior ${number(card.prior, 2)}. ${card.evidence.length ? `Evidence so far: e = ${eValue(card.evidence[card.evidence.length - 1].log_e_support)} for, ${eValue(card.evidence[card.evidence.length - 1].log_e_refute)} against.` : "No evidence yet."}</p>`}
      <h3>Expected</h3><${Table} caption="What the model expects" empty="The model knows too little to say." heads=${["outcome", ["expected ± sd", true], ["best so far", true]]} rows=${Object.entries(predicted).map(([name, value]) => [html`${name}${board.outcomes[name] ? html` <span class="unit">[${pretty(board.outcomes[name])}]</span>` : ""}`, measured(value.mean, value.sd), board.best.length && board.best[0].outcomes[name] ? measured(...board.best[0].outcomes[name]) : "—"])} />
      ${board.constraints.length > 0 && html`<h3>Bounds on outcomes</h3><ul>${board.constraints.map((line) => html`<li>${line}</li>`)}</ul>`}
      <p class="quiet">Budget: ${board.used} of ${board.budget} used; this would be one more.</p>
    </section></div>
    <section class="panel ask" aria-labelledby="decide"><h2 id="decide">Decision</h2>
      ${cannot && html`<p class="quiet">${cannot}</p>`}
      <div class="row"><${Button} kind="primary" action=${approve} why=${cannot} aria-keyshortcuts="a">✓ Approve <kbd>a</kbd><//><${Button} onPress=${open("edit")} why=${cannot} aria-keyshortcuts="e">Edit … <kbd>e</kbd><//><${Button} kind="danger" onPress=${open("reject")} why=${cannot} aria-keyshortcuts="r">✕ Reject … <kbd>r</kbd><//>
        ${next && html`<${To} class="button" to=${`/experiments/${encodeURIComponent(next)}`} aria-keyshortcuts="n">Next decision <kbd>n</kbd><//>`}</div>
      <${Outcome} action=${approve} said="Approved. It runs when the instrument is free." />
    </section>
    ${dialog === "reject" && html`<${Reject} where=${where} seen=${seen} onClose=${() => { setDialog(null); reload(); }} />`}
    ${dialog === "edit" && html`<${Edit} where=${where} seen=${seen} board=${board} onClose=${() => { setDialog(null); reload(); }} />`}`;
}

function change(old, value) {
  if (old === undefined || old === null) return "—";
  if (old === value) return html`<span class="quiet">same</span>`;
  if (typeof old !== "number" || typeof value !== "number") return "other";
  const sign = value > old ? "+" : "−";
  return `${sign}${number(Math.abs(value - old), 3)}`;
}

function Reject({ where, seen, onClose }) {
  const [reason, setReason] = useState("");
  const reject = useAction(async () => { await post(`${where}/reject`, { revision: seen.revision, reason }); onClose(); });
  return html`<${Dialog} title=${`Reject ${seen.id}`} onClose=${onClose} onSubmit=${() => reason.trim() && reject.run()}>
    <${Field} label="Why" value=${reason} onInput=${setReason} rows="3" hint="The planner learns that this was not wanted; colleagues read why." autofocus />
    <div class="row"><button type="submit" class="danger" aria-disabled=${reason.trim() ? undefined : "true"}>✕ Reject</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${reject} /><//>`;
}

function Edit({ where, seen, board, onClose }) {
  const [values, setValues] = useState(Object.fromEntries(board.parameters.map((p) => [p.name, String(seen.values[p.name] ?? "")])));
  const [reason, setReason] = useState("");
  const edit = useAction(async () => { const made = await post(`${where}/edit`, { revision: seen.revision, values: valuesOf(board.parameters, values), reason }); onClose(); go(`/experiments/${encodeURIComponent(made.id)}`); });
  const isReady = reason.trim() && board.parameters.every((p) => values[p.name] !== "" && !problemWith(p, values[p.name]));
  return html`<${Dialog} title=${`Edit ${seen.id}`} onClose=${onClose} onSubmit=${() => isReady && edit.run()}>
    <p class="quiet">An experiment with these settings takes its place, and waits for approval; nothing starts by this.</p>
    <${Values} parameters=${board.parameters} values=${values} onChange=${setValues} />
    <${Field} label="Why" value=${reason} onInput=${setReason} rows="2" />
    <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"}>Put this in its place</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${edit} /><//>`;
}
