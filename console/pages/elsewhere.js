// Signing in at a provider: there, and back to /sign-in, which hands on what the provider gave.
import { html, useEffect, useState } from "./preact.js";
import { ask, get, post, Problem, signInElsewhere, useAction, useData } from "./api.js";
import { Ago, Button, Field, go, Loaded, Outcome, State, Table, To, Trouble, useTitle } from "./parts.js";

const KEPT = "athanor-journey";

async function leave(provider, kind, address) {
  const state = new URL(address).searchParams.get("state");
  sessionStorage.setItem(KEPT, JSON.stringify({ provider, kind, state }));
  location.assign(address);
  await new Promise(() => {});  // the page goes away
}

/** What a provider gave this browser, once: `{provider, kind, body}`; null where it gave nothing. */
function returned() {
  const given = new URLSearchParams(location.search);
  if (location.pathname !== "/sign-in" || !given.has("state")) return null;
  history.replaceState(null, "", "/sign-in");  // a code does not stay in the history
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  const error = given.get("error");
  const body = { state: given.get("state"), code: given.get("code"), issuer: given.get("iss"), error: error === null ? null : error.replace(/[^A-Za-z0-9_.-]/g, "").slice(0, 100) };
  return { provider: kept && kept.state === body.state ? kept.provider : null, kind: kept ? kept.kind : null, body };
}

const lost = () => new Problem(0, { code: "oidc.state", detail: "This sign-in did not begin in this tab.", remedy: "Begin again." });

/** Buttons for the providers there are, below the password; and what came of it when one comes back. */
export function Elsewhere({ onIn }) {
  const [providers, setProviders] = useState([]);
  const enter = useAction(async () => {
    const back = returned();
    if (back === null) return null;
    if (!back.provider || back.kind !== "in") throw lost();
    onIn(await signInElsewhere(back.provider, back.body));
    return null;
  });
  const begin = useAction(async (name) => leave(name, "in", (await post(`/session/providers/${encodeURIComponent(name)}/begin`)).address));
  useEffect(() => {
    get("/session/providers", { quiet: true }).then(setProviders, () => {});  // passwords do without them
    enter.run();
  }, []);
  if (!providers.length && !enter.problem && !enter.isBusy) return null;
  return html`<div class="elsewhere">
    ${providers.length > 0 && html`<p class="quiet">or</p>`}
    ${providers.map((one) => html`<${Button} key=${one.name} onPress=${() => begin.run(one.name)} action=${begin}>Continue with ${one.title}<//>`)}
    <${Outcome} action=${begin} busy="Going there …" /><div aria-live="polite">${enter.isBusy && html`<span class="quiet">Signing in …</span>`}<${Trouble} problem=${enter.problem} /></div></div>`;
}

/** The page /sign-in for somebody who is signed in: an account was to be linked. */
export function Returned() {
  useTitle("Back from signing in");
  const link = useAction(async () => {
    const back = returned();
    if (back === null) { go("/"); return null; }
    if (!back.provider || back.kind !== "link") throw lost();
    await post(`/session/identities/${encodeURIComponent(back.provider)}/finish`, back.body);
    return true;
  });
  useEffect(() => { link.run(); }, []);
  return html`<h1>Linking your account</h1><${Outcome} action=${link} busy="Linking …" said="Linked: from now on you may sign in there, too." /><p><${To} to="/account">Go to your account<//></p>`;
}

/** In one's account: how one may sign in elsewhere. */
export function Identities({ me }) {
  const providers = useData("/session/providers"), found = useData("/session/identities");
  const [provider, setProvider] = useState(null), [password, setPassword] = useState(""), [code, setCode] = useState("");
  const link = useAction(async () => leave(provider, "link", (await post(`/session/identities/${encodeURIComponent(provider)}/begin`, { password, code: code || null })).address));
  const end = useAction(async (id) => { await ask("DELETE", `/session/identities/${id}`); await found.reload(); });
  const out = useAction(async (name) => {
    const { address } = await post(`/session/providers/${encodeURIComponent(name)}/sign-out`);
    location.assign(address || "/");
  });
  const known = providers.data || [];
  if (!known.length && !(found.data || []).length) return null;
  const title = (name) => (known.find((one) => one.name === name) || { title: name }).title;
  const open = known.filter((one) => one.may_link && !(found.data || []).some((other) => other.provider === one.name));
  const submit = (event) => { event.preventDefault(); link.run(); };
  return html`<section class="panel" aria-labelledby="elsewhere"><h2 id="elsewhere">Signing in elsewhere</h2>
    <${Loaded} from=${found} what="your identities">${(list) => html`<${Table} caption="Where else you may sign in" heads=${["where", "as", "since", ""]} keys=${list.map((one) => one.id)} empty="Your account is linked with nothing."
      rows=${list.map((one) => [one.provider ? title(one.provider) : html`<span class="mono">${one.issuer}</span>`, html`<span class="mono">${one.subject}</span>`, html`<${Ago} at=${one.linked} />`,
        html`<div class="row">${one.is_theirs ? html`<${State} sign="✓">it made your account<//>` : html`<${Button} kind="danger" action=${end} onPress=${() => end.run(one.id)}>Unlink<//>`}
        ${one.provider && html`<${Button} action=${out} onPress=${() => out.run(one.provider)}>Sign out here and there<//>`}</div>`])} />`}<//>
    <${Outcome} action=${end} said="Unlinked: nobody signs in by it any more." /><${Outcome} action=${out} />
    ${open.map((one) => html`<${Button} key=${one.name} onPress=${() => setProvider(one.name)} aria-expanded=${provider === one.name ? "true" : "false"}>Link with ${one.title} …<//>`)}
    ${provider && html`<form onSubmit=${submit} novalidate><p>You will sign in at ${title(provider)}, and whoever does that can then sign in here as <strong class="mono">${me.person.login}</strong>.</p>
      <${Field} label="Your password here" type="password" value=${password} onInput=${setPassword} autocomplete="current-password" />
      ${me.person.has_second_factor && html`<${Field} label="Code of your second factor" value=${code} onInput=${setCode} autocomplete="one-time-code" inputmode="numeric" />`}
      <div class="row"><button type="submit" class="primary" aria-busy=${link.isBusy ? "true" : undefined}>Go there and link</button><${Button} onPress=${() => setProvider(null)}>Cancel<//></div><${Outcome} action=${link} busy="Going there …" /></form>`}</section>`;
}
