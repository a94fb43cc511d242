import { html } from "./preact.js";
export function CampaignPage({ params }) { return html`<h1>${params.id}</h1>`; }
