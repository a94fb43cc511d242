import { html } from "./preact.js";
export function DecisionPage({ params }) { return html`<h1>${params.id}</h1>`; }
