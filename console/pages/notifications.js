// What one was told: the list, how one is told, and the sign in the frame that says that something is new.
import { html, useEffect, useRef, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, count, duration, go, Loaded, Outcome, State, To, Trouble, useTitle, words } from "./parts.js";

const concerns = (change) => change.campaign_id === null;
const SIGNS = {
  approval_waiting: ["ask", "?", "to decide"], in_doubt: ["bad", "?", "in doubt"], campaign_paused: ["ask", "❚❚", "paused"],
  campaign_failed: ["bad", "✕", "failed"], campaign_done: ["good", "✓", "over"], stop_all: ["bad", "■", "stopped"], alarm: ["bad", "▲", "alarm"],
};

/** In the frame: how much is new, and, where the person allowed it, a notification of the browser for each. */
export function Bell() {
  const unread = useData("/notifications?unread=true&limit=50", { about: concerns, every: 60000 });
  const seen = useRef(null);
  const items = unread.data ? unread.data.items : [];
  useEffect(() => {
    if (!unread.data) return;
    const isFirst = seen.current === null;
    if (isFirst) seen.current = new Set();
    for (const one of items) {
      if (!isFirst && !seen.current.has(one.id) && one.shows && !one.over) pop(one);
      seen.current.add(one.id);
    }
  }, [unread.data]);
  const quantity = unread.data && unread.data.next ? "50+" : String(items.length);
  const label = items.length ? `Notifications: ${quantity} new` : "Notifications: nothing new";
  return html`<${To} to="/notifications" class="bell" aria-label=${label} title=${label}><span aria-hidden="true">${items.length ? `● ${quantity} new` : "○ none new"}</span><//>`;
}

// Several tabs show one: the tag is the same.
function pop(one) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  try {
    const shown = new Notification(one.title, { body: one.text, tag: one.id, icon: "/static/icon.svg", requireInteraction: one.urgent });
    shown.onclick = () => { window.focus(); go(one.path); shown.close(); };
  } catch { /* some browsers show none without a worker; the list has it */ }
}

export function Notifications() {
  useTitle("Notifications");
  const [isAll, setAll] = useState(false);
  const found = useData(`/notifications?limit=100${isAll ? "" : "&unread=true"}`, { about: concerns });
  const read = useAction(async (id) => { await post(`/notifications/${encodeURIComponent(id)}/read`); await found.reload(); });
  const all = useAction(async () => { const done = await post("/notifications/read"); await found.reload(); return done; });
  const hasNew = found.data && found.data.items.some((one) => !one.is_read);
  return html`<div class="head"><h1>Notifications</h1>
      <div class="row"><${Button} onPress=${() => setAll(!isAll)} aria-pressed=${isAll ? "true" : "false"}>${isAll ? "Show only new ones" : "Show earlier ones, too"}<//>
      ${hasNew && html`<${Button} action=${all}>Take note of all<//>`}</div></div>
    <p class="quiet">To take note of something tells your colleagues that you know of it, and ends its escalation. It decides nothing.</p>
    <${Outcome} action=${all} said=${(done) => `Taken note of ${count(done.count, "notification")}.`} /><${Trouble} problem=${read.problem} />
    <section class="panel" aria-labelledby="told"><h2 id="told" class="spoken">What you were told</h2><${Loaded} from=${found} what="what you were told">${(data) => html`
      ${!data.items.length && html`<p class="empty">${isAll ? "You were told nothing yet." : "✓ Nothing new."}</p>`}
      <ul class="plainlist">${data.items.map((one) => html`<${Item} one=${one} read=${read} key=${one.id} />`)}</ul>
      ${data.next && html`<p class="quiet">There are more; take note of these first.</p>`}`}<//></section>
    <${How} />`;
}

function Item({ one, read }) {
  const [tone, sign, word] = SIGNS[one.what] || ["quiet", "·", words(one.what)];
  return html`<li>
    <div class="head"><span><${State} tone=${tone} sign=${sign}>${word}<//>${one.urgent && html` <${State} tone="bad" sign="!">urgent<//>`} <${To} to=${one.path}><strong>${one.title}</strong><//></span>
      <span class="quiet"><${Ago} at=${one.since} /></span></div>
    <div>${one.text}${one.detail && html` <span class="quiet">${one.detail}</span>`}</div>
    ${one.trouble && html`<div class="bad">✕ It could not be sent to everybody: ${one.trouble}</div>`}
    <div class="row">${one.is_read ? html`<span class="quiet">✓ You have taken note.</span>` : html`<${Button} onPress=${() => read.run(one.id)} aria-label=${`Take note: ${one.title}`}>Take note<//>`}
      ${one.over && html`<span class="quiet">Over: ${one.over}.</span>`}
      ${one.read_by.length > 0 && html`<span class="quiet">Known to ${one.read_by.join(", ")}.</span>`}</div></li>`;
}

function How() {
  const settings = useData("/notifications/settings");
  return html`<section class="panel" aria-labelledby="how"><h2 id="how">How you are told</h2>
    <${Here} /><${Loaded} from=${settings} what="the settings">${(data) => (!data.is_set_up
      ? html`<p class="empty">This site tells nobody anything yet. Whoever keeps its computer writes the rules into <code>console.yaml</code>; the guide is <code>docs/guides/notifications.md</code>.</p>`
      : html`<dl class="facts"><dt>Mail to</dt><dd>${data.email || "no address"}</dd>
          <dt>Quiet hours</dt><dd>${data.quiet_from ? `from ${data.quiet_from} until ${data.quiet_until}, ${data.zone}; what is urgent comes all the same` : "none"}</dd></dl>
        ${!data.rules.length && html`<p class="empty">No rule tells you anything.</p>`}
        <ul>${data.rules.map((rule) => html`<li key=${rule.name}><strong class="mono">${rule.name}</strong>: ${rule.what.map(words).join(", ")}; by ${rule.by.join(" and ")}${rule.urgent ? "; urgent" : ""}${rule.after_min === null ? "" : `; if nobody has taken note after ${duration(rule.after_min * 60)}`}</li>`)}</ul>`)}<//></section>`;
}

// Whether this browser shows them beyond the list: the person's own choice, in this browser.
function Here() {
  const [permission, setPermission] = useState("Notification" in window ? Notification.permission : "none");
  const allow = useAction(async () => { setPermission(await Notification.requestPermission()); });
  const said = {
    granted: "✓ This browser shows them while the console is open in it.",
    denied: "✕ This browser does not show them: you, or a rule of your site, said no. It can be changed in the browser's settings.",
    none: "✕ This browser cannot show them.",
  };
  return permission === "default"
    ? html`<div class="row"><${Button} action=${allow}>Show them by the browser<//><span class="quiet">While the console is open in it, also in the background.</span></div>`
    : html`<p>${said[permission]}</p>`;
}
