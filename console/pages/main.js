// The frame of every page: where one is, who one is, whether changes come in, and Stop All.
import { html, render, useEffect, useLayoutEffect, useErrorBoundary, useRef, useState } from "./preact.js";
import { deafen, listen, onSignedOut, Problem, signOut, stopAll, useAction, useLine, whoAmI } from "./api.js";
import { Button, count, Dialog, go, Me, may, State, STOP, To, Trouble, useTitle } from "./parts.js";
import { Account } from "./account.js";
import { Alarms } from "./alarms.js";
import { AuditPage } from "./audit.js";
import { CampaignPage } from "./campaign.js";
import { DecisionPage } from "./decision.js";
import { Returned } from "./elsewhere.js";
import { HandoverPage, Handovers } from "./handover.js";
import { InstrumentPage, Instruments } from "./instruments.js";
import { MemoryPage } from "./memory.js";
import { NewCampaign } from "./new.js";
import { Bell, Notifications } from "./notifications.js";
import { Overview } from "./overview.js";
import { People } from "./people.js";
import { ReconcilePage } from "./reconcile.js";
import { Resources } from "./resources.js";
import { SignIn } from "./sign_in.js";

// [address, page, name in the menu, what one needs to see it in the menu]
const ROUTES = [
  ["/", Overview, "Overview", "read"],
  ["/new", NewCampaign, "New campaign", "campaign.start"],
  ["/campaigns/:id", CampaignPage],
  ["/experiments/:id", DecisionPage],
  ["/instruments", Instruments, "Instruments", "read"],
  ["/instruments/:name", InstrumentPage],
  ["/instruments/:name/reconcile", ReconcilePage],
  ["/samples", Resources, "Samples", "read"],
  ["/alarms", Alarms, "Alarms", "read"],
  ["/handover", Handovers, "Handover", "read"],
  ["/handover/:id", HandoverPage],
  ["/memory", MemoryPage, "Memory", "read"],
  ["/audit", AuditPage, "Audit", "audit.read"],
  ["/people", People, "People", "people.manage"],
  ["/account", Account],
  ["/notifications", Notifications],
  ["/sign-in", Returned],
];

function match(path) {
  for (const [address, page] of ROUTES) {
    const pattern = address.split("/"), given = path.replace(/(.)\/$/, "$1").split("/");
    if (pattern.length !== given.length) continue;
    const params = {};
    if (pattern.every((part, i) => (part.startsWith(":") ? (params[part.slice(1)] = decodeURIComponent(given[i])) !== "" : part === given[i]))) return { page, params };
  }
  return null;
}

function useAddress() {
  const [path, setPath] = useState(location.pathname);
  useLayoutEffect(() => {
    const moved = () => setPath(location.pathname);
    window.addEventListener("popstate", moved);
    return () => window.removeEventListener("popstate", moved);
  }, []);
  return path;
}

// One press stops: a stop that asks first comes too late. What became of it is told after.
function StopAll() {
  const [isOpen, setOpen] = useState(false);
  const [tries, setTries] = useState(0);
  const wanted = useRef(false);
  const stop = useAction(async () => {
    wanted.current = true;
    setTries(0);
    return stopAll("pressed in the console", null, () => wanted.current, setTries);
  });
  const press = () => { wanted.current = true; setOpen(true); stop.run(); };
  useLayoutEffect(() => { window.addEventListener(STOP, press); return () => window.removeEventListener(STOP, press); }, []);
  const close = () => { wanted.current = false; setOpen(false); };
  return html`<button type="button" class="stop" onClick=${press} title="Stops every instrument at once; a software stop, not a safety system">■ Stop All</button>
    ${isOpen && html`<${Dialog} title="Stop All" kind="stopping" onClose=${close}>
      <div role="status" aria-live="assertive">
        ${stop.isBusy && (tries ? html`<p class="trouble"><strong>NOT STOPPED: the console does not answer.</strong> Asked ${count(tries, "time")}; it is asked again until it answers or you close this. Use the hardware stop, or <code>athanor stop-all</code> at the instrument's computer.</p>` : html`<p>Stopping every instrument …</p>`)}
        ${stop.done && html`<${Stopped} answer=${stop.done} />`}
        ${stop.problem && html`<p class="trouble"><strong>✕ NOT STOPPED: ${stop.problem.detail}</strong> Use the hardware stop, or <code>athanor stop-all</code> at the instrument's computer.</p>`}
      </div>
      <div class="row"><button type="button" class="stop" onClick=${press} aria-busy=${stop.isBusy ? "true" : undefined}>■ Stop again</button><button type="button" onClick=${close}>Close</button></div>
    <//>`}`;
}

function Stopped({ answer }) {
  return html`<div class="stopped">
    ${answer.running === 0 ? html`<p><strong>Nothing was running.</strong> Every instrument is latched: nothing starts until it is reset.</p>`
      : answer.confirmed ? html`<p class="good"><strong>✓ Stopped, and confirmed by every instrument that was running.</strong></p>`
      : html`<p class="trouble"><strong>✕ NOT CONFIRMED by every instrument. Go and look; use the hardware stop.</strong></p>`}
    <ul>${answer.instruments.map((one) => html`<li key=${one.name}><strong>${one.name}</strong>: ${one.is_running ? (one.confirmed ? "✓ stopped" : "✕ not confirmed") : "was not running; latched"}${one.detail ? ` (${one.detail})` : ""}</li>`)}</ul>
    <p class="quiet">${answer.notice}</p>
  </div>`;
}

function Line() {
  const line = useLine();
  if (line === "open") return html`<${State} tone="good" sign="●">live<//>`;
  return html`<${State} tone=${line === "broken" ? "bad" : "quiet"} sign=${line === "broken" ? "✕" : "…"}>${line === "broken" ? "not live" : "connecting"}<//>`;
}

function Frame({ session, path, children, onOut }) {
  const out = useAction(async () => { await signOut(); onOut(); });
  const active = (address) => (address === "/" ? path === "/" : path === address || path.startsWith(`${address}/`));
  return html`<div>
    <a class="skip" href="#main">Skip to the page</a>
    <header class="top">
      <${To} to="/" class="brand"><img src="/static/icon.svg" alt="" width="26" height="26" /> Athanor<//>
      <nav aria-label="Pages">${ROUTES.filter(([, , name, needs]) => name && may(session, needs, true)).map(([address, , name]) =>
        html`<${To} to=${address} key=${address} aria-current=${active(address) ? "page" : undefined}>${name}<//>`)}</nav>
      <div class="who"><${Line} />${!session.is_only_stopping && !session.person.must_change && html`<${Bell} />`}<${To} to="/account" title="Your account">${session.person.login} <span class="quiet">(${session.person.role})</span><//>
        <${Button} action=${out} kind="plain">Sign out<//></div>
      <${StopAll} />
    </header>
    <${Trouble} problem=${out.problem} />
    <main id="main" tabindex="-1">${children}</main>
  </div>`;
}

function Guarded({ page: Page, params, me }) {
  const [error, reset] = useErrorBoundary((seen) => console.error(seen));
  if (error) return html`<div><h1>This page failed</h1><p>${String(error.message || error)}</p><p>Nothing was changed by that. <${Button} onPress=${reset}>Draw it again<//></p></div>`;
  return html`<${Page} params=${params} me=${me} />`;
}

function NoSuchPage() {
  useTitle("No such page");
  return html`<h1>There is no such page</h1><p>The address may be mistyped, or from another version. <${To} to="/">Go to the overview<//>.</p>`;
}

function App() {
  const path = useAddress();
  const [session, setSession] = useState(undefined);  // undefined: not known yet; null: nobody
  const [problem, setProblem] = useState(null);
  const [notice, setNotice] = useState(null);
  const find = async () => {
    try { setSession(await whoAmI()); setProblem(null); } catch (seen) { setProblem(seen); setTimeout(find, 2000); }
  };
  useEffect(() => { find(); }, []);
  useEffect(() => onSignedOut((seen) => { setNotice(seen); find(); }), []);
  const isIn = Boolean(session) && !session.is_only_stopping && !session.person.must_change;
  useEffect(() => { if (isIn) listen(); else deafen(); }, [isIn]);
  useEffect(() => { const main = document.getElementById("main"); if (main && document.activeElement === document.body) main.focus({ preventScroll: true }); window.scrollTo(0, 0); }, [path]);
  if (session === undefined) return problem ? html`<div class="door"><h1>The console does not answer</h1><${Trouble} problem=${problem} /></div>` : html`<p class="opening" role="status">Opening the console …</p>`;
  const entered = (found) => { setNotice(null); setSession(found); if (path === "/sign-in") go("/"); };
  if (session === null) return html`<${SignIn} onIn=${entered} notice=${notice} />`;
  if (session.is_only_stopping) return html`<${Frame} session=${session} path=${path} onOut=${() => setSession(null)}><${SignIn} onIn=${entered} notice=${new Problem(401, { code: "session.idle", detail: "You were away for too long.", remedy: "Sign in again. Stop All works without." })} /><//>`;
  if (session.person.must_change) return html`<${Frame} session=${session} path=${path} onOut=${() => setSession(null)}><${Account} me=${session} mustChange onChanged=${find} /><//>`;
  const found = match(path);
  return html`<${Me.Provider} value=${session}><${Frame} session=${session} path=${path} onOut=${() => setSession(null)}>
    ${found ? html`<${Guarded} key=${path} page=${found.page} params=${found.params} me=${session} />` : html`<${NoSuchPage} />`}
  <//><//>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
