// One's own account: password, second factor, tokens for programs.
import { html, useState } from "./preact.js";
import { ask, post, useAction, useData } from "./api.js";
import { Identities } from "./elsewhere.js";
import { Ago, Button, Dialog, Field, Loaded, moment, Outcome, Table, useTitle } from "./parts.js";

export function Account({ me, mustChange = false, onChanged = () => {} }) {
  useTitle("Your account");
  return html`<h1>Your account</h1>
    <p>${me.person.name}, signed in as <strong class="mono">${me.person.login}</strong>, ${me.person.role}.</p>
    ${mustChange && html`<p class="notice"><strong>Your password was given out by somebody else.</strong> Choose one of your own before you go on.</p>`}
    <${Password} onChanged=${onChanged} />
    ${!mustChange && html`<${SecondFactor} me=${me} /><${Identities} me=${me} /><${Tokens} me=${me} />`}`;
}

function Password({ onChanged }) {
  const [old, setOld] = useState(""), [fresh, setFresh] = useState(""), [again, setAgain] = useState("");
  const [endTokens, setEndTokens] = useState(false);
  const differ = again && fresh !== again ? "This is not the same." : null;
  const change = useAction(async () => {
    await post("/session/password", { old, new: fresh, end_tokens: endTokens });
    setOld(""); setFresh(""); setAgain("");
    onChanged();
    return true;
  });
  const submit = (event) => { event.preventDefault(); if (!differ && fresh) change.run(); };
  return html`<section class="panel" aria-labelledby="password"><h2 id="password">Password</h2><form onSubmit=${submit} novalidate>
    <${Field} label="Present password" type="password" value=${old} onInput=${setOld} autocomplete="current-password" />
    <${Field} label="New password" type="password" value=${fresh} onInput=${setFresh} autocomplete="new-password" hint="Twelve characters or more; several words are good." />
    <${Field} label="New password again" type="password" value=${again} onInput=${setAgain} autocomplete="new-password" wrong=${differ} />
    <${Field} label="End my tokens, too" type="checkbox" value=${endTokens} onInput=${setEndTokens} hint="If somebody else may have known the password. Programs with a token of yours stop working." />
    <div class="row"><button type="submit" class="primary" aria-busy=${change.isBusy ? "true" : undefined}>Change password</button></div></form>
    <${Outcome} action=${change} said=${endTokens ? "Changed. Your other sessions and your tokens have ended." : "Changed. Your other sessions have ended."} /></section>`;
}

function SecondFactor({ me }) {
  const [password, setPassword] = useState(""), [old, setOld] = useState(""), [code, setCode] = useState("");
  const [secret, setSecret] = useState(null), [codes, setCodes] = useState(null);
  const begin = useAction(async () => { setSecret(await post("/session/second-factor", { password, code: old || null })); setPassword(""); setOld(""); });
  const confirm = useAction(async () => { setCodes((await post("/session/second-factor/confirm", { code })).codes); setSecret(null); setCode(""); });
  const submit = (event, action) => { event.preventDefault(); action.run(); };
  return html`<section class="panel" aria-labelledby="factor"><h2 id="factor">Second factor</h2>
    <p>${me.person.has_second_factor || codes ? "✓ You sign in with a code of your authenticator." : "You sign in with your password alone. With a code of an authenticator besides, a password that was seen is not enough."}</p>
    ${codes && html`<p><strong>Keep these recovery codes.</strong> Each is good once, for when the device is lost; they are shown this once.</p><p class="secret">${codes.join("  ")}</p>`}
    ${secret ? html`<form onSubmit=${(event) => submit(event, confirm)} novalidate>
        <p>Give this secret to your authenticator, then type a code that it shows.</p><p class="secret">${secret.secret}</p><p class="hint"><a href=${secret.address}>Open it in an authenticator on this device</a></p>
        <${Field} label="Code" value=${code} onInput=${setCode} autocomplete="one-time-code" inputmode="numeric" />
        <div class="row"><button type="submit" class="primary">Confirm</button></div></form><${Outcome} action=${confirm} />`
      : !codes && html`<form onSubmit=${(event) => submit(event, begin)} novalidate>
        <${Field} label="Your password" type="password" value=${password} onInput=${setPassword} autocomplete="current-password" />
        ${me.person.has_second_factor && html`<${Field} label="A code of the present one" value=${old} onInput=${setOld} autocomplete="one-time-code" />`}
        <div class="row"><button type="submit">${me.person.has_second_factor ? "Replace it" : "Set it up"}</button></div></form><${Outcome} action=${begin} />`}
  </section>`;
}

function Tokens({ me }) {
  const tokens = useData("/tokens");
  const [isOpen, setOpen] = useState(false);
  const end = useAction(async (id) => { await ask("DELETE", `/tokens/${id}`); await tokens.reload(); });
  return html`<section class="panel" aria-labelledby="tokens"><div class="head"><h2 id="tokens">Tokens for programs</h2><${Button} onPress=${() => setOpen(true)}>Make a token …<//></div>
    <${Loaded} from=${tokens} what="your tokens">${(found) => html`<${Table} caption="Your tokens" heads=${["for", "may", "made", "used", "ends", ""]} empty="No program acts in your name." keys=${found.map((one) => one.id)}
      rows=${found.map((one) => [one.label, (one.scopes || []).join(", "), html`<${Ago} at=${one.began} />`, html`<${Ago} at=${one.seen} />`, moment(one.expires), html`<${Button} action=${end} kind="danger" onPress=${() => end.run(one.id)} aria-label=${`End the token for ${one.label}`}>End<//>`])} />`}<//>
    <${Outcome} action=${end} said="Ended." />
    ${isOpen && html`<${NewToken} me=${me} onClose=${() => { setOpen(false); tokens.reload(); }} />`}</section>`;
}

function NewToken({ me, onClose }) {
  const [label, setLabel] = useState(""), [days, setDays] = useState("30"), [scopes, setScopes] = useState(["read"]);
  const mine = [...new Set([...me.scopes, ...me.scopes_on_simulated])].sort();
  const make = useAction(() => post("/tokens", { label, scopes, days: Number(days) }));
  const toggle = (scope, on) => setScopes(on ? [...scopes, scope] : scopes.filter((one) => one !== scope));
  return html`<${Dialog} title="A token for a program" onClose=${onClose} onSubmit=${() => !make.done && make.run()}>
    ${make.done ? html`<p><strong>Shown this once.</strong> Whoever has it acts in your name.</p><p class="secret">${make.done.token}</p><div class="row"><button type="button" class="primary" onClick=${onClose}>I have kept it</button></div>`
      : html`<${Field} label="What it is for" value=${label} onInput=${setLabel} autofocus /><${Field} label="Good for so many days" type="number" min="1" max="365" value=${days} onInput=${setDays} />
        <fieldset><legend>It may</legend>${mine.map((scope) => html`<${Field} key=${scope} label=${scope} type="checkbox" value=${scopes.includes(scope)} onInput=${(on) => toggle(scope, on)} />`)}</fieldset>
        <div class="row"><button type="submit" class="primary">Make it</button><button type="button" onClick=${onClose}>Cancel</button></div><${Outcome} action=${make} />`}
  <//>`;
}
