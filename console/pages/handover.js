// Handovers: what the people of one shift tell those of the next; drafted from what is so, signed by both.
import { html, useCallback, useEffect, useRef, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, Dialog, Field, go, Loaded, may, moment, Outcome, State, Table, To, useTitle } from "./parts.js";

const STATES = { draft: ["ask", "✎", "draft"], signed: ["ask", "◐", "signed by one"], accepted: ["good", "✓", "signed by both"], discarded: ["quiet", "✕", "discarded"] };
const OLD_S = 30 * 60;
const Standing = ({ of }) => html`<${State} tone=${STATES[of][0]} sign=${STATES[of][1]}>${STATES[of][2]}<//>`;
const ofSite = (change) => change.campaign_id === null && change.kind === "event";
const at = (id) => `/handover/${encodeURIComponent(id)}`;

export function Handovers({ me }) {
  useTitle("Handover");
  const found = useData("/handovers?limit=50", { about: ofSite });
  const begin = useAction(async () => { const made = await post("/handovers"); go(at(made.id)); });
  const can = may(me, "handover.write");
  return html`<div class="head"><h1>Handover</h1>${can && html`<${Button} kind="primary" action=${begin}>Begin a handover<//>`}</div>
    <p>At the end of a shift: a draft is made from what is so now, you write beside it what the next shift should know, and both of you sign.</p><${Outcome} action=${begin} busy="Reading what is so …" />
    <${Loaded} from=${found} what="the handovers">${(data) => {
      const mine = data.items.filter((one) => (one.state === "draft" && one.outgoing === me.person.login) || (one.state === "signed" && one.outgoing !== me.person.login && can));
      return html`<div>${mine.map((one) => html`<section class="panel ask" key=${one.id}><div class="head"><h2>${one.state === "draft" ? "Your draft" : `${one.outgoing} hands over to you?`}</h2><${Standing} of=${one.state} /></div>
          <p>${one.state === "draft" ? "It is not signed yet." : "Read it, ask what you want to know, and sign it if you take over."} <${To} to=${at(one.id)}>Open it<//></p></section>`)}
        <section class="panel" aria-labelledby="all"><h2 id="all">All handovers</h2><${Table} caption="Handovers" empty=${can ? "There is none yet. Begin the first at the end of your shift." : "There is none yet."} keys=${data.items.map((one) => one.id)} heads=${["shift until", "state", "from", "to", ""]}
          rows=${data.items.map((one) => [moment(one.until), html`<${Standing} of=${one.state} />`, one.outgoing, one.incoming || "—", html`<${To} to=${at(one.id)} aria-label=${`Open the handover of ${one.outgoing}, ${moment(one.until)}`}>Open<//>`])} /></section></div>`;
    }}<//>`;
}

export function HandoverPage({ params, me }) {
  useTitle("Handover");
  const path = `/handovers/${encodeURIComponent(params.id)}`;
  const found = useData(path, { about: ofSite, every: 30000 });
  return html`<${Loaded} from=${found} what="the handover">${(data) => html`<${One} one=${data} path=${path} me=${me} reload=${found.reload} />`}<//>`;
}

function One({ one, path, me, reload }) {
  const [asking, setAsking] = useState(null), [unsaved, setUnsaved] = useState({}), [told, setTold] = useState("");
  const isMine = one.outgoing === me.person.login, can = may(me, "handover.write"), isDraft = one.state === "draft", age = (Date.now() - new Date(one.until)) / 1000;
  const refresh = useAction(async () => { try { await post(`${path}/refresh`, { revision: one.revision }); } finally { await reload(); } });
  const keep = useCallback((section, isOpen) => setUnsaved((before) => (Boolean(before[section]) === isOpen ? before : { ...before, [section]: isOpen })), []);
  const open = one.sections.filter((section) => unsaved[section.id]).map((section) => section.title);
  const done = async (said) => { setAsking(null); setTold(said); await reload(); };
  return html`<div><div class="head"><h1>Handover</h1><${Standing} of=${one.state} /></div>
    <div role="status" aria-live="polite" class="outcome">${told && html`<span class="good">✓ ${told}</span>`}</div>
    ${!one.is_as_signed && html`<p class="trouble" role="alert"><strong>✕ This is not what was signed.</strong> Do not rely on it, and tell whoever looks after the ledger.</p>`}
    ${one.returned && isDraft && html`<p class="notice"><strong>It was sent back:</strong> ${one.returned}</p>`}${one.discarded && html`<p class="notice"><strong>It was discarded:</strong> ${one.discarded}</p>`}
    <section class="panel" aria-label="Who and when"><dl class="facts"><dt>Shift</dt><dd>${moment(one.since)} to ${moment(one.until)}</dd><dt>Handed over by</dt><dd><strong>${one.outgoing}</strong>, ${one.signed_at ? `signed ${moment(one.signed_at)}` : "not signed yet"}</dd>
      <dt>Taken over by</dt><dd>${one.incoming ? html`<strong>${one.incoming}</strong>, signed ${moment(one.accepted_at)}` : "nobody yet"}</dd>${one.remark && html`<dt>${one.incoming} says</dt><dd>${one.remark}</dd>`}<dt>What is signed</dt><dd class="mono">SHA-256 ${one.sha256}</dd></dl>
      <div class="row">${isDraft && can && html`<${Button} action=${refresh}>Refresh the facts<//><span class=${age > OLD_S ? "bad" : "quiet"}>${age > OLD_S ? "✕ The facts are old: refresh before you sign. " : ""}Read <${Ago} at=${one.until} />; notes stay.</span>`}
        ${isDraft && isMine && can && html`<${Button} kind="primary" onPress=${() => setAsking({ verb: "sign", seen: one })} why=${open.length ? `There is a note that you have not saved: ${open.join(", ")}` : null}>Sign, and hand over …<//>`}
        ${one.state === "signed" && can && !isMine && html`<${Button} kind="primary" onPress=${() => setAsking({ verb: "accept", seen: one })}>Sign, and take over …<//>`}
        ${one.state === "signed" && can && html`<${Button} onPress=${() => setAsking({ verb: "send-back", seen: one })}>Send back …<//>`}
        ${isDraft && can && html`<${Button} kind="danger" onPress=${() => setAsking({ verb: "discard", seen: one })}>Discard …<//>`}</div>
      ${open.length > 0 && isDraft && isMine && html`<p class="hint">To sign, save or drop the note that is open: ${open.join(", ")}.</p>`}
      ${one.state === "signed" && isMine && html`<p class="hint">Now somebody else has to read and sign it.</p>`}${isDraft && !isMine && html`<p class="hint">${one.outgoing} has to sign it first${can ? "; you can write notes, too" : ""}.</p>`}
      <${Outcome} action=${refresh} busy="Reading what is so …" said="These are the facts of now." />
      <p><a href=${`/api/v1${path}/document?form=markdown`} download>Save as Markdown</a> · <a href=${`/api/v1${path}/document?form=html`} download>Save as HTML</a> · <button type="button" class="plain" onClick=${() => window.print()}>Print</button></p></section>
    ${one.sections.map((section) => html`<${Part} key=${section.id} section=${section} one=${one} path=${path} canWrite=${isDraft && can} reload=${reload} keep=${keep} />`)}
    <${Steps} path=${path} revision=${one.revision} />
    ${asking && asking.verb === "sign" && html`<${Sign} ...${asking} path=${path} me=${me} onDone=${() => done("Signed. Now the next person reads and signs it.")} onClose=${() => setAsking(null)} />`}
    ${asking && asking.verb === "accept" && html`<${Sign} ...${asking} path=${path} me=${me} onDone=${() => done("Signed by both. The shift is yours.")} onClose=${() => setAsking(null)} />`}
    ${asking && ["send-back", "discard"].includes(asking.verb) && html`<${Because} ...${asking} path=${path} onDone=${() => done(asking.verb === "discard" ? "Discarded; it stays in the record." : "Sent back: it is a draft again.")} onClose=${() => setAsking(null)} />`}</div>`;
}

function Part({ section, one, path, canWrite, reload, keep }) {
  const id = `part-${section.id}`;
  return html`<section class="panel" aria-labelledby=${id}><h2 id=${id}>${section.title}${section.facts.length ? html` <span class="quiet">(${section.facts.length})</span>` : ""}</h2>
    ${section.facts.length > 0 ? html`<ul>${section.facts.map((fact) => html`<li>${fact.text}</li>`)}</ul>` : section.id !== "remarks" && html`<p class="empty">Nothing.</p>`}
    <${Note} section=${section} one=${one} path=${path} canWrite=${canWrite} reload=${reload} keep=${keep} /></section>`;
}

// What somebody writes stays in its box whatever others do meanwhile; it is theirs to say which text is to stand.
function Note({ section, one, path, canWrite, reload, keep }) {
  const [text, setText] = useState(null), [base, setBase] = useState(""), place = useRef(null);
  useEffect(() => { if (text !== null) place.current?.querySelector("textarea")?.focus(); }, [text === null]);
  const save = useAction(async () => {
    try {
      await post(`${path}/note`, { revision: one.revision, section: section.id, text });
      setText(null); keep(section.id, false);
    } finally {
      await reload();
    }
  });
  const begin = () => { save.clear(); setBase(section.note); setText(section.note); keep(section.id, true); };
  const drop = () => { setText(null); save.clear(); keep(section.id, false); };
  if (text === null) return html`<div>${section.note && html`<blockquote class="note">${section.note}</blockquote><p class="quiet">${section.noted_by}</p>`}
    <div class="row">${canWrite && html`<${Button} onPress=${begin} aria-label=${`${section.note ? "Edit the note" : "Write a note"}: ${section.title}`}>${section.note ? "Edit the note" : "Write a note"}<//>`}<${Outcome} action=${save} said="Saved." /></div></div>`;
  const isOther = section.note !== base;
  return html`<div ref=${place}><${Field} label=${`Note: ${section.title}`} rows="4" value=${text} onInput=${setText} maxlength="5000" />
    ${!canWrite && html`<p class="trouble" role="alert"><strong>✕ It was signed or discarded meanwhile: this note cannot be saved.</strong></p>`}
    ${isOther && html`<div class="notice" role="alert"><p><strong>${section.noted_by || "Somebody"} has changed this note since you began:</strong></p><blockquote class="note">${section.note || "(no note)"}</blockquote>
      <div class="row"><button type="button" onClick=${() => { setText(section.note); setBase(section.note); }}>Take theirs</button><button type="button" onClick=${() => setBase(section.note)}>Keep mine in its place</button><button type="button" onClick=${() => { setText(`${section.note}\n${text}`); setBase(section.note); }}>Keep both</button></div></div>`}
    <div class="row"><${Button} kind="primary" action=${save} why=${isOther ? "Say first which of the two texts is to stand" : !canWrite ? "It is not a draft any more" : null} aria-label=${`Save the note: ${section.title}`}>Save<//><button type="button" onClick=${drop}>Drop</button><${Outcome} action=${save} /></div></div>`;
}

function Sign({ verb, seen, path, me, onDone, onClose }) {
  const [typed, setTyped] = useState(""), [remark, setRemark] = useState("");
  const isFirst = verb === "sign", login = me.person.login, isReady = typed.trim() === login;
  const sign = useAction(async () => {
    await post(`${path}/${verb}`, { sha256: seen.sha256, confirmation: typed.trim(), ...(isFirst ? { revision: seen.revision } : { remark }) });
    await onDone();
  });
  return html`<${Dialog} title=${isFirst ? "Sign, and hand over" : "Sign, and take over"} onClose=${onClose} onSubmit=${() => isReady && sign.run()}>
    <p>${isFirst ? "You sign what you have just read. From then on nothing of it changes; the next person reads and signs it, or sends it back to you." : `You sign that you have read this and take over from ${seen.outgoing}. From then on nothing of it changes.`}</p>
    <p class="mono quiet">SHA-256 ${seen.sha256}</p>
    ${!isFirst && html`<${Field} label="Remark" optional rows="2" value=${remark} onInput=${setRemark} maxlength="5000" />`}
    <${Field} label="Your login, as your signature" value=${typed} onInput=${setTyped} hint=${`Type ${login}`} autocapitalize="none" spellcheck="false" autocomplete="off" autofocus=${isFirst} />
    <div class="row"><button type="submit" class="primary" aria-disabled=${!isReady || sign.isBusy ? "true" : undefined} aria-busy=${sign.isBusy ? "true" : undefined}>Sign</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${sign} /><//>`;
}

function Because({ verb, path, onDone, onClose }) {
  const [reason, setReason] = useState("");
  const isGone = verb === "discard", isReady = reason.trim() !== "";
  const act = useAction(async () => { await post(`${path}/${verb}`, { reason: reason.trim() }); await onDone(); });
  return html`<${Dialog} title=${isGone ? "Discard this draft" : "Send back"} onClose=${onClose} onSubmit=${() => isReady && act.run()}>
    <p>${isGone ? "Nobody can sign it any more. It stays in the record." : "The first signature is undone, and it is a draft again: its writer can change and sign it anew."}</p>
    <${Field} label="Reason" rows="2" value=${reason} onInput=${setReason} maxlength="2000" hint="It is kept in the record, with your name." autofocus />
    <div class="row"><button type="submit" class=${isGone ? "danger" : "primary"} aria-disabled=${!isReady || act.isBusy ? "true" : undefined} aria-busy=${act.isBusy ? "true" : undefined}>${isGone ? "Discard" : "Send back"}</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${act} /><//>`;
}

const DID = { drafted: "drafted", refreshed: "facts refreshed", noted: "note written", signed: "signed, handed over", accepted: "signed, taken over", returned: "sent back", discarded: "discarded" };

function Steps({ path, revision }) {
  const steps = useData(`${path}/history?limit=200`, { about: ofSite });
  return html`<section class="panel" aria-labelledby="steps"><h2 id="steps">Who did what</h2><${Loaded} from=${steps} what="its history">${(data) => html`<${Table} caption="What was done to this handover" keys=${data.items.map((step) => step.id)} heads=${["when", "what", "by", ""]}
    rows=${data.items.map((step) => [moment(step.at), `${DID[step.verb] || step.verb}${step.section ? `: ${step.section}` : ""}`, html`<strong>${step.by}</strong>`, step.why || (step.sha256 ? html`<span class="mono">${step.sha256.slice(0, 16)}…</span>` : "")])} />`}<//></section>`;
}
