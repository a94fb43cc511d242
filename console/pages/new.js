// A new campaign: from a challenge, a profile or a file; a form and the file beside each other, and the file is the truth.
import { html, useEffect, useRef, useState } from "./preact.js";
import { get, look, post, useAction, useData } from "./api.js";
import { Button, count, Dialog, duration, Field, go, Loaded, measured, Meter, number, Outcome, pretty, Spark, State, Trouble, useTitle } from "./parts.js";

const SOON_MS = 400;
const KEPT = "athanor-new-campaign";

export function NewCampaign() {
  useTitle("New campaign");
  // What was written survives another page, and a browser that is closed; nothing secret is in it.
  const [yaml, setYaml] = useState(() => sessionStorage.getItem(KEPT) || "");
  const write = (text) => { setYaml(text); try { sessionStorage.setItem(KEPT, text); } catch { /* it is kept on this page */ } };
  return html`<h1>New campaign</h1>
    <${Sources} hasText=${Boolean(yaml.trim())} onText=${write} />
    ${yaml.trim() ? html`<${Editor} yaml=${yaml}  write=${write} />` : html`<p class="empty">Choose something to start from. Nothing starts before you say so.</p>`}`;
}

// -- what to start from -----------------------------------------------------------------------------------------------

function Sources({ hasText, onText }) {
  const challenges = useData("/challenges", { about: () => false }), profiles = useData("/profiles", { about: () => false });
  const [waiting, setWaiting] = useState(null);
  const take = useAction(async (read) => { onText(await read()); return true; });
  const choose = (read) => { if (hasText) setWaiting(() => read); else take.run(read); };
  const challenge = (name) => choose(async () => (await get(`/challenges/${encodeURIComponent(name)}`)).yaml);
  const profile = (path) => choose(async () => (await look("/campaigns/draft", { profile: path })).yaml);
  const file = (event) => {
    const [one] = event.target.files;
    event.target.value = "";
    if (one) choose(() => one.text());
  };
  return html`<details class="panel" open=${!hasText}><summary><strong>Start from</strong></summary>
    <h3>A challenge <span class="quiet">(a simulated laboratory with a ready campaign)</span></h3>
    <${Loaded} from=${challenges} what="the challenges">${(found) => html`<div class="grid3">${found.map((one) => html`<article class="panel" key=${one.name}>
      <div class="head"><h3>${one.name}</h3><span class="quiet">${one.domain}</span></div><p class="quiet">${one.description}</p>
      <${Button} onPress=${() => challenge(one.name)} aria-label=${`Start from ${one.name}`}>Start from this<//></article>`)}</div>`}<//>
    ${profiles.data && profiles.data.length > 0 && html`<h3>An instrument of this site</h3><ul class="plainlist">${profiles.data.map((one) => html`<li key=${one.path}><div class="row"><strong>${one.title}</strong> <span class="mono">${one.path}</span>${one.simulated ? html` <${State}>simulated<//>` : html` <${State} tone="ask" sign="!">real<//>`}<${Button} onPress=${() => profile(one.path)} aria-label=${`Start from ${one.title}`}>Start from this<//></div></li>`)}</ul>`}
    <h3>A file</h3>
    <div class="field"><label for="campaign-file">A campaign file from this computer</label><input id="campaign-file" type="file" accept=".yaml,.yml,text/plain" onChange=${file} /></div>
    <${Outcome} action=${take} busy="Reading …" />
    ${waiting && html`<${Dialog} title="Replace what is written?" onClose=${() => setWaiting(null)} onSubmit=${() => { take.run(waiting); setWaiting(null); }}>
      <p>The file below, with everything you changed in it, is replaced.</p>
      <div class="row"><button type="submit" class="primary">Replace it</button><button type="button" onClick=${() => setWaiting(null)}>Keep it</button></div><//>`}
  </details>`;
}

// -- the file and its form --------------------------------------------------------------------------------------------

/** What the console says of a text: always of the newest that was asked about. */
function useCheck(yaml) {
  const [state, setState] = useState({ told: null, of: null, problem: null });
  const newest = useRef(0);
  const ask_ = async (text) => {
    newest.current += 1;
    const turn = newest.current;
    try {
      const told = await look("/campaigns/check", { yaml: text });
      if (turn === newest.current) setState({ told, of: text, problem: null });
    } catch (problem) {
      if (turn !== newest.current) return;
      if (problem.code === "check.busy") setTimeout(() => turn === newest.current && ask_(text), SOON_MS * 3);
      else setState((before) => ({ ...before, problem }));
    }
  };
  useEffect(() => {
    const timer = setTimeout(() => ask_(yaml), state.told === null ? 0 : SOON_MS);
    return () => clearTimeout(timer);
  }, [yaml]);
  return { ...state, isFresh: state.of === yaml, again: () => ask_(yaml) };
}

function Editor({ yaml, write }) {
  const check = useCheck(yaml);
  const area = useRef(null);
  const compose = useAction(async (changes) => {
    const before = yaml;
    const told = await look("/campaigns/compose", { yaml: before, changes });
    if (area.current && area.current.value !== before) return true;  // it was written on meanwhile: the file is the truth
    write(told.yaml);
    return true;
  });
  const set = (path, value) => compose.run([{ path, value }]);
  const told = check.told;
  const show = (line) => {
    const box = area.current, lines = box.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    box.focus();
    box.setSelectionRange(start, start + (lines[line - 1] || "").length);
    box.scrollTop = (line - 4) * (box.scrollHeight / Math.max(lines.length, 1));
  };
  return html`<div class="grid2 editor">
      <section class="panel" aria-labelledby="form"><h2 id="form">Form</h2>
        ${told && told.document ? html`<${Form} document=${told.document} faults=${told.faults} set=${set} />` : told ? html`<p class="empty">The file cannot be read as YAML yet. Put that right in the file; the form comes back by itself.</p>` : html`<p class="quiet" role="status">Reading the file …</p>`}
        <${Outcome} action=${compose} busy="Writing it into the file …" /></section>
      <section class="panel" aria-labelledby="file"><div class="head"><h2 id="file"><label for="yaml">The file</label></h2><span aria-live="polite">${told === null ? "" : !check.isFresh ? html`<span class="quiet">checking …</span>` : told.ok ? html`<${State} tone="good" sign="✓">can run<//>` : html`<${State} tone="bad" sign="✕">${count(told.faults.length, "fault")}<//>`}</span></div>
        <p class="hint">The form writes into this file, and this file is what is started. Edit either.</p>
        <textarea id="yaml" class="mono" rows="26" spellcheck=${false} autocomplete="off" autocapitalize="off" ref=${area} value=${yaml} onInput=${(event) => write(event.target.value)} aria-describedby="faults"></textarea>
        <${Trouble} problem=${check.problem} />
        <div id="faults" aria-live="polite">${told && told.faults.length > 0 && html`<ul class="plainlist faults">${told.faults.map((one, index) => html`<li key=${index}>
          ${one.line ? html`<button type="button" class="plain" onClick=${() => show(one.line)} aria-label=${`Show line ${one.line}`}>line ${one.line}</button> ` : ""}<span class="mono">${one.field}</span>: <span class="bad">✕ ${one.message}</span>${one.remedy && html` <span class="quiet">${one.remedy}</span>`}</li>`)}</ul>`}</div>
        <div class="row"><a class="button" href=${`data:text/yaml;charset=utf-8,${encodeURIComponent(yaml)}`} download="campaign.yaml">Save the file</a></div></section>
    </div>
    ${told && told.ok && html`<${Ready} told=${told} isFresh=${check.isFresh} yaml=${yaml}  write=${write} />`}`;
}

/** A field that writes into the file when it is left, or on Enter. `read` turns the text into a value; null is no value. */
function Slot({ label, value, path, set, read = (text) => text, wrong, ...rest }) {
  const shown = value === undefined || value === null ? "" : String(value);
  const [text, setText] = useState(shown), [own, setOwn] = useState(null);
  useEffect(() => { setText(shown); setOwn(null); }, [shown]);
  const done = () => {
    if (text === shown) return;
    const found = text.trim() === "" ? null : read(text);
    if (found === undefined) { setOwn("This is not a number."); return; }
    setOwn(null);
    set(path, found);
  };
  const enter = (event) => { if (event.key === "Enter") { event.preventDefault(); done(); } };
  return html`<${Field} label=${label} value=${text} onInput=${setText} onBlur=${done} onKeyDown=${enter} wrong=${own || wrong} autocomplete="off" ...${rest} />`;
}

const asNumber = (text) => { const value = Number(text.replace("−", "-")); return Number.isFinite(value) ? value : undefined; };
const asLevels = (text) => text.split(",").map((one) => one.trim()).filter(Boolean).map((one) => (Number.isFinite(Number(one)) ? Number(one) : one));
const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function Form({ document: file, faults, set }) {
  const wrong = (...path) => { const found = faults.find((one) => one.field === path.join(".")); return found ? `${found.message}${found.remedy ? `; ${found.remedy}` : ""}` : null; };
  const budget = isMap(file.budget) ? file.budget : {}, policy = isMap(file.policy) ? file.policy : {}, stop = isMap(file.stop) ? file.stop : {};
  const parameters = isMap(file.parameters) ? file.parameters : {}, objectives = isMap(file.objectives) ? file.objectives : {};
  return html`<${Slot} label="Name" value=${file.name} path=${["name"]} set=${set} wrong=${wrong("name")} />
    <${Slot} label="Question" value=${file.question} path=${["question"]} set=${set} wrong=${wrong("question")} hint="One sentence; it heads the report." />
    <fieldset><legend>What may be varied</legend>
    ${Object.entries(parameters).map(([name, one]) => isMap(one) && html`<div class="slots" key=${name} role="group" aria-label=${name}><strong>${name}${one.unit ? html` <span class="unit">[${pretty(one.unit)}]</span>` : ""}</strong>
      ${one.values !== undefined ? html`<${Slot} label="Values" value=${[].concat(one.values).join(", ")} path=${["parameters", name, "values"]} set=${set} read=${asLevels} wrong=${wrong("parameters", name, "values") || wrong("parameters", name)} />`
        : html`<${Slot} label="Low" value=${one.low} path=${["parameters", name, "low"]} set=${set} read=${asNumber} inputmode="decimal" wrong=${wrong("parameters", name, "low") || wrong("parameters", name)} />
          <${Slot} label="High" value=${one.high} path=${["parameters", name, "high"]} set=${set} read=${asNumber} inputmode="decimal" wrong=${wrong("parameters", name, "high")} />`}</div>`)}</fieldset>
    <fieldset><legend>What is wanted</legend>
    ${Object.entries(objectives).map(([name, one]) => isMap(one) && html`<div class="slots" key=${name} role="group" aria-label=${name}><strong>${name}${one.unit ? html` <span class="unit">[${pretty(one.unit)}]</span>` : ""}</strong>
      ${one.target !== undefined ? html`<${Slot} label="Target" value=${one.target} path=${["objectives", name, "target"]} set=${set} read=${asNumber} inputmode="decimal" wrong=${wrong("objectives", name)} />`
        : html`<${Field} label="Goal" value=${one.goal || ""} onInput=${(goal) => set(["objectives", name, "goal"], goal)} options=${["maximize", "minimize"]} wrong=${wrong("objectives", name) || wrong("objectives", name, "goal")} />`}</div>`)}</fieldset>
    <fieldset><legend>How much, and who lets it run</legend><div class="values">
      <${Slot} label="Experiments at most" value=${budget.experiments} path=${["budget", "experiments"]} set=${set} read=${asNumber} inputmode="numeric" wrong=${wrong("budget", "experiments") || wrong("budget")} />
      <${Slot} label="Time at most" value=${budget.wall_time} path=${["budget", "wall_time"]} set=${set} optional hint="For example 8 h" wrong=${wrong("budget", "wall_time")} />
      <${Slot} label="Readings in each" value=${file.replicates} path=${["replicates"]} set=${set} read=${asNumber} inputmode="numeric" optional wrong=${wrong("replicates")} />
      <${Slot} label="Stop after so many without progress" value=${stop.patience} path=${["stop", "patience"]} set=${set} read=${asNumber} inputmode="numeric" optional wrong=${wrong("stop", "patience")} />
      <${Slot} label="Seed" value=${file.seed} path=${["seed"]} set=${set} read=${asNumber} inputmode="numeric" optional wrong=${wrong("seed")} /></div>
      <${Field} label="Approval" value=${policy.autonomy || "approve_each"} onInput=${(value) => set(["policy", "autonomy"], value)} options=${[["approve_each", "a person approves each experiment"], ["auto_within_limits", "it runs by itself within these ranges"]]} wrong=${wrong("policy", "autonomy")} />
      <${Field} type="checkbox" label="Nobody approves what they proposed or edited themselves" value=${Boolean(policy.proposer_may_not_approve)} onInput=${(value) => set(["policy", "proposer_may_not_approve"], value ? true : null)} /></fieldset>
    <p class="hint">The file can say more than this form: constraints, references, stocks, hypotheses.</p>`;
}

// -- ready: what it would do, rehearsal, start ------------------------------------------------------------------------

function Ready({ told, isFresh, yaml, write }) {
  const [isAsking, setAsking] = useState(false);
  const start = useAction(async () => {
    const made = await post("/campaigns", { yaml, instrument: told.instrument });
    write("");
    go(`/campaigns/${encodeURIComponent(made.campaign.id)}`);
    return made;
  });
  const cannot = !told.may_start ? `Your role may not start campaigns on ${told.real ? "real instruments" : "simulated ones"}.` : !isFresh ? "The file is being checked." : null;
  return html`<section class="panel" aria-labelledby="ready"><h2 id="ready">What it would do</h2>
    <dl class="facts">${told.summary.map((line, index) => html`<dt key=${`t${index}`}>${line.label}</dt><dd key=${`d${index}`}>${line.text}</dd>`)}</dl>
    <${Rehearsal} yaml=${yaml} can=${told.can_rehearse} isReal=${told.real} mayStart=${told.may_start} />
    <h3>Start</h3>
    <p>${told.real ? html`<strong class="bad">This moves the real instrument ${told.instrument}.</strong>` : html`This moves the simulated instrument <strong>${told.instrument}</strong>.`}</p>
    <div class="row"><${Button} kind="primary" why=${cannot} onPress=${() => setAsking(true)}>Start …<//></div>
    ${isAsking && html`<${Dialog} title=${told.real ? `Move the real ${told.instrument}?` : "Start this campaign?"} onClose=${() => setAsking(false)} onSubmit=${() => start.run()}>
      <p>${told.real ? html`<strong>The real instrument ${told.instrument} will be moved</strong>` : html`The simulated instrument <strong>${told.instrument}</strong> will be moved`}, in up to ${count(told.experiments, "experiment")}.</p>
      <p>${told.autonomy === "auto_within_limits" ? (told.may_grant ? "By this you let it approve its own experiments within its ranges: it starts moving at once." : "It asks to run by itself, which your role may not grant: until somebody does, each experiment waits for a person.") : "Each experiment waits until a person has approved it."}</p>
      <p class="quiet">It runs in a process of its own: closing this page, or ending the console, does not stop it.</p>
      <div class="row"><button type="submit" class="primary" aria-busy=${start.isBusy ? "true" : undefined}>${told.real ? `Start, and move ${told.instrument}` : "Start it"}</button><button type="button" onClick=${() => setAsking(false)}>Not yet</button></div>
      <${Outcome} action=${start} busy="Starting …" /><//>`}</section>`;
}

function Rehearsal({ yaml, can, isReal, mayStart }) {
  const [id, setId] = useState(null), [twin, setTwin] = useState(""), [runs, setRuns] = useState("10");
  const found = useData(id ? `/rehearsals/${encodeURIComponent(id)}` : null, { about: () => false, every: 1000 });
  const challenges = useData(isReal ? "/challenges" : null, { about: () => false });
  const experiments = Number(runs), isNumber = Number.isInteger(experiments) && experiments >= 1 && experiments <= 50;
  const begin = useAction(async () => { const made = await post("/rehearsals", { yaml, experiments, twin: twin || null }); setId(made.id); return made; });
  const cancel = useAction(async () => { await post(`/rehearsals/${encodeURIComponent(id)}/cancel`); found.reload(); });
  const isRunning = found.data && found.data.standing === "running";
  const why = !isNumber ? "Give 1 to 50 experiments." : isRunning ? "A rehearsal is going on." : !can && !twin ? "Choose a simulated laboratory that stands in." : null;
  return html`<h3>Rehearsal <span class="quiet">on the simulated twin; nothing of it reaches your ledger or any instrument</span></h3>
    <div class="row end"><${Field} label="Experiments" value=${runs} onInput=${setRuns} inputmode="numeric" autocomplete="off" />
      ${!can && isReal && challenges.data && html`<${Field} label="Simulated laboratory that stands in" value=${twin} onInput=${setTwin} options=${[["", "none chosen"], ...challenges.data.map((one) => [one.name, one.name])]} />`}
      <${Button} action=${begin} why=${why}>Rehearse<//>${isRunning && html`<${Button} action=${cancel}>End the rehearsal<//>`}</div>
    <${Outcome} action=${begin} busy="Beginning …" /><${Outcome} action=${cancel} said="It ends after the experiment it has in hand." />
    ${found.data && html`<${Rehearsed} one=${found.data} />`}`;
}

const STANDING = { running: ["live", "▶"], done: ["good", "✓"], cancelled: ["quiet", "✕"], failed: ["bad", "✕"] };

function Rehearsed({ one }) {
  const [tone, sign] = STANDING[one.standing];
  return html`<div class="panel rehearsed" aria-live="polite"><div class="head"><strong>Rehearsal on ${one.laboratory}</strong><${State} tone=${tone} sign=${sign}>${one.standing}<//></div>
    ${one.differs.length > 0 && html`<p class="quiet">As the real one, but ${one.differs.join("; ")}.</p>`}
    ${one.detail && html`<p class=${one.standing === "failed" ? "bad" : "quiet"}>${one.detail}</p>`}
    ${one.used !== null ? html`<div class="row"><${Meter} used=${one.used} of=${one.budget} label=${`${one.used} of ${one.budget} experiments rehearsed`} /><${Spark} values=${one.trace} label="How the best so far grew" /><span class="quiet">${one.failures} failed · ${duration(one.elapsed_s)}</span></div>` : html`<p class="quiet">It is being set up …</p>`}
    ${one.best.slice(0, 3).map((best) => html`<p key=${JSON.stringify(best.values)}><strong>${Object.entries(best.outcomes).map(([name, [mean, sem]]) => `${name} ${measured(mean, sem, one.units[name])}`).join(", ")}</strong> <span class="quiet">at ${Object.entries(best.values).map(([name, value]) => `${name} ${number(value)} ${pretty(one.units[name])}`.trim()).join(", ")}</span></p>`)}
    ${one.standing === "done" && html`<p class="hint">The simulation is not the instrument: this shows that the file runs, and what it would try first.</p>`}</div>`;
}
