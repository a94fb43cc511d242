// The door: login, password, and the second factor where an account has one.
import { html, useState } from "./preact.js";
import { Problem, signIn, useAction } from "./api.js";
import { Elsewhere } from "./elsewhere.js";
import { Field, Trouble, useTitle } from "./parts.js";

export function SignIn({ onIn, notice }) {
  useTitle("Sign in");
  const [login, setLogin] = useState(""), [password, setPassword] = useState(""), [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const enter = useAction(async () => {
    try {
      const session = await signIn(login.trim(), password, code.trim());
      setPassword("");
      onIn(session);
    } catch (problem) {
      if (problem instanceof Problem && problem.code === "second_factor.needed") setNeedsCode(true);
      throw problem;
    }
  });
  const submit = (event) => { event.preventDefault(); enter.run(); };
  const isAsking = enter.problem && enter.problem.code === "second_factor.needed";
  return html`<div class="door">
    <h1><img src="/static/icon.svg" alt="" width="40" height="40" /> Athanor</h1>
    <${Trouble} problem=${enter.problem ? null : notice} />
    <form onSubmit=${submit} novalidate>
      <${Field} label="Login" value=${login} onInput=${setLogin} autocomplete="username" autocapitalize="none" spellcheck="false" required />
      <${Field} label="Password" type="password" value=${password} onInput=${setPassword} autocomplete="current-password" required />
      ${needsCode && html`<${Field} label="Code" value=${code} onInput=${setCode} autocomplete="one-time-code" inputmode="numeric" hint="Of your authenticator, or one of your recovery codes." />`}
      <button type="submit" class="primary" aria-busy=${enter.isBusy ? "true" : undefined}>Sign in</button>
    </form>
    <div aria-live="polite">${isAsking ? html`<p>One more step: the code of your second factor.</p>` : html`<${Trouble} problem=${enter.problem} />`}</div>
    <${Elsewhere} onIn=${onIn} />
  </div>`;
}
