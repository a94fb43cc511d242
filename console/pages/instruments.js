// Instruments: what each can do, what it reads, who has it in hand, and everything a person does to it.
import { html, useEffect, useRef, useState } from "./preact.js";
import { get, post, useAction, useData } from "./api.js";
import { Ago, Button, count, Dialog, duration, Field, Loaded, may, Meter, moment, number, Outcome, pretty, State, Table, To, Trend, Trouble, useTitle, words } from "./parts.js";
import { Station } from "./station.js";

const LOOK_MS = 1000;
const address = (name) => `/instruments/${encodeURIComponent(name)}`;
const withUnit = (value, unit) => `${number(value, 6)}${unit && unit !== "1" ? ` ${pretty(unit)}` : ""}`;
const aboutSite = (change) => change.campaign_id === null || ["experiment", "run", "observation", "decision"].some((kind) => change.kind.startsWith(kind));

// -- all of them ------------------------------------------------------------------------------------------------------

export function Instruments() {
  useTitle("Instruments");
  const found = useData("/instruments", { about: (change) => change.campaign_id === null, every: 5000 });
  return html`<h1>Instruments</h1><${Loaded} from=${found} what="the instruments">${(list) => html`
    ${!list.length && html`<div class="panel"><p class="empty">No instrument has run here yet. It is known here as soon as a campaign has run on it, or <code>athanor instruments check</code> has looked at it.</p></div>`}
    <div class="grid3">${list.map((one) => html`<${Tile} one=${one} key=${one.name} />`)}</div>`}<//>`;
}

function Tile({ one }) {
  const tone = one.latch.engaged || one.trouble || !one.writes ? "bad" : one.taken_over_by ? "ask" : "";
  return html`<article class="panel ${tone}"><div class="head"><h2><${To} to=${address(one.name)}>${one.name}<//></h2><span><${Free} latch=${one.latch} holder=${one.taken_over_by} /> <${Kind} simulated=${one.simulated} /></span></div>
    ${one.latch.engaged && html`<p class="bad">${one.latch.reason || "no reason given"}, by ${one.latch.by || "somebody"}, <${Ago} at=${one.latch.at} /></p>`}
    ${one.taken_over_by && html`<p>In the hands of <strong>${one.taken_over_by}</strong>.</p>`}
    ${!one.writes && html`<p class="bad">✕ Writes are off${one.writes_reason ? `: ${one.writes_reason}` : ""}</p>`}
    <${Brief} name=${one.name} />
    ${one.trouble && html`<p class="bad">✕ ${one.trouble}</p>`}</article>`;
}

function Free({ latch, holder, isLeft }) {
  if (latch.engaged) return html`<${State} of="stopped">Stop All is latched<//>`;
  if (isLeft && !holder) return html`<${State} of="in_doubt" />`;
  return holder ? html`<${State} tone="ask" sign="☞">by hand<//>` : html`<${State} tone="good" sign="●">free to run<//>`;
}

const Kind = ({ simulated }) => (simulated ? html`<${State}>simulated<//>` : html`<${State} tone="live" sign="◆">real<//>`);

function Brief({ name }) {
  const live = useSignals(name);
  if (!live.data) return html`<p class="quiet">${live.problem ? live.problem.detail : "Reading …"}</p>`;
  if (live.data.axes_trouble) return html`<p class="quiet">Nothing can be read: ${live.data.axes_trouble}.</p>`;
  return html`<dl class="facts">${live.data.axes.map((one) => html`<dt>${one.name}</dt><dd>${one.value === null ? html`<span class="bad">unknown: ${one.trouble}</span>` : withUnit(one.value, one.unit)}</dd>`)}</dl>`;
}

/** Read-backs that stay fresh, with the points of the last minutes; only what is new is fetched. */
export function useSignals(name) {
  const [state, setState] = useState({ data: null, problem: null });
  useEffect(() => {
    let isOver = false, isBusy = false, kept = null;
    const look = async () => {
      if (isBusy || document.hidden) return;
      isBusy = true;
      try {
        const fresh = await get(`${address(name)}/signals${kept && kept.at ? `?after=${kept.at}` : ""}`);
        kept = joined(kept, fresh);
        if (!isOver) setState({ data: kept, problem: null });
      } catch (problem) {
        // What was read before is not what is there now: it is not shown as if it were.
        if (!isOver) setState({ data: null, problem });
        kept = null;
      }
      isBusy = false;
    };
    look();
    const clock = setInterval(look, LOOK_MS);
    return () => { isOver = true; clearInterval(clock); };
  }, [name]);
  return state;
}

function joined(before, fresh) {
  if (!before || before.since !== fresh.since) return fresh;
  const points = (kind) => Object.fromEntries(before[kind].map((one) => [one.name, one.points]));
  const merge = (kind) => fresh[kind].map((one) => ({ ...one, points: [...(points(kind)[one.name] || []), ...one.points].slice(-600) }));
  return { ...fresh, axes: merge("axes"), signals: merge("signals") };
}

// -- one of them ------------------------------------------------------------------------------------------------------

export function InstrumentPage({ params, me }) {
  const name = params.name, where = address(name);
  useTitle(name);
  const standing = useData(`${where}/standing`, { about: aboutSite, every: 2000 });
  const card = useData(`${where}/card`, { about: () => false });
  const live = useSignals(name);
  return html`<${Loaded} from=${standing} what="the instrument">${(data) => html`<${Instrument} data=${data} card=${card} live=${live} where=${where} me=${me} reload=${standing.reload} />`}<//>`;
}

function Instrument({ data, card, live, where, me, reload }) {
  const [dialog, setDialog] = useState(null);
  const [motion, setMotion] = useState(null);
  const close = () => { setDialog(null); reload(); };
  const can = (scope) => (may(me, scope, data.simulated) ? null : REFUSALS[scope]);
  // A dialog keeps what was looked at when it opened: what it says and does never turns into something else under the hands.
  const shared = { data, where, me, can, open: (asked) => setDialog({ ...asked, data }), reload };
  const title = card.data && card.data.title;
  return html`<div class="head"><h1>${data.name}</h1><span><${Free} latch=${data.latch} holder=${data.takeover && data.takeover.holder} isLeft=${data.in_doubt.length + data.unattended.length > 0} /> <${Kind} simulated=${data.simulated} /></span></div>
    ${title && html`<p class="quiet">${title}</p>`}
    <${Notices} ...${shared} />
    ${motion && html`<${MotionPanel} key=${motion.id} first=${motion} where=${where} can=${can} live=${live} onClose=${() => { setMotion(null); reload(); }} />`}
    <div class="grid2"><${Now} ...${shared} motion=${motion} /><${Hands} ...${shared} /></div>
    <${Station} name=${data.name} where=${where} why=${can("sample.keep")} />
    <${Signals} live=${live} card=${card} ...${shared} motion=${motion} />
    <${Interlocks} live=${live} card=${card} />
    <${Booked} data=${data} />
    <${Card} card=${card} />
    ${dialog && html`<${DIALOGS[dialog.what]} ...${shared} ...${dialog} now=${data} changed=${changeSince(dialog, data)} card=${card.data} onClose=${close} onMotion=${(made) => { setMotion(made); close(); }} />`}`;
}

const REFUSALS = {
  "instrument.operate": "Your role may not operate this instrument.",
  "instrument.release": "Your role may not end somebody else's take-over.",
  "run.steer": "Your role may not steer its run.",
  "latch.reset": "Your role may not reset Stop All.",
  "outcome.settle": "Your role may not say what became of experiments in doubt.",
  "sample.keep": "Your role may not enter what was measured.",
};

function Notices({ data, can, open, where }) {
  const left = [...data.in_doubt, ...data.unattended];
  return html`${data.latch.engaged && html`<section class="panel bad" aria-labelledby="latched"><h2 id="latched">■ Stop All is latched</h2>
      <p>${data.latch.reason || "No reason given"}, by ${data.latch.by || "somebody"}, <${Ago} at=${data.latch.at} />. Nothing starts or moves, and what was approved before is void.</p>
      <div class="row"><${Button} onPress=${() => open({ what: "reset" })} why=${can("latch.reset")}>Reset …<//>${can("latch.reset") && html`<span class="quiet">${can("latch.reset")}</span>`}</div></section>`}
    ${!data.writes.on && html`<section class="panel bad" aria-labelledby="writes-off"><h2 id="writes-off">✕ Writes are off</h2><p>${data.writes.reason || "No reason given"}${data.writes.by ? `, by ${data.writes.by}` : ""}${data.writes.at ? html`, <${Ago} at=${data.writes.at} />` : ""}. Nothing is set; what moved went on.</p></section>`}
    ${data.takeover_trouble && html`<p class="trouble" role="alert"><strong>✕ Nobody can tell who has it in hand.</strong> ${data.takeover_trouble}</p>`}
    ${left.length > 0 && html`<section class="panel bad" aria-labelledby="left"><h2 id="left">? ${data.in_doubt.length ? `${count(data.in_doubt.length, "experiment")} in doubt` : "Left behind by a crash"}</h2>
      <p>${data.in_doubt.length ? "Nobody saw the end of " : "No worker is there any more to run "}<span class="mono">${left.slice(0, 5).join(", ")}</span>${left.length > 5 ? ` and ${left.length - 5} more` : ""}. Nothing is run again by itself.</p>
      <div class="row"><${To} class="button" to=${`${where}/reconcile`}>Reconcile step by step<//></div></section>`}`;
}

// -- what it does now -------------------------------------------------------------------------------------------------

const WORKER = {
  idle: ["good", "●", "idle"], parked: ["quiet", "–", "parked"], running: ["live", "▶", "running"], paused: ["ask", "❚❚", "paused"],
  moving: ["live", "↔", "moved by hand"], lost: ["bad", "✕", "the hardware is gone"], leaving: ["quiet", "…", "ending"], starting: ["quiet", "…", "connecting"], hung: ["bad", "✕", "does not answer"],
};

function Now({ data, where, can, open, reload, motion }) {
  const worker = data.worker;
  const [tone, sign, said] = worker.state ? WORKER[worker.state] || ["quiet", "·", worker.state] : ["quiet", "–", "not connected"];
  const steer = can("run.steer");
  const pause = useAction(async () => { const found = await post(`${where}/run/pause`, { experiment: worker.experiment }); reload(); return found; });
  const resume = useAction(async () => { const found = await post(`${where}/run/resume`, { experiment: worker.experiment }); reload(); return found; });
  const connect = useAction(async () => { const found = await post(`${where}/connect`); reload(); return found; });
  const hasRun = Boolean(worker.experiment);
  return html`<section class="panel" aria-labelledby="now"><div class="head"><h2 id="now">Now</h2><${State} tone=${tone} sign=${sign}>${said}<//></div>
    ${worker.troubles.map((trouble) => html`<p class="bad">✕ ${trouble}</p>`)}
    ${!worker.is_running && html`<p>No worker is running, so it runs nothing.</p>
      <div class="row"><${Button} action=${connect} why=${can("instrument.operate") || (worker.is_connecting ? "It is being connected." : null)}>Connect<//><span class="quiet">${can("instrument.operate") || "Nothing moves by that."}</span></div>
      ${worker.is_connecting && html`<p role="status">Connecting …</p>`}
      ${worker.connect_trouble && !worker.is_connecting && !connect.problem && html`<p class="bad">✕ The last try failed: ${worker.connect_trouble}</p>`}`}
    <div class="told"><${Outcome} action=${connect} said=${(found) => (found.is_there ? "It is connected." : "It is still being connected.")} /></div>
    ${hasRun && html`<${Run} data=${data} />`}
    ${worker.is_running && !hasRun && worker.state !== "moving" && html`<p class="quiet">${worker.is_preparing ? "An experiment is being checked." : "It has nothing in hand."}</p>`}
    ${worker.state === "moving" && html`<p>An axis is being moved by hand.</p>`}
    ${(hasRun || (worker.state === "moving" && !motion)) && html`<div class="row">
      ${hasRun && worker.state !== "paused" && html`<${Button} action=${pause} why=${steer || (worker.is_pausing ? "It pauses already." : null)}>❚❚ Pause the run<//>`}
      ${worker.state === "paused" && html`<${Button} kind="primary" action=${resume} why=${steer}>▶ Resume<//>`}
      <${Button} kind="danger" onPress=${() => open({ what: "abort" })} why=${steer}>✕ ${hasRun ? "Abort the run" : "Halt the axis"} …<//>${steer && html`<span class="quiet">${steer}</span>`}</div>`}
    ${worker.is_pausing && html`<p role="status">It pauses as soon as the reading in hand is finished.</p>`}
    <div class="told"><${Outcome} action=${pause} said=${(found) => ({ done: `${found.experiment} is paused. ${stands(found)}`, ended: `${found.experiment} ended before it could be paused.`, coming: "It pauses as soon as the reading in hand is finished." })[found.came]} />
    <${Outcome} action=${resume} said=${(found) => `${found.experiment || "It"} goes on.`} /></div>
  </section>`;
}

function stands(found) {
  const axes = Object.entries(found.positions).map(([name, value]) => `${name} ${number(value, 6)}`);
  if (!axes.length) return "Where the axes stand cannot be read now.";
  return `${found.moving ? "Still moving" : found.moving === null ? "Read back (whether it moves is unknown)" : "Read back"}: ${axes.join(", ")}.`;
}

function Run({ data }) {
  const run = data.run;
  if (!run) return html`<p><span class="mono">${data.worker.experiment}</span> is being run, for another ledger.</p>`;
  const one = run.experiment;
  return html`<p><${To} class="mono" to=${`/experiments/${encodeURIComponent(one.id)}`}>${one.id}<//> ${run.started_at ? html`<span class="quiet">began <${Ago} at=${run.started_at} /></span>` : html`<span class="quiet">no document of it has arrived yet</span>`}</p>
    <div class="row"><${Meter} used=${run.readings} of=${run.due} label=${`${run.readings} of ${run.due} readings`} /><span class="quiet">readings</span></div>
    <dl class="facts">${Object.entries(one.values).map(([name, value]) => html`<dt>${name}</dt><dd>${number(value, 6)}</dd>`)}</dl>`;
}

// -- by hand ----------------------------------------------------------------------------------------------------------

function Hands({ data, me, can, open }) {
  const hands = data.takeover, why = can("instrument.operate");
  const isMine = hands && hands.holder === me.person.login;
  return html`<section class="panel ${hands ? "ask" : ""}" aria-labelledby="hands"><h2 id="hands">By hand</h2>
    ${!hands && !data.takeover_trouble && html`<p>Nobody has it in hand: campaigns may run.</p>`}
    ${hands && html`<p><strong>☞ ${isMine ? "You have" : `${hands.holder} has`} it in hand</strong> until ${moment(hands.until)} (<${Ago} at=${hands.until} />): ${hands.reason}</p><p class="quiet">No campaign starts anything until then, or until it is handed back.</p>`}
    ${why && html`<p class="quiet">${why}</p>`}
    <div class="row">
      ${(!hands || isMine) && html`<${Button} kind=${hands ? "" : "primary"} onPress=${() => open({ what: "take" })} why=${why || (data.takeover_trouble ? "Nobody can tell who has it: release it first." : null)}>☞ ${isMine ? "Renew" : "Take over"} …<//>`}
      ${isMine && html`<${Button} onPress=${() => open({ what: "back" })} why=${why}>Hand back …<//>`}
      ${((hands && !isMine) || data.takeover_trouble) && html`<${Button} kind="danger" onPress=${() => open({ what: "release" })} why=${can("instrument.release")}>Emergency release …<//>`}
    </div>
    <h3>Writes</h3><p>${data.writes.on ? html`<${State} tone="good" sign="●">on<//> It may be set, within its limits.` : html`<${State} tone="bad" sign="✕">off<//> Nothing may be set.`}</p>
    <div class="row"><${Button} onPress=${() => open({ what: "writes" })} why=${why}>${data.writes.on ? "Turn writes off …" : "Turn writes on …"}<//></div>
  </section>`;
}

function Why({ value, onInput, hint, label = "Why" }) {
  return html`<${Field} label=${label} value=${value} onInput=${onInput} rows="2" hint=${hint} />`;
}

const heldNow = (data) => (data.takeover_trouble ? "nobody can tell who has it in hand now" : data.takeover ? `${data.takeover.holder} has it in hand now: ${data.takeover.reason}` : "nobody has it in hand now");
const tenure = { of: (data) => [data.takeover ? data.takeover.nonce : null, Boolean(data.takeover_trouble)], now: heldNow };
const runsNow = (data) => (data.worker.experiment ? `${data.worker.experiment} is being run now` : data.worker.state === "moving" ? "an axis is being moved by hand now" : "it has nothing in hand now");

/** What each dialog stands on, and how to say what there is instead. */
const STANDS_ON = {
  take: tenure, back: tenure, release: tenure,
  writes: { of: (data) => [data.writes.on, data.writes.at], now: ({ writes }) => (writes.on ? "writes are on now" : `${writes.by || "somebody"} has turned writes off: ${writes.reason || "no reason given"}`) },
  reset: { of: (data) => [data.latch.engaged, data.latch.count], now: ({ latch }) => (latch.engaged ? `${latch.by || "somebody"} has stopped it again: ${latch.reason || "no reason given"}` : "it is not latched any more") },
  abort: { of: (data) => [data.worker.experiment, !data.worker.experiment && data.worker.state === "moving"], now: runsNow },
};

/** What is otherwise than when the dialog was opened; null while nothing is that it stands on. */
function changeSince(dialog, data) {
  const it = STANDS_ON[dialog.what];
  return it && JSON.stringify(it.of(dialog.data)) !== JSON.stringify(it.of(data)) ? it.now(data) : null;
}

const Confirm = ({ isReady, changed, children, kind = "primary", action, onClose }) => html`${changed && !action.isBusy && html`<p class="trouble" role="alert"><strong>✕ This changed since you looked:</strong> ${changed}. Nothing was done: close this and look again.</p>`}
  <div class="row"><button type="submit" class=${kind} aria-disabled=${isReady && !changed ? undefined : "true"} aria-busy=${action.isBusy ? "true" : undefined}>${children}</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${action} />`;

const TIMES = [["1800", "30 minutes"], ["3600", "1 hour"], ["7200", "2 hours"], ["28800", "8 hours"], ["86400", "1 day"]];

function Take({ data, now, changed: isOther, me, where, onClose }) {
  const isMine = data.takeover && data.takeover.holder === me.person.login;
  const [reason, setReason] = useState(isMine ? data.takeover.reason : ""), [seconds, setSeconds] = useState("3600"), [abort, setAbort] = useState(false);
  const take = useAction(async () => { const made = await post(`${where}/take-over`, { reason, for_s: Number(seconds), abort }); if (!made.running) onClose(); return made; });
  const run = data.worker.experiment;
  const changed = isOther || (abort && now.worker.experiment !== run ? runsNow(now) : null);
  const isReady = reason.trim() && !take.done && !changed;
  return html`<${Dialog} title=${`${isMine ? "Renew your hold on" : "Take over"} ${data.name}`} onClose=${onClose} onSubmit=${() => isReady && take.run()}>
    <p>From now on nothing is started on it for any campaign, until you hand it back or the time is over. Campaigns that want to, pause.</p>
    <${Why} value=${reason} onInput=${setReason} hint="Campaigns that wait, and colleagues, read it." />
    <${Field} label="For how long" value=${seconds} onInput=${setSeconds} options=${TIMES} />
    ${run && html`<p><strong>${run} is being run.</strong> It goes on to its end, unless you abort it; wait for that before you touch anything.</p>
      <${Field} label=${`Abort ${run} now`} type="checkbox" value=${abort} onInput=${setAbort} />`}
    ${take.done ? html`<p role="status"><strong>It is yours, but ${take.done.running} is still being run.</strong> Wait until it has ended.</p><div class="row"><button type="button" class="primary" onClick=${onClose}>I wait</button></div>`
      : html`<${Confirm} isReady=${isReady} changed=${changed} action=${take} onClose=${onClose}>☞ ${isMine ? "Renew" : "Take over"}<//>`}<//>`;
}

function Back({ data, changed, where, onClose }) {
  const back = useAction(async () => { const found = await post(`${where}/hand-back`); if (!found.waiting.length) onClose(); return found; });
  return html`<${Dialog} title=${`Hand ${data.name} back`} onClose=${onClose} onSubmit=${() => !back.done && !changed && back.run()}>
    ${back.done ? html`<p role="status">✓ It is handed back. These campaigns paused meanwhile, and go on when somebody resumes them:</p><ul>${back.done.waiting.map((id) => html`<li><${To} to=${`/campaigns/${encodeURIComponent(id)}`}>${id}<//></li>`)}</ul><div class="row"><button type="button" class="primary" onClick=${onClose}>Close</button></div>`
      : html`<p>Campaigns may run on it again. Those that paused meanwhile do not go on by themselves: you know whether everything is as it was.</p><${Confirm} isReady=${true} changed=${changed} action=${back} onClose=${onClose}>Hand back<//>`}<//>`;
}

function Because({ title, text, button, path, kind = "danger", body = {}, hint, changed, onClose, where }) {
  const [reason, setReason] = useState("");
  const act = useAction(async () => { const found = await post(`${where}${path}`, { reason, ...body }); onClose(); return found; });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${() => reason.trim() && !changed && act.run()}>
    ${text}<${Why} value=${reason} onInput=${setReason} hint=${hint} /><${Confirm} isReady=${reason.trim()} changed=${changed} kind=${kind} action=${act} onClose=${onClose}>${button}<//><//>`;
}

const Release = ({ data, ...rest }) => html`<${Because} ...${rest} title=${`Release ${data.name}`} path="/release" body=${{ seen: data.takeover ? data.takeover.nonce : null }} button="Release it" hint="It is kept in the record, with your name."
  text=${html`<p>${data.takeover ? html`<strong>${data.takeover.holder}</strong> has it in hand: ${data.takeover.reason}. Ask them first.` : "Nobody can tell who has it in hand. Look at the instrument first."} An axis that is being moved by hand is halted.</p>`} />`;

function Writes({ data, ...rest }) {
  const on = !data.writes.on;
  return html`<${Because} ...${rest} title=${`Turn the writes of ${data.name} ${on ? "on" : "off"}`} path="/writes" body=${on ? { on, seen: data.writes.at } : { on }} kind=${on ? "primary" : "danger"} button=${`Turn writes ${on ? "on" : "off"}`}
    text=${html`<p>${on ? "It may be set again, within its limits. Campaigns do not go on by themselves." : "Nothing is set any more, and no experiment starts. What moves goes on to where it was sent: to halt it, use Stop All. This is not a safety system."}</p>`} />`;
}

const Reset = ({ data, ...rest }) => html`<${Because} ...${rest} title=${`Reset Stop All on ${data.name}`} path="/reset-stop" body=${{ count: data.latch.count }} kind="primary" button="Reset" hint="Why it is safe to go on; it is kept in the record."
  text=${html`<p>It was stopped by ${data.latch.by || "somebody"}: ${data.latch.reason || "no reason given"}. After this it may move again. Approvals from before the stop stay void.</p>`} />`;

const Abort = ({ data, ...rest }) => html`<${Because} ...${rest} title=${data.worker.experiment ? `Abort ${data.worker.experiment}` : `Halt ${data.name}`} path="/run/abort" body=${{ experiment: data.worker.experiment }} button=${data.worker.experiment ? "Abort the run" : "Halt the axis"}
  text=${html`<p>${data.worker.experiment ? "The run ends as aborted and its axes are stopped. Nothing latches: its campaign goes on with the next experiment. Pause the campaign first if it is not to." : "The axis that is moved by hand is stopped where it is."}</p>`} />`;

/** First what is to be, then exactly what will happen, then the order. */
function Move({ data, where, card, axis, onClose, onMotion }) {
  const spec = card.axes.find((one) => one.name === axis);
  const levels = spec.allowed;
  const [text, setText] = useState(""), [reason, setReason] = useState(""), [seen, setSeen] = useState(null);
  const value = levels ? levels.find((one) => String(one) === text) : Number(text.replace("−", "-"));
  const wrong = text === "" || levels ? null : !Number.isFinite(value) ? "This is not a number." : spec.minimum !== null && value < spec.minimum ? `Not below ${withUnit(spec.minimum, spec.unit)}.` : spec.maximum !== null && value > spec.maximum ? `Not above ${withUnit(spec.maximum, spec.unit)}.` : spec.integer && !Number.isInteger(value) ? "This must be a whole number." : null;
  const asked = { axis, value, unit: spec.unit };
  const preview = useAction(async () => { const found = await post(`${where}/moves/preview`, asked); setSeen(found); return found; });
  const move = useAction(async () => onMotion(await post(`${where}/moves`, { ...asked, reason })));
  const isReady = text !== "" && !wrong;
  const told = useRef(null);
  // Not onto the button: a second press of Enter is not an order.
  useEffect(() => { if (seen && told.current) told.current.focus(); }, [seen]);
  return html`<${Dialog} title=${`Move ${axis} of ${data.name}`} onClose=${onClose} onSubmit=${() => (seen ? !seen.refusal && move.run() : isReady && preview.run())}>
    ${!seen && html`<${Field} label="Where to" unit=${spec.unit} value=${text} onInput=${setText} wrong=${wrong} ...${levels ? { options: [["", "choose"], ...levels.map((one) => [String(one), String(one)])] } : { inputmode: "decimal", autocomplete: "off" }} hint=${limitsOf(spec)} />
      <${Field} label="Why" optional value=${reason} onInput=${setReason} />
      <div class="row"><button type="submit" class="primary" aria-disabled=${isReady ? undefined : "true"} aria-busy=${preview.isBusy ? "true" : undefined}>Look what will happen</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${preview} />`}
    ${seen && html`<div role="status" tabindex="-1" ref=${told}><p class="big">${data.name} <${Kind} simulated=${seen.simulated} /></p>
      <p class="big"><strong>${axis}: ${seen.here === null ? "unknown" : withUnit(seen.here, seen.unit)} → ${withUnit(seen.target, seen.unit)}</strong></p>
      ${seen.here === null && html`<p class="bad">✕ Where it stands now cannot be read.</p>`}
      <p class="quiet">${seen.walks ? "It goes there in steps. " : ""}It may take up to ${duration(seen.longest_s)}. Limits, interlocks and Stop All hold as ever. It is halted when nobody watches it on this page for a quarter of a minute.</p></div>
      ${seen.refusal && html`<p class="trouble" role="alert"><strong>✕ It may not go there:</strong> ${seen.refusal}</p>`}
      <div class="row"><button type="submit" class=${seen.simulated ? "primary" : "danger"} aria-disabled=${seen.refusal ? "true" : undefined} aria-busy=${move.isBusy ? "true" : undefined}>${seen.simulated ? "Move it" : "Move the real instrument"}</button><button type="button" onClick=${() => { setSeen(null); move.clear(); }}>Back</button></div><${Outcome} action=${move} busy="Ordering …" />`}<//>`;
}

/** A motion by hand: this page asks how far it is, and that keeps it going. */
function MotionPanel({ first, where, can, live, onClose }) {
  const [motion, setMotion] = useState(first), [problem, setProblem] = useState(null);
  const box = useRef(null);
  const isOver = motion.state !== "moving";
  useEffect(() => { if (box.current) box.current.focus(); }, []);
  useEffect(() => {
    if (isOver) return undefined;
    let isGone = false;
    const look = async () => {
      try { const found = await get(`${where}/moves/${motion.id}`); if (!isGone) { setMotion(found); setProblem(null); } } catch (seen) { if (!isGone) setProblem(seen); }
    };
    const clock = setInterval(look, LOOK_MS);
    return () => { isGone = true; clearInterval(clock); };
  }, [motion.id, isOver]);
  const halt = useAction(() => post(`${where}/run/abort`, { reason: "halted from the page", experiment: null }));
  const here = live.data && live.data.axes.find((one) => one.name === motion.axis);
  const tone = motion.state === "arrived" ? "good" : isOver ? "bad" : "live";
  return html`<section class="panel ${isOver ? (tone === "bad" ? "bad" : "") : "ask"}" aria-labelledby="motion" tabindex="-1" ref=${box}><div class="head"><h2 id="motion">Moving ${motion.axis} by hand</h2><${State} tone=${tone} sign=${tone === "good" ? "✓" : isOver ? "✕" : "↔"}>${motion.state}<//></div>
    <div aria-live="polite"><p class="big">${motion.state === "moving" ? html`On its way to <strong>${withUnit(motion.target, motion.unit)}</strong>.` : html`<strong>${motion.axis}: ${motion.before === null ? "unknown" : withUnit(motion.before, motion.unit)} → ${motion.after === null ? "cannot be read" : withUnit(motion.after, motion.unit)}</strong> <span class="quiet">read back; it was sent to ${withUnit(motion.target, motion.unit)}</span>`}</p>
    ${motion.problem && html`<${Trouble} problem=${motion.problem} />`}</div>
    <${Trouble} problem=${problem} />
    ${!isOver && html`<p>It reads <${Reads} one=${here || { value: null, trouble: "nothing is read yet", known_at: null }} /> now.</p><p class="quiet">Keep this page open and in sight: the axis is halted when nobody asks about it for ${duration(motion.attend_s)}.</p><div class="row"><${Button} kind="danger" action=${halt} why=${can("run.steer")}>■ Halt it<//></div><div class="told"><${Outcome} action=${halt} /></div>`}
    ${isOver && html`<div class="row"><${Button} onPress=${onClose}>Close<//></div>`}</section>`;
}

const DIALOGS = { take: Take, back: Back, release: Release, writes: Writes, reset: Reset, abort: Abort, move: Move };

// -- what it reads ----------------------------------------------------------------------------------------------------

function limitsOf(axis) {
  if (axis.allowed) return `One of ${axis.allowed.join(", ")}`;
  if (axis.minimum === null) return "No limit is known: it is never moved";
  const parts = [`${number(axis.minimum)} to ${number(axis.maximum)}${axis.integer ? ", whole" : ""}`];
  if (axis.largest_step !== null) parts.push(`steps of ${number(axis.largest_step)} at most`);
  if (axis.largest_rate !== null) parts.push(`${number(axis.largest_rate)} per s at most`);
  if (axis.walk) parts.push("walks there");
  return parts.join("; ");
}

const VERIFIED = { readback: "by its read-back", setpoint: "by its set point alone", person: "by a person", device: "by the device itself", none: "not verified" };

function Reads({ one }) {
  if (one.value !== null) return html`<strong>${withUnit(one.value, one.unit)}</strong>`;
  return html`<span class="bad">✕ unknown</span> <span class="quiet">${one.trouble}${one.known_at ? html`; last known <${Ago} at=${one.known_at * 1000} />` : "; never known while somebody looked"}</span>`;
}

function Signals({ live, card, data, me, can, open, motion }) {
  const specs = Object.fromEntries(card.data ? card.data.axes.map((one) => [one.name, one]) : []);
  const isMine = data.takeover && data.takeover.holder === me.person.login;
  const why = can("instrument.operate") || (!isMine ? "Take it over first." : !data.worker.is_running ? "Connect it first." : data.worker.experiment ? "A run is in hand: wait for its end." : motion && motion.state === "moving" ? "An axis is on its way." : null);
  const found = live.data;
  return html`<section class="panel" aria-labelledby="signals"><div class="head"><h2 id="signals">Live signals</h2>
      ${found && (found.moving === null ? html`<${State} tone="quiet" sign="?">whether it moves is unknown<//>` : found.moving ? html`<${State} tone="live" sign="↔">moving<//>` : html`<${State} tone="good" sign="●">stands still<//>`)}</div>
    ${!found && html`<p class="quiet" role="status">${live.problem ? `Nothing can be read: ${live.problem.detail}` : "Reading …"}</p>`}
    ${found && html`<${Table} caption="Axes" empty="It has no axis, or its configuration cannot be read." keys=${found.axes.map((one) => one.name)}
      heads=${["axis", "read back", "trend", "limits", "verified", ""]}
      rows=${found.axes.map((one) => { const spec = specs[one.name]; return [html`<strong>${one.name}</strong>`, html`<${Reads} one=${one} />`, html`<${Trend} points=${one.points} unit=${one.unit} name=${one.name} />`, spec ? limitsOf(spec) : "—", spec ? VERIFIED[spec.verify] || words(spec.verify) : "—",
        html`<${Button} onPress=${() => open({ what: "move", axis: one.name })} why=${why || (spec ? null : "Its limits are not known here.")} aria-label=${`Move ${one.name} by hand`}>Move …<//>`]; })} />
      ${why && html`<p class="quiet">To move an axis: ${why.charAt(0).toLowerCase()}${why.slice(1)}</p>`}
      ${found.signals.length > 0 && html`<h3>Other signals</h3><${Table} caption="Other signals" keys=${found.signals.map((one) => one.name)} heads=${["signal", "reads", "trend"]} rows=${found.signals.map((one) => [html`<strong>${one.name}</strong>`, html`<${Reads} one=${one} />`, html`<${Trend} points=${one.points} unit=${one.unit} name=${one.name} />`])} />`}
      <p class="hint">${found.since ? html`Trends begin <${Ago} at=${found.since * 1000} />, when somebody began to look, and go back ten minutes at most. A gap is a time at which it could not be read.` : "It has not been read yet."}</p>`}
  </section>`;
}

const FOLLOWS = { stop: "the run ends and the axes stop", refuse: "nothing more is set" };

function Interlocks({ live, card }) {
  const specs = card.data ? card.data.interlocks : [];
  if (!specs.length && !(live.data && live.data.interlocks.length)) return null;
  const now = Object.fromEntries(live.data ? live.data.interlocks.map((one) => [one.name, one]) : []);
  const stateOf = (one) => (!one || one.holds === null ? html`<${State} tone="ask" sign="?">unknown<//>` : one.holds ? html`<${State} tone="good" sign="✓">holds<//>` : html`<${State} tone="bad" sign="✕">tripped<//>`);
  return html`<section class="panel" aria-labelledby="interlocks"><h2 id="interlocks">Interlocks</h2>
    <${Table} caption="Interlocks" keys=${specs.map((one) => one.name)} heads=${["interlock", "now", "must hold", "watched", "when it trips"]}
      rows=${specs.map((one) => [html`<strong>${one.name}</strong>${one.message && html`<br /><span class="quiet">${one.message}</span>`}`, html`${stateOf(now[one.name])}${now[one.name] && now[one.name].detail ? html`<br /><span class="quiet">${now[one.name].detail}</span>` : ""}`, html`<code>${one.require}</code>`, one.when === "always" ? "before every set, and in a run" : "before every set, and while an axis moves", FOLLOWS[one.on_trip] || words(one.on_trip)])} />
    <p class="hint">Unknown counts as not held: nothing is set then. These are software interlocks, not a safety system.</p></section>`;
}

// -- what is booked, and what it can do -------------------------------------------------------------------------------

function Booked({ data }) {
  const queue = data.queue;
  return html`<section class="panel" aria-labelledby="booked"><h2 id="booked">Reservations</h2>
    <dl class="facts"><dt>Campaigns</dt><dd>${data.campaigns.length ? data.campaigns.map((one) => html`<div><${To} to=${`/campaigns/${encodeURIComponent(one.id)}`}>${one.name}<//> <${State} of=${one.state} />${one.state === "running" && !one.is_driven ? html` <span class="bad">✕ no process drives it</span>` : ""}${one.reason ? html` <span class="quiet">${one.reason}</span>` : ""}</div>`) : "none that is not over"}</dd>
      <dt>Held for</dt><dd>${data.worker.held_by.length ? data.worker.held_by.join(", ") : "no campaign now"}</dd>
      <dt>Lease</dt><dd>${data.lease ? html`<span class="mono">${data.lease.holder}</span> <span class="quiet">until ${moment(data.lease.until)}, number ${data.lease.epoch}</span>` : "nobody has it"}</dd>
      ${queue && html`<dt>Queue</dt><dd>${queue.trouble ? html`<span class="bad">✕ ${queue.trouble}</span>` : `${words(queue.state)}, ${count(queue.items, "item")}, ${queue.is_locked ? "locked with our key" : "NOT locked: others may put things into it"}, ${queue.has_environment ? "environment open" : "no environment"}`}</dd>`}
      <dt>Refused</dt><dd>${Object.keys(data.worker.refusals).length ? Object.entries(data.worker.refusals).map(([code, times]) => `${code}: ${times}`).join(", ") : "nothing since its worker started"}</dd></dl>
    <${Table} caption="What experiments under way have to themselves" empty="No experiment has anything to itself now." heads=${["experiment", "samples", "consumables", "other instruments"]}
      rows=${data.reservations.map((one) => [html`<${To} class="mono" to=${`/experiments/${encodeURIComponent(one.experiment_id)}`}>${one.experiment_id}<//>`, one.samples.join(", ") || "—", Object.entries(one.amounts).map(([name, amount]) => `${name} ${number(amount)}`).join(", ") || "—", one.devices.join(", ") || "—"])} /></section>`;
}

function Card({ card }) {
  return html`<section class="panel" aria-labelledby="card"><h2 id="card">What it can do</h2><${Loaded} from=${card} what="its card">${(data) => html`
    <div class="grid2"><div><h3>Measures</h3><${Table} caption="Detectors" heads=${["detector", "signals", ["at most", true]]} rows=${data.detectors.map((one) => [one.name, Object.entries(one.signals).map(([name, unit]) => `${name}${unit ? ` [${pretty(unit)}]` : ""}`).join(", "), duration(one.timeout_s)])} />
      <h3>Outcomes</h3><p>${Object.entries(data.outcomes).map(([name, one]) => `${name}${one.unit ? ` [${pretty(one.unit)}]` : ""} from ${one.signal}`).join("; ")} <span class="quiet">(reduced by ${data.reduction})</span></p></div>
    <div><h3>Can</h3><ul>${data.actions.map((one) => html`<li>${one}</li>`)}</ul></div></div>
    <p class="quiet">Laboratory ${data.laboratory}${Object.keys(data.controllers).length ? `; reached over ${Object.entries(data.controllers).map(([name, one]) => `${one.protocol} (${name})`).join(", ")}` : ""}. A campaign may be given: ${data.autonomy.map(words).join(", ") || "nothing"}.</p>`}<//></section>`;
}
