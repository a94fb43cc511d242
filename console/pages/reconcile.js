// After a crash, step by step: take in what is known, look at each experiment in doubt, say what became of it.
import { html, useEffect, useRef, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, count, Field, Loaded, may, measured, moment, number, Outcome, pretty, State, Table, To, useTitle } from "./parts.js";

export function ReconcilePage({ params, me }) {
  useTitle(`Reconcile ${params.name}`);
  const where = `/instruments/${encodeURIComponent(params.name)}`;
  const standing = useData(`${where}/standing`, { every: 3000 });
  return html`<div class="head"><h1>Reconcile ${params.name}</h1><${To} class="button" to=${where}>Back to ${params.name}<//></div>
    <p class="quiet">After a crash. Nothing is moved here, and nothing is run again by itself.</p>
    <${Loaded} from=${standing} what="the instrument">${(data) => html`<${Wizard} data=${data} where=${where} me=${me} reload=${standing.reload} />`}<//>`;
}

const STEPS = ["Take in what is known", "Look at the evidence", "Say what happened"];

function Wizard({ data, where, me, reload }) {
  const why = may(me, "outcome.settle", data.simulated) ? null : "Your role may not say what became of experiments in doubt; you can look at the evidence.";
  const [swept, setSwept] = useState(null), [chosen, setChosen] = useState(null), [isAnswering, setAnswering] = useState(false), [settled, setSettled] = useState([]);
  const sweep = useAction(async () => { const found = await post(`${where}/reconcile`); setSwept(found); reload(); return found; });
  const left = data.in_doubt;
  const current = chosen !== null && left.includes(chosen) ? chosen : left[0] || null;
  const step = (!swept && !why) || !current ? 0 : isAnswering ? 2 : 1;
  const head = useRef(null), before = useRef(step);
  useEffect(() => { if (before.current !== step && head.current) head.current.focus(); before.current = step; }, [step, current]);
  const done = (found) => { setSettled((list) => [...list, found]); setAnswering(false); setChosen(null); reload(); };
  return html`<ol class="steps" aria-label="Steps">${STEPS.map((name, index) => html`<li key=${name} aria-current=${index === step ? "step" : undefined}>${index < step ? "✓ " : ""}${index + 1}. ${name}</li>`)}</ol>
    ${why && html`<p class="notice">${why}</p>`}
    <section class="panel" aria-labelledby="take-in"><h2 id="take-in" tabindex="-1" ref=${step === 0 ? head : null}>1. Take in what is known</h2>
      <p>What a worker that died had written down is stored, and every run without an end is found. What completed is completed; the rest is in doubt until somebody says what happened.</p>
      <div class="row"><${Button} kind=${swept ? "" : "primary"} action=${sweep} why=${why}>${swept ? "Look again" : "Look now"}<//></div>
      <${Outcome} action=${sweep} busy="Asking the instrument, its spool and its worker …" said=${(found) => (found.in_doubt.length ? `Looked: ${count(found.in_doubt.length, "experiment")} in doubt.` : "Nothing is in doubt.")} />
      ${swept && swept.trouble && html`<p class="trouble"><strong>✕ The instrument did not answer:</strong> ${swept.trouble}</p>`}
      ${swept && html`<ul>${swept.found.map((one) => html`<li><span class="mono">${one.subject}</span>: ${one.detail.replace("in_doubt", "in doubt")}</li>`)}${swept.set_aside.map((one) => html`<li class="bad">✕ set aside: ${one.subject} (${one.kind}): ${one.detail}</li>`)}</ul>`}
    </section>
    ${settled.map((one) => html`<p class="good" role="status">✓ ${one.decision.experiment_id} was settled by ${one.decision.decided_by}: ${one.decision.reason}${one.again ? html`. Its settings are put up again as <${To} class="mono" to=${`/experiments/${encodeURIComponent(one.again.id)}`}>${one.again.id}<//>` : ""}${one.again_trouble ? html` <span class="bad">✕ They were not put up again: ${one.again_trouble.detail}</span>` : ""}</p>`)}
    ${current && (swept || why) && html`
      ${left.length > 1 && html`<${Field} label="Which one" value=${current} onInput=${(id) => { setChosen(id); setAnswering(false); }} options=${left.map((id) => [id, id])} hint=${`${left.length} are in doubt; each gets an answer of its own.`} />`}
      <${Doubt} key=${current} id=${current} where=${where} why=${why} data=${data} head=${head} step=${step} isAnswering=${isAnswering} onAnswer=${() => setAnswering(true)} onBack=${() => setAnswering(false)} onDone=${done} />`}
    ${!current && swept && html`<section class="panel" aria-labelledby="all-clear"><h2 id="all-clear">✓ Nothing is in doubt</h2><p>Campaigns that paused go on when somebody resumes them.</p></section>`}`;
}

function Doubt({ id, where, why, data, head, step, isAnswering, onAnswer, onBack, onDone }) {
  const doubt = useData(`/experiments/${encodeURIComponent(id)}/doubt`, { about: (change) => change.kind === "decision" });
  const canConnect = !data.worker.is_running;
  const connect = useAction(async () => { const found = await post(`${where}/connect`); doubt.reload(); return found; });
  return html`<${Loaded} from=${doubt} what="the evidence">${(found) => html`
    <section class="panel" aria-labelledby="evidence"><div class="head"><h2 id="evidence" tabindex="-1" ref=${step === 1 ? head : null}>2. Evidence: <span class="mono">${id}</span></h2><${State} of="in_doubt" /></div>
      <p>${found.experiment.reason || "Its run has no end."}</p>
      <p class="notice"><strong>So far:</strong> ${found.hint}.</p>
      <${Table} caption="Where the axes are now, and where the run was to take them" heads=${["axis", ["was sent to", true], ["is now", true], ""]} rows=${found.axes.map((one) => [one.name, withUnit(one.target, one.unit), one.position === null ? "unknown" : withUnit(one.position, one.unit), one.is_there === null ? html`<${State} tone="ask" sign="?">not known<//>` : one.is_there ? html`<${State} tone="good" sign="✓">there<//>` : html`<${State} tone="bad" sign="✕">not there<//>`])} />
      ${found.is_moving && html`<p class="bad">✕ It is moving now.</p>`}
      ${found.device_trouble && html`<p class="bad">✕ ${found.device_trouble}</p>`}
      ${!found.is_connected && html`<div class="row"><${Button} action=${connect} why=${why || (canConnect ? null : "Its worker is connecting.")}>Connect the instrument<//><span class="quiet">So that it can say where it stands. Nothing moves. It may stand elsewhere than when it was left.</span></div><${Outcome} action=${connect} said=${(one) => (one.is_there ? "It is connected." : "It is still being connected; look again in a moment.")} />`}
      <dl class="facts"><dt>Approved</dt><dd>${found.approved ? html`by ${found.approved.by}, ${moment(found.approved.at)}${found.approved.reason ? `: ${found.approved.reason}` : ""}` : "nobody knows by whom"}</dd>
        <dt>Handed over</dt><dd>${found.intent_at ? moment(found.intent_at) : "never"}</dd>
        <dt>Its run</dt><dd>${found.run ? html`began ${moment(found.run.started_at)}; ${Object.entries(found.run.counts).map(([name, times]) => `${times} ${name}`).join(", ")}; <strong>${found.run.readings} of ${found.run.due} readings</strong>` : "no document of it has arrived"}</dd>
        ${found.run && found.run.last_event && html`<dt>Last reading</dt><dd>${Object.entries(found.run.last_event).map(([name, value]) => `${name} ${number(value)}`).join(", ")}</dd>`}
        <dt>Controller's log</dt><dd>${!found.controller ? "keeps none that can be read" : !found.controller.began_at ? "knows nothing of this run" : html`took the run ${moment(found.controller.began_at)}; ${Object.entries(found.controller.counts).map(([name, times]) => `${times} ${name}`).join(", ")}; last <${Ago} at=${found.controller.last} />`}</dd>
        <dt>Documents give</dt><dd>${found.outcomes ? given(found) : `no outcomes: ${found.no_outcomes}`}</dd></dl>
      <div class="row">${!isAnswering && html`<${Button} kind="primary" onPress=${onAnswer} why=${why}>I have looked at the instrument and know what happened<//>`}<${Button} onPress=${doubt.reload}>Look again<//></div>
    </section>
    ${isAnswering && html`<${Answer} found=${found} id=${id} head=${step === 2 ? head : null} onBack=${onBack} onDone=${onDone} reload=${doubt.reload} />`}`}<//>`;
}

const withUnit = (value, unit) => `${number(value, 6)}${unit && unit !== "1" ? ` ${pretty(unit)}` : ""}`;
const given = (found) => Object.entries(found.outcomes).map(([name, one]) => `${name} ${measured(one.mean, one.sem, found.units[name])}`).join(", ");

function Answer({ found, id, head, onBack, onDone, reload }) {
  const choices = [
    found.outcomes && ["documents", "completed", `It completed, and its documents are right: ${given(found)}`],
    Object.keys(found.units).length > 0 && ["entered", "completed", "It completed, and I enter what was measured"],
    ["failed", "failed", "It failed"],
    ["aborted", "aborted", "It was aborted"],
    ["not_started", "not_started", "It never started"],
  ].filter(Boolean);
  const [choice, setChoice] = useState(null), [reason, setReason] = useState(""), [again, setAgain] = useState(false), [texts, setTexts] = useState({});
  const state = choice && choices.find(([key]) => key === choice)[1];
  const outcomes = choice === "entered" ? read(texts) : null;
  const settle = useAction(async () => {
    try {
      onDone(await post(`/experiments/${encodeURIComponent(id)}/settle`, { state, reason, outcomes: outcomes || null, again: choice === "not_started" && again }));
    } catch (problem) { if (problem.status === 409) reload(); throw problem; }
  });
  const wrong = choice === "entered" ? wrongIn(texts, outcomes) : null;
  const isReady = choice && reason.trim() && !wrong;
  return html`<section class="panel ask" aria-labelledby="answer"><h2 id="answer" tabindex="-1" ref=${head}>3. What happened?</h2>
    <form onSubmit=${(event) => { event.preventDefault(); if (isReady) settle.run(); }}>
    <fieldset class="choices"><legend class="spoken">What happened to ${id}</legend>${choices.map(([key, , text]) => html`<label key=${key}><input type="radio" name="what" checked=${choice === key} onChange=${() => setChoice(key)} /> ${text}</label>`)}</fieldset>
    ${choice === "entered" && html`<p class="quiet">What was measured, in the outcome's own unit; the standard error where you know it. One outcome at least.</p>
      ${Object.entries(found.units).map(([name, unit]) => html`<div class="pair" key=${name}><${Field} label=${name} unit=${unit} inputmode="decimal" autocomplete="off" value=${texts[name] || ""} onInput=${(text) => setTexts({ ...texts, [name]: text })} /><${Field} label=${`standard error of ${name}`} unit=${unit} optional inputmode="decimal" autocomplete="off" value=${texts[`${name} sem`] || ""} onInput=${(text) => setTexts({ ...texts, [`${name} sem`]: text })} /></div>`)}
      ${wrong && html`<p class="wrong">✕ ${wrong}</p>`}`}
    ${choice === "not_started" && html`<${Field} label="Put the same settings up for decision again" type="checkbox" value=${again} onInput=${setAgain} />`}
    <${Field} label="How do you know" value=${reason} onInput=${setReason} rows="2" hint="It is signed in your name and kept in the record." />
    ${choice && html`<p>This says that <span class="mono">${id}</span> <strong>${{ completed: "completed", failed: "failed", aborted: "was aborted", not_started: "never started" }[state]}</strong>${outcomes && !wrong ? html` with ${Object.entries(outcomes).map(([name, one]) => `${name} ${measured(one.mean, one.sem, found.units[name])}`).join(", ")}` : ""}. It cannot be changed afterwards.</p>`}
    <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"} aria-busy=${settle.isBusy ? "true" : undefined}>Sign this answer</button><button type="button" onClick=${onBack}>Back to the evidence</button></div>
    <${Outcome} action=${settle} /></form></section>`;
}

const numeric = (text) => Number(String(text).trim().replace("−", "-"));

function read(texts) {
  return Object.fromEntries(Object.keys(texts).filter((name) => !name.endsWith(" sem") && texts[name].trim()).map((name) => {
    const sem = (texts[`${name} sem`] || "").trim();
    return [name, { mean: numeric(texts[name]), sem: sem ? numeric(sem) : null }];
  }));
}

function wrongIn(texts, outcomes) {
  if (!Object.keys(outcomes).length) return "Enter what was measured.";
  for (const [name, one] of Object.entries(outcomes)) {
    if (!Number.isFinite(one.mean)) return `${name}: this is not a number.`;
    if (one.sem !== null && !(one.sem >= 0 && Number.isFinite(one.sem))) return `The standard error of ${name} is not a number of 0 or more.`;
  }
  return null;
}
