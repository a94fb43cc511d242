// Accounts, roles, sessions and tokens of everybody.
import { html, useState } from "./preact.js";
import { ask, post, useAction, useData } from "./api.js";
import { Ago, Button, Dialog, Field, Loaded, moment, Outcome, State, Table, useTitle } from "./parts.js";

const ROLES = ["observer", "scientist", "operator", "developer", "steward", "owner"];
const MAY = {
  observer: "sees everything, does nothing", scientist: "starts and steers campaigns, decides experiments",
  operator: "as a scientist, and takes instruments in hand, grants autonomy, resets Stop All, settles doubt",
  developer: "most of what an operator may, on simulated instruments only", steward: "governs data, reads the audit, writes handovers", owner: "everything, accounts included",
};

export function People({ me }) {
  useTitle("People");
  const people = useData("/people", { about: (change) => change.campaign_id === null }), sessions = useData("/sessions", { every: 15000 });
  const [isAdding, setAdding] = useState(false), [changing, setChanging] = useState(null);
  const end = useAction(async (id) => { await ask("DELETE", `/sessions/${id}`); await sessions.reload(); });
  const done = () => { setAdding(false); setChanging(null); people.reload(); sessions.reload(); };
  return html`<div class="head"><h1>People</h1><${Button} kind="primary" onPress=${() => setAdding(true)}>Add somebody …<//></div>
    <section class="panel"><${Loaded} from=${people} what="the accounts">${(found) => html`<${Table} caption="Accounts" heads=${["login", "name", "role", "may", "second factor", "state", ""]} keys=${found.map((one) => one.login)}
      rows=${found.map((one) => [html`<strong class="mono">${one.login}</strong>`, one.name, one.role, html`<span class="quiet">${MAY[one.role]}</span>`, one.has_second_factor ? "✓ yes" : "no",
        one.is_active ? one.must_change ? html`<${State} tone="ask" sign="…">has not signed in<//>` : html`<${State} tone="good" sign="✓">open<//>` : html`<${State} sign="✕">closed<//>`,
        html`<${Button} onPress=${() => setChanging(one)} aria-label=${`Change ${one.login}`}>Change …<//>`])} />`}<//></section>
    <section class="panel" aria-labelledby="open"><h2 id="open">Open sessions and tokens</h2><${Loaded} from=${sessions} what="the sessions">${(found) => html`<${Table} caption="Open sessions and tokens" heads=${["whose", "what", "began", "last used", "ends", ""]} keys=${found.map((one) => one.id)}
      rows=${found.map((one) => [html`<span class="mono">${one.login}</span>`, one.scopes ? `token: ${one.label} (${one.scopes.join(", ")})` : `session${one.label ? ` (${one.label})` : ""}`, html`<${Ago} at=${one.began} />`, html`<${Ago} at=${one.seen} />`, moment(one.expires),
        html`<${Button} action=${end} kind="danger" onPress=${() => end.run(one.id)} aria-label=${`End this ${one.scopes ? "token" : "session"} of ${one.login}`}>End<//>`])} />`}<//><${Outcome} action=${end} said="Ended: it can do nothing more." /></section>
    ${isAdding && html`<${Add} onClose=${done} />`}${changing && html`<${Change} person=${changing} me=${me} onClose=${done} />`}`;
}

function Given({ login, password, onClose }) {
  return html`<p><strong class="mono">${login}</strong> signs in with this password, and has to change it then. It is shown this once.</p><p class="secret">${password}</p><div class="row"><button type="button" class="primary" onClick=${onClose}>I have passed it on</button></div>`;
}

function Add({ onClose }) {
  const [login, setLogin] = useState(""), [name, setName] = useState(""), [role, setRole] = useState("observer");
  const add = useAction(() => post("/people", { login, name, role }));
  return html`<${Dialog} title="Add somebody" onClose=${onClose} onSubmit=${() => !add.done && add.run()}>${add.done ? html`<${Given} login=${login} password=${add.done.password} onClose=${onClose} />`
    : html`<${Field} label="Login" value=${login} onInput=${setLogin} autocapitalize="none" spellcheck="false" autofocus /><${Field} label="Name" value=${name} onInput=${setName} hint="As colleagues know them." />
      <${Field} label="Role" value=${role} onInput=${setRole} options=${ROLES} hint=${MAY[role]} /><div class="row"><button type="submit" class="primary">Add</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${add} />`}<//>`;
}

function Change({ person, me, onClose }) {
  const [role, setRole] = useState(person.role);
  const where = `/people/${encodeURIComponent(person.login)}`;
  const give = useAction(async () => { await ask("PATCH", where, { role }); onClose(); });
  const close = useAction(async () => { await ask("PATCH", where, { is_active: !person.is_active }); onClose(); });
  const password = useAction(() => post(`${where}/password`));
  const factor = useAction(async () => { await ask("DELETE", `${where}/second-factor`); onClose(); });
  const isMe = person.login === me.person.login;
  return html`<${Dialog} title=${`${person.name} (${person.login})`} onClose=${onClose}>${password.done ? html`<${Given} login=${person.login} password=${password.done.password} onClose=${onClose} />` : html`
    ${isMe && html`<p class="notice">This is your own account.</p>`}
    <${Field} label="Role" value=${role} onInput=${setRole} options=${ROLES} hint=${MAY[role]} /><${Button} action=${give} kind="primary" disabled=${role === person.role}>Give this role<//><${Outcome} action=${give} />
    <div class="row"><${Button} action=${password}>Give out another password<//>${person.has_second_factor && html`<${Button} action=${factor}>Do without the second factor<//>`}
      <${Button} action=${close} kind="danger">${person.is_active ? "Close the account" : "Open the account again"}<//></div>
    <p class="hint">A new password and closing end the person's sessions.</p>
    <${Outcome} action=${password} /><${Outcome} action=${factor} /><${Outcome} action=${close} />`}<//>`;
}
