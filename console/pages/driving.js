// The process that drives a campaign: why there is none, going on, and ending the campaign for good.
import { html, useState } from "./preact.js";
import { post, useAction, useData } from "./api.js";
import { Ago, Button, Dialog, Field, may, Outcome, useMe, words } from "./parts.js";

const SAID = { driving: "A process drives it.", starting: "A process is being started.", ended: "Its process has ended.", failed: "Its process has ended.", none: "No process drives it." };

/** `state` is the campaign's; shown while it is not over. */
export function Driving({ campaign, simulated, state, reload = () => {} }) {
  const me = useMe();
  const where = `/campaigns/${encodeURIComponent(campaign)}`;
  const driver = useData(`${where}/driver`, { about: (change) => change.campaign_id === campaign, every: 3000 });
  const [isCancelling, setCancelling] = useState(false), [reason, setReason] = useState("");
  const done = (told) => { driver.reload(); reload(); return told; };
  const resume = useAction(async () => done(await post(`${where}/resume`)));
  const cancel = useAction(async () => { const told = done(await post(`${where}/cancel`, { reason: reason.trim() || null })); setCancelling(false); return told; });
  const one = driver.data;
  const isDriven = Boolean(one) && (one.standing === "driving" || one.standing === "starting");
  const why = may(me, "campaign.steer", simulated) ? null : "Your role may not steer campaigns here.";
  return html`${one && one.standing === "failed" && !isDriven && html`<p class="trouble" role="alert"><strong>✕ Its process failed <${Ago} at=${one.since} />: ${one.why}</strong> ${one.remedy || ""}</p>`}
    <div class="row"><${Button} action=${resume} why=${why || (isDriven ? SAID[one.standing] : null)}>▶ ${state === "queued" ? "Begin" : "Go on"}<//>
      <${Button} kind="danger" why=${why} onPress=${() => setCancelling(true)}>Cancel the campaign …<//>
      ${one && html`<span class="quiet">${SAID[one.standing]}${one.by && isDriven ? ` Started by ${one.by}.` : ""}</span>`}</div>
    <${Outcome} action=${resume} busy="Starting its process …" said=${(told) => (told.standing === "driving" ? "It goes on." : told.standing === "starting" ? "Its process is being started." : `Its process has ${words(told.standing)}.`)} />
    ${isCancelling && html`<${Dialog} title="Cancel this campaign for good?" onClose=${() => setCancelling(false)} onSubmit=${() => cancel.run()}>
      <p>What waits is withdrawn; what runs is finished and recorded; it cannot go on afterwards. Its record stays. To stop motion now, use Stop All.</p>
      <${Field} label="Why" value=${reason} onInput=${setReason} optional autocomplete="off" />
      <div class="row"><button type="submit" class="danger">Cancel it for good</button><button type="button" onClick=${() => setCancelling(false)}>Keep it</button></div><${Outcome} action=${cancel} busy="Ending …" /><//>`}
    ${!isCancelling && html`<${Outcome} action=${cancel} said="It is being ended." />`}`;
}
