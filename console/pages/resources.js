// Samples and consumables: what there is, where it is, what became of it.
import { html, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, count, Dialog, Field, Loaded, may, moment, number, Outcome, pretty, State, Table, useTitle, words } from "./parts.js";

const SAMPLE_STATES = { free: ["good", "●"], reserved: ["live", "▶"], retired: ["quiet", "✕"] };
const aboutThings = (change) => change.campaign_id === null || change.kind.startsWith("experiment");
const amount = (value, unit) => `${number(value, 6)}${unit ? ` ${pretty(unit)}` : ""}`;

export function Resources({ me }) {
  useTitle("Samples and stock");
  const why = may(me, "sample.keep") ? null : "Your role may not write samples and consumables.";
  return html`<h1>Samples and stock</h1>${why && html`<p class="quiet">${why}</p>`}<${Samples} why=${why} /><${Stock} why=${why} />`;
}

// One page after the other is shown: a site may have many.
function usePages(path, about) {
  const [limit, setLimit] = useState(100);
  const data = useData(`${path}${path.includes("?") ? "&" : "?"}limit=${limit}`, { about, every: 15000 });
  return [data, () => setLimit((now) => Math.min(now + 200, 500)), limit];
}

function More({ page, more, limit }) {
  if (!page.next) return null;
  return limit >= 500 ? html`<p class="quiet">There are more than ${limit}; the command line lists all.</p>` : html`<div class="row"><${Button} onPress=${more}>Show more<//></div>`;
}

function Samples({ why }) {
  const [isAll, setAll] = useState(false), [dialog, setDialog] = useState(null);
  const [found, more, limit] = usePages(`/samples?retired=${isAll}`, aboutThings);
  const close = () => { setDialog(null); found.reload(); };
  return html`<section class="panel" aria-labelledby="samples"><div class="head"><h2 id="samples">Samples</h2><${Button} onPress=${() => setDialog({ what: "add" })} why=${why}>Add a sample …<//></div>
    <div class="filters"><${Field} label="Also those that are no longer used" type="checkbox" value=${isAll} onInput=${setAll} /></div>
    <${Loaded} from=${found} what="the samples">${(page) => { const labels = Object.fromEntries(page.items.map((one) => [one.id, one.label])); return html`<${Table} caption="Samples" keys=${page.items.map((one) => one.id)} empty="No samples yet. Add one, and say where it lies." heads=${["sample", "state", "where", "made from", "description", "added", ""]}
      rows=${page.items.map((one) => { const [tone, sign] = SAMPLE_STATES[one.state] || ["quiet", "·"]; const idle = one.state === "free" ? null : one.state === "reserved" ? `${one.experiment_id} has it.` : "It is retired."; return [html`<button type="button" class="plain" onClick=${() => setDialog({ what: "history", sample: one })}>${one.label}</button>`, html`<${State} tone=${tone} sign=${sign}>${one.state === "reserved" ? `in ${one.experiment_id}` : words(one.state)}<//>`, one.location || "—", one.parent_id ? labels[one.parent_id] || one.parent_id : "—", one.description || "—", html`<${Ago} at=${one.created_at} />`,
        html`<div class="row tight"><${Button} onPress=${() => setDialog({ what: "move", sample: one })} why=${why || idle} aria-label=${`Move ${one.label}`}>Move …<//><${Button} onPress=${() => setDialog({ what: "split", sample: one })} why=${why || idle} aria-label=${`Split ${one.label}`}>Split …<//><${Button} kind="danger" onPress=${() => setDialog({ what: "retire", sample: one })} why=${why || idle} aria-label=${`Retire ${one.label}`}>Retire …<//></div>`]; })} />
      <${More} page=${page} more=${more} limit=${limit} />`; }}<//>
    ${dialog && html`<${SAMPLE_DIALOGS[dialog.what]} sample=${dialog.sample} onClose=${close} />`}</section>`;
}

function Form({ title, path, fields, body, button, text, kind = "primary", isReady, onClose }) {
  const act = useAction(async () => { const made = await post(path, body()); onClose(); return made; });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${() => isReady && act.run()}>${text && html`<p class="quiet">${text}</p>`}${fields}
    <div class="row"><button type="submit" class=${kind} aria-disabled=${isReady ? undefined : "true"} aria-busy=${act.isBusy ? "true" : undefined}>${button}</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${act} /><//>`;
}

const of = (sample) => `/samples/${encodeURIComponent(sample.id)}`;

function AddSample({ onClose }) {
  const [label, setLabel] = useState(""), [location, setLocation] = useState(""), [parent, setParent] = useState(""), [description, setDescription] = useState("");
  return html`<${Form} title="Add a sample" path="/samples" onClose=${onClose} button="Add" isReady=${label.trim()} body=${() => ({ label: label.trim(), location: location.trim() || null, parent: parent.trim() || null, description })}
    fields=${html`<${Field} label="Label" value=${label} onInput=${setLabel} hint="What is written on it; no two that are in use have the same." /><${Field} label="Where it lies" optional value=${location} onInput=${setLocation} /><${Field} label="Made from" optional value=${parent} onInput=${setParent} hint="The label of another sample." /><${Field} label="Description" optional value=${description} onInput=${setDescription} />`} />`;
}

function MoveSample({ sample, onClose }) {
  const [location, setLocation] = useState(""), [reason, setReason] = useState("");
  return html`<${Form} title=${`Where ${sample.label} is now`} path=${`${of(sample)}/move`} onClose=${onClose} button="Note it" isReady=${location.trim()} body=${() => ({ location: location.trim(), reason })} text=${`So far: ${sample.location || "nowhere noted"}.`}
    fields=${html`<${Field} label="Where" value=${location} onInput=${setLocation} /><${Field} label="Why" optional value=${reason} onInput=${setReason} />`} />`;
}

function SplitSample({ sample, onClose }) {
  const [text, setText] = useState(""), [reason, setReason] = useState("");
  const labels = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return html`<${Form} title=${`Split ${sample.label}`} path=${`${of(sample)}/split`} onClose=${onClose} button=${labels.length ? `Make ${count(labels.length, "part")}` : "Make parts"} isReady=${labels.length > 0} body=${() => ({ labels, reason })} text=${`All parts are made, or none. They lie where it lies, and ${sample.label} stays.`}
    fields=${html`<${Field} label="Labels of its parts" rows="4" value=${text} onInput=${setText} hint="One on each line." /><${Field} label="Why" optional value=${reason} onInput=${setReason} />`} />`;
}

function RetireSample({ sample, onClose }) {
  const [reason, setReason] = useState("");
  return html`<${Form} title=${`Retire ${sample.label}`} path=${`${of(sample)}/retire`} kind="danger" onClose=${onClose} button="Retire it" isReady=${reason.trim()} body=${() => ({ reason })} text="It is out of use for good. Its history stays." fields=${html`<${Field} label="Why" value=${reason} onInput=${setReason} rows="2" />`} />`;
}

function told(change, sample) {
  const body = change.body, by = body.by ? ` by ${body.by}` : "", why = body.reason ? `: ${body.reason}` : "";
  if (change.kind === "sample") return body.id === sample.id ? `added${body.location ? ` at ${body.location}` : ""}` : `${body.label} was made of it`;
  if (change.kind === "sample_move") return `moved to ${body.location}${by}${why}`;
  if (body.used_by) return `${body.used_by} is done with it${why}`;
  return body.experiment ? `${words(body.to)} for ${body.experiment}` : `${words(body.to)}${by}${why}`;
}

function History({ title, path, line, onClose }) {
  const history = useData(path, { about: aboutThings });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${onClose}><${Loaded} from=${history} what="its history">${(page) => html`<ul class="plainlist log" tabindex="0" aria-label="History, the oldest first">${page.items.map((one) => html`<li key=${one.position}><span class="quiet">${moment(one.at)}</span> ${line(one)}</li>`)}</ul>${page.next && html`<p class="quiet">Only the first ${page.items.length} are shown.</p>`}`}<//><div class="row"><button type="submit" class="primary">Close</button></div><//>`;
}

const SampleHistory = ({ sample, onClose }) => html`<${History} title=${`What happened to ${sample.label}`} path=${`${of(sample)}/history?limit=500`} line=${(one) => told(one, sample)} onClose=${onClose} />`;

const SAMPLE_DIALOGS = { add: AddSample, move: MoveSample, split: SplitSample, retire: RetireSample, history: SampleHistory };

// -- stock ------------------------------------------------------------------------------------------------------------

function Stock({ why }) {
  const [dialog, setDialog] = useState(null);
  const [found, more, limit] = usePages("/stock", aboutThings);
  const close = () => { setDialog(null); found.reload(); };
  return html`<section class="panel" aria-labelledby="stock"><div class="head"><h2 id="stock">Consumables</h2><${Button} onPress=${() => setDialog({ what: "add" })} why=${why}>Begin a stock …<//></div>
    <${Loaded} from=${found} what="the stock">${(page) => html`<${Table} caption="Consumables" keys=${page.items.map((one) => one.id)} empty="No consumables yet. Begin a stock with what is there, and the level at which people are told." heads=${["consumable", ["there", true], ["promised", true], ["left", true], ["told at", true], "", "description", ""]}
      rows=${page.items.map((one) => [html`<button type="button" class="plain" onClick=${() => setDialog({ what: "history", stock: one })}>${one.id}</button>`, amount(one.amount, one.unit), amount(one.reserved, one.unit), html`<strong>${amount(one.available, one.unit)}</strong>`, one.low === null ? "—" : amount(one.low, one.unit), one.is_low ? html`<${State} tone="bad" sign="▾">low<//>` : html`<${State} tone="good" sign="●">enough<//>`, one.description || "—",
        html`<div class="row tight"><${Button} onPress=${() => setDialog({ what: "add", stock: one })} why=${why} aria-label=${`Add to ${one.id}`}>Add …<//><${Button} onPress=${() => setDialog({ what: "set", stock: one })} why=${why} aria-label=${`Correct ${one.id}`}>Correct …<//></div>`])} />
      <${More} page=${page} more=${more} limit=${limit} />`}<//>
    ${dialog && html`<${STOCK_DIALOGS[dialog.what]} stock=${dialog.stock} onClose=${close} />`}</section>`;
}

const numeric = (text) => (text.trim() === "" ? null : Number(text.replace("−", "-")));
const wrongWith = (text) => { const value = numeric(text); return value === null || (Number.isFinite(value) && value >= 0) ? null : "This is no amount."; };

function AddStock({ stock, onClose }) {
  const [name, setName] = useState(stock ? stock.id : ""), [text, setText] = useState(""), [unit, setUnit] = useState(""), [low, setLow] = useState(""), [description, setDescription] = useState(""), [reason, setReason] = useState("");
  const isReady = name.trim() && numeric(text) !== null && !wrongWith(text) && !wrongWith(low);
  return html`<${Form} title=${stock ? `Add to ${stock.id}` : "Begin a stock"} path="/stock" onClose=${onClose} button=${stock ? "Add" : "Begin it"} isReady=${isReady} body=${() => ({ name: name.trim(), amount: numeric(text), unit: stock ? stock.unit : unit.trim() || null, low: numeric(low), description, reason })}
    fields=${html`${!stock && html`<${Field} label="Name" value=${name} onInput=${setName} />`}<${Field} label=${stock ? "How much is added" : "How much is there"} unit=${stock ? stock.unit : null} inputmode="decimal" autocomplete="off" value=${text} onInput=${setText} wrong=${wrongWith(text)} />
      ${!stock && html`<${Field} label="Unit" optional value=${unit} onInput=${setUnit} hint="Such as mL or g; everything about it is in this unit." /><${Field} label="People are told at" optional inputmode="decimal" autocomplete="off" value=${low} onInput=${setLow} wrong=${wrongWith(low)} /><${Field} label="Description" optional value=${description} onInput=${setDescription} />`}
      ${stock && html`<${Field} label="Why" optional value=${reason} onInput=${setReason} />`}`} />`;
}

function SetStock({ stock, onClose }) {
  const [text, setText] = useState(""), [low, setLow] = useState(""), [reason, setReason] = useState("");
  const value = numeric(text), isReady = !wrongWith(text) && !wrongWith(low) && (value !== null || numeric(low) !== null) && (value === null || reason.trim());
  return html`<${Form} title=${`Correct ${stock.id}`} path="/stock/set" onClose=${onClose} button="Correct it" isReady=${isReady} body=${() => ({ name: stock.id, amount: value, low: numeric(low), reason })} text=${`The ledger has ${amount(stock.amount, stock.unit)}.`}
    fields=${html`<${Field} label="What is really there" unit=${stock.unit} optional inputmode="decimal" autocomplete="off" value=${text} onInput=${setText} wrong=${wrongWith(text)} /><${Field} label="People are told at" unit=${stock.unit} optional inputmode="decimal" autocomplete="off" value=${low} onInput=${setLow} wrong=${wrongWith(low)} /><${Field} label="Why" value=${reason} onInput=${setReason} hint="Needed where the amount was wrong." />`} />`;
}

function stockLine(change, stock) {
  const body = change.body;
  if (change.kind === "consumable") return `begun with ${amount(body.amount, stock.unit)}`;
  const size = body.change ? `${body.change > 0 ? "+" : ""}${amount(body.change, stock.unit)} ` : "level ";
  return `${size}${words(body.how)}${body.by ? ` by ${body.by}` : ""}${body.experiment ? ` for ${body.experiment}` : ""}${body.reason ? `: ${body.reason}` : ""}; then ${amount(body.amount, stock.unit)}`;
}

const StockHistory = ({ stock, onClose }) => html`<${History} title=${`What ${stock.id} was used for`} path=${`/stock/history?name=${encodeURIComponent(stock.id)}&limit=500`} line=${(one) => stockLine(one, stock)} onClose=${onClose} />`;

const STOCK_DIALOGS = { add: AddStock, set: SetStock, history: StockHistory };
