// Memory: what was asked, claimed, decided and measured before; and campaigns side by side.
import { html, useState } from "./preact.js";
import { useData, usePages } from "./api.js";
import { Ago, Button, count, duration, Field, Loaded, measured, number, Picture, pretty, State, Table, To, Trouble, useTitle, words } from "./parts.js";

const NONE = { text: "", kind: "", verdict: "", state: "", laboratory: "", who: "", since: "", until: "", parameter: "", outcome: "" };
const KINDS = [["", "everything"], ["campaign", "campaigns"], ["hypothesis", "hypotheses"], ["experiment", "experiments"]];
const VERDICTS = [["", "any"], "supported", "refuted", "inconclusive", "void"];
const STATES = [["", "any"], "queued", "running", "paused", "succeeded", "failed", "cancelled", "proposed", "approved", "rejected", "completed", "aborted", "stopped_early", "in_doubt", "expired", "withdrawn", "refused"];
const MOST = 6;

function asked() {
  const given = new URLSearchParams(location.search);
  return { sought: { ...NONE, ...Object.fromEntries(Object.keys(NONE).filter((name) => given.has(name)).map((name) => [name, given.get(name)])) }, chosen: given.getAll("compare").slice(0, MOST), isAsked: [...given.keys()].some((name) => name in NONE) };
}

/** What is looked for, as the API takes it. */
function query(sought) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(sought)) {
    if (!value.trim()) continue;
    if (name === "since" || name === "until") { const at = new Date(value); if (!Number.isNaN(at.getTime())) said.set(name, at.toISOString()); }
    else if (name === "parameter" || name === "outcome") value.split(";").map((one) => one.trim()).filter(Boolean).forEach((one) => said.append(name, one));
    else said.set(name, value);
  }
  return said.toString();
}

export function MemoryPage() {
  useTitle("Memory");
  const first = asked();
  const [typed, setTyped] = useState(first.sought), [sought, setSought] = useState(first.isAsked ? first.sought : null), [chosen, setChosen] = useState(first.chosen);
  const keep = (wanted, compared) => {
    const said = new URLSearchParams(Object.entries(wanted || {}).filter(([, value]) => value));
    compared.forEach((one) => said.append("compare", one));
    history.replaceState(null, "", `/memory${String(said) ? `?${said}` : ""}`);
  };
  const show = (wanted) => { setTyped(wanted || NONE); setSought(wanted); keep(wanted, chosen); };
  const choose = (id) => { const next = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(0, MOST); setChosen(next); keep(sought, next); };
  const field = (name, label, rest = {}) => html`<${Field} label=${label} value=${typed[name]} onInput=${(value) => setTyped({ ...typed, [name]: value })} autocapitalize="none" ...${rest} />`;
  const hasMore = Object.entries(typed).some(([name, value]) => value && name !== "text" && name !== "kind");
  return html`<h1>Memory</h1>
    <p class="quiet">What was asked, claimed and measured before, in this and every other campaign of this ledger.</p>
    <section class="panel" aria-labelledby="search"><h2 id="search">Search</h2>
      <form role="search" onSubmit=${(event) => { event.preventDefault(); show(typed); }}>
        <div class="filters even">${field("text", "Words", { type: "search", hint: "Every word must occur, as a beginning." })}${field("kind", "Among", { options: KINDS })}</div>
        <details open=${hasMore}><summary>More filters</summary><div class="filters even">
          ${field("verdict", "Verdict", { options: VERDICTS })}${field("state", "State", { options: STATES })}${field("laboratory", "Laboratory")}${field("who", "Who", { hint: "Who decided, or proposed." })}
          ${field("since", "From", { type: "datetime-local" })}${field("until", "To", { type: "datetime-local" })}
          ${field("parameter", "Parameter ranges", { hint: "temperature:60..80 degC; solvent:water" })}${field("outcome", "Outcome ranges", { hint: "yield:0.8.." })}</div></details>
        <div class="row"><button type="submit" class="primary">Search</button>${sought && html`<${Button} onPress=${() => show(null)}>Clear<//>`}</div>
      </form>
      ${sought ? html`<${Results} sought=${sought} chosen=${chosen} choose=${choose} />` : html`<p class="empty">Search for a word, such as the name of a parameter, or choose a filter; an empty search shows the newest of everything.</p>`}
    </section>
    <${Compare} chosen=${chosen} choose=${choose} />`;
}

function Results({ sought, chosen, choose }) {
  const found = usePages(`/memory/search?${query(sought)}`);
  const last = found.last;
  return html`<div aria-live="polite"><${Trouble} problem=${found.problem} />
      ${last && html`<p><strong>${last.total === 0 ? "Nothing was found." : `${last.is_cut ? "More than " : ""}${count(last.total, "hit")}${last.is_cut ? ": something narrower finds the others" : ""}.`}</strong></p>${last.notes.map((note) => html`<p key=${note} class="notice">${note}</p>`)}`}
      ${found.isLoading && html`<p class="quiet">Searching …</p>`}</div>
    <ol class="plainlist hits">${found.items.map((hit) => html`<${Hit} key=${`${hit.kind} ${hit.id}`} hit=${hit} isChosen=${chosen.includes(hit.campaign_id)} isFull=${chosen.length >= MOST} choose=${choose} />`)}</ol>
    ${found.isMore && !found.isLoading && html`<p><${Button} onPress=${found.more}>Show more<//></p>`}`;
}

const address = (hit) => (hit.kind === "experiment" ? `/experiments/${encodeURIComponent(hit.id)}` : `/campaigns/${encodeURIComponent(hit.campaign_id)}`);

function Hit({ hit, isChosen, isFull, choose }) {
  const [title, ...others] = Object.entries(hit.texts);
  const observed = Object.entries(hit.observed), values = Object.entries(hit.values);
  return html`<li><div class="head"><h3><span class="quiet">${hit.kind}</span> <${To} to=${address(hit)}>${hit.kind === "experiment" || !title ? hit.id : html`<${Pieces} of=${title[1]} />`}<//></h3>
      <span><${State} of=${hit.state} />${hit.simulated && html` <${State}>simulated<//>`}${hit.tainted && html` <${State} tone="bad" sign="✕">text from outside<//>`}</span></div>
    ${values.length > 0 && html`<p>${values.map(([name, value]) => `${name} ${number(value)}${hit.units[name] ? ` ${pretty(hit.units[name])}` : ""}`).join(", ")}</p>`}
    ${observed.length > 0 && html`<p>→ ${observed.map(([name, pair]) => `${name} ${measured(...pair, hit.units[name])}`).join(", ")}</p>`}
    ${(hit.kind === "experiment" ? Object.entries(hit.texts) : others).map(([name, pieces]) => html`<p key=${name}><span class="quiet">${words(name)}:</span> <${Pieces} of=${pieces} /></p>`)}
    <p class="quiet">${hit.kind === "campaign" ? html`<span class="mono">${hit.id}</span>` : html`of <${To} to=${`/campaigns/${encodeURIComponent(hit.campaign_id)}`}>${hit.campaign}<//>`} · ${hit.laboratory}${hit.who ? ` · by ${hit.who}` : ""} · <${Ago} at=${hit.at} />
      ${hit.kind === "campaign" && html` · <${Button} kind="plain" onPress=${() => choose(hit.campaign_id)} aria-pressed=${isChosen ? "true" : "false"} why=${!isChosen && isFull ? `At most ${MOST} are compared.` : null} aria-label=${`Compare ${hit.campaign_id}`}>${isChosen ? "✓ compared" : "Compare"}<//>`}</p></li>`;
}

const Pieces = ({ of }) => of.map((piece) => (piece.is_match ? html`<mark>${piece.text}</mark>` : piece.text));

function Compare({ chosen, choose }) {
  const campaigns = useData("/campaigns?limit=200", { about: (change) => change.kind === "campaign" });
  const [added, setAdded] = useState("");
  const path = chosen.length ? `/memory/compare?${new URLSearchParams(chosen.map((one) => ["campaign", one]))}` : null;
  const found = useData(path, { about: (change) => chosen.includes(change.campaign_id) });
  const add = (event) => { event.preventDefault(); if (added) { choose(added); setAdded(""); } };
  return html`<section class="panel" aria-labelledby="compare"><h2 id="compare">Campaigns side by side</h2>
    <${Loaded} from=${campaigns} what="the campaigns">${(page) => { const others = page.items.filter((one) => !chosen.includes(one.id));
      return page.items.length ? html`<form class="filters" onSubmit=${add}><${Field} label="Campaign" value=${added} onInput=${setAdded} options=${[["", chosen.length >= MOST ? `at most ${MOST}` : "choose"], ...(chosen.length >= MOST ? [] : others.map((one) => [one.id, `${one.name} (${one.id}, ${words(one.state)})`]))]} /><button type="submit" aria-disabled=${added ? undefined : "true"}>Add</button></form>` : html`<p class="empty">There is no campaign yet.</p>`; }}<//>
    ${chosen.length > 0 && html`<p class="row">${chosen.map((id, index) => html`<${Button} key=${id} onPress=${() => choose(id)} aria-label=${`Do not compare ${id}`}>${index + 1}: ${id} ✕<//>`)}</p>`}
    ${chosen.length === 0 ? html`<p class="empty">Choose two campaigns or more; the others are held against the first.</p>` : html`<${Loaded} from=${found} what="the campaigns">${(data) => html`<${Compared} data=${data} />`}<//>`}</section>`;
}

const span = (range) => (range ? (range.levels ? range.levels.map((one) => number(one)).join(", ") : `${number(range.low)} to ${number(range.high)}`) + (range.unit ? ` ${pretty(range.unit)}` : "") : "—");

function Compared({ data }) {
  const all = data.campaigns;
  const parameters = [...new Set(all.flatMap((one) => Object.keys(one.parameters)))];
  const row = (name, cell) => [html`<strong>${name}</strong>`, ...all.map(cell)];
  return html`${data.notes.length > 0 && html`<div class="notice" role="note"><strong>What cannot be compared, or only with care:</strong><ul>${data.notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul></div>`}
    ${data.is_same_problem && all.length > 1 && html`<p class="good">✓ One and the same problem: parameters, ranges, objectives and constraints.</p>`}
    ${data.picture ? html`<${Picture} svg=${data.picture} />` : all.length > 1 && html`<p class="empty">No curves: nothing was measured that can be held against each other.</p>`}
    <${Table} caption="Campaigns side by side" heads=${["", ...all.map((one, index) => `${index + 1}: ${one.id}`)]} rows=${[
      row("name", (one) => html`<${To} to=${`/campaigns/${encodeURIComponent(one.id)}`}>${one.name}<//>`),
      row("question", (one) => one.question),
      row("state", (one) => html`<${State} of=${one.state} />${one.simulated ? html` <${State}>simulated<//>` : ""}`),
      row("laboratory", (one) => one.laboratory),
      row("wanted", (one) => one.objectives.join("; ")),
      row("best found", (one) => one.best_text),
      row("at", (one) => (one.best.length === 1 ? Object.entries(one.best[0].values).map(([name, value]) => `${name} ${number(value)}${one.units[name] ? ` ${pretty(one.units[name])}` : ""}`).join(", ") : one.best.length ? count(one.best.length, "trade-off") : "—")),
      row("budget used", (one) => `${one.used} of ${one.budget} experiments`),
      row("measured", (one) => `${one.measured}, ${one.failures} failed`),
      row("took", (one) => duration(one.elapsed_s)),
      row("model", (one) => (one.tokens ? `${one.tokens} tokens${one.cost !== null ? `, ${one.cost.toFixed(4)} USD` : ""}` : "—")),
      ...parameters.map((name) => row(`${name}${data.shared.includes(name) ? "" : " (not in all)"}`, (one) => span(one.parameters[name]))),
      row("hypotheses", (one) => (one.hypotheses.length ? html`<ul class="plainlist">${one.hypotheses.map((claim) => html`<li key=${claim.id}><${State} of=${claim.state} /> ${claim.statement}</li>`)}</ul>` : "none")),
    ]} />`;
}
