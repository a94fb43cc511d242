// What an instrument asks of a person, and the person's answer.
import { html, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, Dialog, Field, number, Outcome, pretty, To } from "./parts.js";

const TAKEN = {
  slow: "Kept. The instrument has not taken it yet.",
  withdrawn: "The question was taken back meanwhile: the answer does not count.",
};

/** The questions of one instrument; nothing where it asks none. `why`: why this person may not answer. */
export function Station({ name, where, why }) {
  const asked = useData(`${where}/station`, { every: 2000 });
  const [texts, setTexts] = useState({}), [note, setNote] = useState(""), [isUnable, setUnable] = useState(false), [told, setTold] = useState(null);
  const answer = useAction(async (body) => {
    const found = await post(`${where}/station/answers`, { questions: asked.data.questions.map((one) => one.id), note, ...body });
    setTexts({}); setNote(""); setUnable(false); setTold(found); asked.reload();
    return found;
  });
  const data = asked.data;
  if (asked.problem && !data) return html`<section class="panel bad"><h2>Manual station</h2><p class="bad">✕ ${asked.problem.detail}</p></section>`;
  if (!data || data.standing === "nothing") return told ? html`<section class="panel" aria-labelledby="station"><h2 id="station">Manual station</h2><p role="status" class="good">✓ Answered. Nothing is asked now.</p></section>` : null;
  const settings = data.questions.filter((one) => one.kind === "set"), readings = data.questions.filter((one) => one.kind === "measure");
  const entries = Object.fromEntries(Object.entries(texts).filter(([, text]) => text.trim()));
  const field = (key, label, unit, hint) => html`<${Field} key=${key} label=${label} unit=${unit} value=${texts[key] || ""} onInput=${(text) => setTexts({ ...texts, [key]: text })} inputmode="decimal" autocomplete="off" hint=${hint} />`;
  const isOpen = data.standing !== "withdrawn" && data.questions.length > 0;
  return html`<section class="panel ask" aria-labelledby="station"><div class="head"><h2 id="station">✎ ${name} asks a person</h2>${data.experiment && html`<${To} class="mono" to=${`/experiments/${encodeURIComponent(data.experiment)}`}>${data.experiment}<//>`}</div>
    ${data.standing === "withdrawn" && html`<p class="trouble"><strong>✕ Do not go on: nothing is asked any more.</strong> ${data.why}</p>`}
    ${data.standing === "orphan" && html`<p class="trouble"><strong>The worker that asked is gone, and the experiment is in doubt.</strong> What you enter is kept, and counts if it is settled as completed.</p>`}
    ${!data.questions.length && html`<p>Everything that was asked is answered.</p>`}
    ${settings.length > 0 && html`<h3>Please set</h3><ul class="plainlist">${settings.map((one) => html`<li key=${one.id}><div class="head"><span class="big"><strong>${one.device}</strong> to <strong>${one.shown}${one.unit ? ` ${pretty(one.unit)}` : ""}</strong>${one.tolerance ? html` <span class="quiet">± ${number(one.tolerance)}</span>` : ""}${one.was !== null ? html` <span class="quiet">(stands at ${one.was})</span>` : ""}</span><span class="quiet">until <${Ago} at=${one.until} /></span></div>${one.text && html`<p>${one.text}</p>`}<${Refused} one=${one} />
      ${isOpen && field(one.device, `Where ${one.device} was really set, if not exactly there`, one.unit)}</li>`)}</ul>`}
    ${readings.map((one) => html`<h3>Please measure: ${one.device}${one.of > 1 ? `, reading ${one.reading} of ${one.of}` : ""}</h3>${one.text && html`<p>${one.text}</p>`}<${Refused} one=${one} />
      ${isOpen && html`<div class="values">${Object.entries(one.signals).map(([signal, about]) => field(signal, signal, about.unit, about.low === null || about.high === null ? null : `between ${number(about.low)} and ${number(about.high)}`))}</div>`}`)}
    ${isOpen && html`<${Field} label="Note" optional value=${note} onInput=${setNote} hint="Kept with the answer." />
      ${why && html`<p class="quiet">${why}</p>`}
      <div class="row">${settings.length > 0 && html`<${Button} kind="primary" action=${answer} onPress=${() => answer.run(Object.keys(entries).length ? { verb: "enter", entries, is_done: true } : { verb: "done" })} why=${why}>✓ ${settings.length > 1 ? "All are" : "It is"} set${readings.length && Object.keys(entries).length ? ", and this was measured" : ""}<//>`}
        ${!settings.length && html`<${Button} kind="primary" action=${answer} onPress=${() => answer.run({ verb: "enter", entries })} why=${why || (Object.keys(entries).length ? null : "Enter what was measured.")}>✓ Enter<//>`}
        <${Button} kind="danger" onPress=${() => setUnable(true)} why=${why}>It cannot be done …<//></div>`}
    <${Outcome} action=${answer} said=${(found) => (found.taken === null ? `Noted: ${found.answered.map((one) => one.device).join(", ")}.` : found.taken === "gone" ? "Kept, for whoever settles the experiment." : TAKEN[found.taken] || `It does not count, and is asked for still: ${found.taken}`)} />
    ${isUnable && html`<${Unable} answer=${answer} onClose=${() => setUnable(false)} />`}</section>`;
}

const Refused = ({ one }) => one.refused && html`<p class="bad">✕ The last answer was refused: ${one.refused}</p>`;

function Unable({ answer, onClose }) {
  const [reason, setReason] = useState("");
  return html`<${Dialog} title="It cannot be done" onClose=${onClose} onSubmit=${() => reason.trim() && answer.run({ verb: "cannot", reason })}>
    <p>The run fails with this reason.</p><${Field} label="Why" value=${reason} onInput=${setReason} rows="2" />
    <div class="row"><button type="submit" class="danger" aria-disabled=${reason.trim() ? undefined : "true"}>It cannot be done</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${answer} /><//>`;
}
