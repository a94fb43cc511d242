// The HTTP API as the pages use it: one way to ask, one stream of changes for all tabs, data that stays fresh.
import { useCallback, useEffect, useRef, useState } from "./preact.js";

const BASE = "/api/v1";
const TRIES = 3;
const PATIENCE_MS = 15000;
const STOP_PATIENCE_MS = 60000;

/** Why something was not done: `{code, detail, remedy}`. `status` is 0 where no answer came. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail);
    this.status = status;
    this.code = body.code;
    this.detail = body.detail;
    this.remedy = body.remedy || null;
  }
}

const isSignedOut = (problem) => problem.status === 401 && (problem.code.startsWith("session.") || problem.code === "sign_in.needed");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

let csrf = null;
const signedOut = new Set();

/** Call `listener(problem)` whenever an answer says that nobody is signed in. Returns how to end that. */
export function onSignedOut(listener) {
  signedOut.add(listener);
  return () => signedOut.delete(listener);
}

async function once(method, path, body, key, patience) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (csrf && method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (key) headers["Idempotency-Key"] = key;
  let answer, text;
  try {
    answer = await fetch(BASE + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(patience),
    });
    text = await answer.text();
  } catch {
    throw new Problem(0, { code: "connection", detail: "The console does not answer.", remedy: "Is it running? This page goes on by itself when it is back." });
  }
  let data = null;
  try { data = text ? JSON.parse(text) : null; } catch { /* said below */ }
  if (answer.ok) return data;
  const known = data && data.code ? data : { code: "http", detail: `The console answered ${answer.status}.` };
  throw new Problem(answer.status, known);
}

/** Ask for something to be done. A change carries a key, so that one whose answer was lost is asked for again safely. */
export async function ask(method, path, body, { quiet = false, isLook = false } = {}) {
  const key = method === "GET" || isLook ? null : crypto.randomUUID();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once(method, path, body, key, PATIENCE_MS);
    } catch (problem) {
      if (problem.code === "csrf" && attempt === 1) { await whoAmI(); continue; }  // a page from before a restart
      if (problem.status === 0 && method !== "GET" && attempt < TRIES) { await pause(800 * attempt); continue; }
      if (problem.status === 0 && method !== "GET" && !isLook) {
        throw new Problem(0, { code: "connection", detail: "No answer came: nobody knows whether this was done.", remedy: "Look before you try again." });
      }
      if (isSignedOut(problem) && !quiet) signedOut.forEach((listener) => listener(problem));
      throw problem;
    }
  }
}

export const get = (path, options) => ask("GET", path, undefined, options);
export const post = (path, body = {}, options) => ask("POST", path, body, options);
/** Ask with a body for something that changes nothing. */
export const look = (path, body) => ask("POST", path, body, { isLook: true });

/** Stop everything, or one instrument: no key, no token, and tried until an answer comes. */
export async function stopAll(reason, instrument = null, isStillWanted = () => true, tell = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once("POST", "/stop-all", { reason, instrument }, null, STOP_PATIENCE_MS);
    } catch (problem) {
      if (problem.status !== 0 || !isStillWanted()) throw problem;
      tell(attempt);
      await pause(500);
    }
  }
}

/** Who is signed in, or null. */
export async function whoAmI() {
  try {
    const session = await ask("GET", "/session", undefined, { quiet: true });
    csrf = session.csrf;
    return session;
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    csrf = null;
    return null;
  }
}

export async function signIn(login, password, code) {
  const session = await ask("POST", "/session", { login, password, code: code || null }, { quiet: true });
  csrf = session.csrf;
  return session;
}

/** As `signIn`, by what a provider gave this browser. */
export async function signInElsewhere(provider, body) {
  const session = await ask("POST", `/session/providers/${encodeURIComponent(provider)}/finish`, body, { quiet: true });
  csrf = session.csrf;
  return session;
}

export async function signOut() {
  await ask("DELETE", "/session");
  csrf = null;
}

// -- changes ----------------------------------------------------------------------------------------------------------
// Browsers open six connections to a host: were each tab to hold a stream, the seventh could not stop anything. One tab
// holds it, whichever has the lock, and tells the others.

const listeners = new Set();
const lines = new Set();
const channel = "BroadcastChannel" in window ? new BroadcastChannel("athanor-changes") : null;
let line = "opening";

function heard(message) {
  if (message.line) {
    line = message.line;
    lines.forEach((listener) => listener(line));
    return;
  }
  listeners.forEach((listener) => listener(message));
}

function tell(message) {
  heard(message);
  if (channel) channel.postMessage(message);
}

function hold() {
  return new Promise((end) => {
    const stream = new EventSource(`${BASE}/changes`);
    stream.onopen = () => { tell({ line: "open" }); tell({ kind: "reload" }); };
    // A line that broke is taken up again by the browser; one that was refused, never.
    stream.onerror = () => { tell({ line: "broken" }); if (stream.readyState === EventSource.CLOSED) end(); };
    stream.addEventListener("change", (event) => tell(JSON.parse(event.data)));
    stream.addEventListener("reload", () => tell({ kind: "reload" }));
    stream.addEventListener("ended", (event) => {
      stream.close();
      tell({ line: "broken" });
      const body = JSON.parse(event.data);
      signedOut.forEach((listener) => listener(new Problem(401, body)));
      end();
    });
    release = () => { stream.close(); end(); };
  });
}

/** So long after a stream was ended or refused another is asked for, as long as somebody is signed in. */
const AGAIN_MS = 5000;
let release = () => {};
let listening = null;

/** Begin to listen to changes; does nothing where one listens already. */
export function listen() {
  if (listening) return;
  if (channel) {
    channel.onmessage = (event) => {
      if (event.data.ask) { if (release.held) channel.postMessage({ line }); return; }
      heard(event.data);
    };
    channel.postMessage({ ask: true });
  }
  const abort = new AbortController();
  listening = abort;
  const held = async () => {
    while (!abort.signal.aborted) {
      const done = hold();
      release.held = true;
      await done;
      if (abort.signal.aborted) break;
      await new Promise((go) => { setTimeout(go, AGAIN_MS); abort.signal.addEventListener("abort", go, { once: true }); });
    }
  };
  if (navigator.locks) navigator.locks.request("athanor-changes", { signal: abort.signal }, held).catch(() => {});
  else held();
}

/** Listen no more. */
export function deafen() {
  if (!listening) return;
  listening.abort();
  listening = null;
  release();
  release = () => {};
}

/** Whether changes come in: "opening", "open" or "broken". */
export function useLine() {
  const [state, setState] = useState(line);
  useEffect(() => { lines.add(setState); setState(line); return () => lines.delete(setState); }, []);
  return state;
}

/** Read again at the soonest after: each page a little differently, so that not all that heard of a change ask at once. */
const SOON_MS = 200 + 100 * Math.random();

/** Answers that may be others in a moment: nobody was there, too much was asked, the ledger was held. */
const PASSING = new Set([0, 429, 503]);

/**
 * Data of the API that stays fresh.
 *
 * `path`: what to read; null reads nothing. `about(change)`: whether a change concerns it (default: every one).
 * `every`: read again after so many milliseconds in any case.
 * Gives `{data, problem, isLoading, reload}`; data that could not be renewed stays, beside the problem.
 */
export function useData(path, { about = () => true, every = 0 } = {}) {
  const [state, setState] = useState({ data: null, problem: null, isLoading: true, path });
  const concerns = useRef(about);
  concerns.current = about;
  const run = useRef(null);
  useEffect(() => {
    if (path === null) { setState({ data: null, problem: null, isLoading: false, path }); return undefined; }
    let isOver = false, isBusy = false, isDue = false, timer = null, last = 0;
    const read = async () => {
      if (isBusy) { isDue = true; return; }
      isBusy = true; isDue = false; last = Date.now();
      try {
        const data = await get(path);
        if (!isOver) setState({ data, problem: null, isLoading: false, path });
      } catch (problem) {
        if (!isOver) setState((before) => ({ data: before.path === path ? before.data : null, problem, isLoading: false, path }));
        if (!isOver && PASSING.has(problem.status)) soon(2000);
      }
      isBusy = false;
      if (isDue && !isOver) soon(SOON_MS - (Date.now() - last));
    };
    const soon = (wait) => {
      if (timer !== null) return;
      timer = setTimeout(() => { timer = null; read(); }, Math.max(0, wait));
    };
    const onChange = (change) => { if (change.kind === "reload" || concerns.current(change)) soon(SOON_MS - (Date.now() - last)); };
    listeners.add(onChange);
    run.current = read;
    setState((before) => (before.path === path ? before : { data: null, problem: null, isLoading: true, path }));
    read();
    const clock = every ? setInterval(() => { if (!document.hidden) read(); }, every) : null;
    return () => { isOver = true; listeners.delete(onChange); clearTimeout(timer); if (clock) clearInterval(clock); };
  }, [path, every]);
  const reload = useCallback(() => run.current && run.current(), []);
  return { ...(state.path === path ? state : { data: null, problem: null, isLoading: true }), reload };
}

const MOST_EMPTY = 20;

/**
 * A long list of the API, a page at a time, as long as somebody asks for more.
 *
 * `path`: the list, null reads nothing; a page may be empty and the list go on: then it is read on, `MOST_EMPTY` pages at most.
 * Gives `{items, last, problem, isLoading, isMore, more, reload}`; `last` is the newest page whole, with whatever stands beside its items.
 */
export function usePages(path) {
  const fresh = { path, items: [], last: null, problem: null, isLoading: path !== null, next: null };
  const [state, setState] = useState(fresh);
  const turn = useRef(0);
  const read = useCallback(async (items, after) => {
    turn.current += 1;
    const mine = turn.current;
    setState((before) => ({ ...before, path, items, problem: null, isLoading: true }));
    try {
      let next = after, last = null;
      const found = [...items];
      for (let page = 0; page < MOST_EMPTY && (page === 0 || (found.length === items.length && next !== null)); page += 1) {
        last = await get(next === null ? path : `${path}${path.includes("?") ? "&" : "?"}after=${encodeURIComponent(next)}`);
        if (mine !== turn.current) return;
        found.push(...last.items);
        next = last.next;
      }
      setState({ path, items: found, last, problem: null, isLoading: false, next });
    } catch (problem) {
      if (mine === turn.current) setState((before) => ({ ...before, path, problem, isLoading: false, next: after }));
    }
  }, [path]);
  useEffect(() => { turn.current += 1; if (path !== null) read([], null); return () => { turn.current += 1; }; }, [path]);
  const shown = state.path === path ? state : fresh;
  return { ...shown, isMore: shown.next !== null, more: () => read(shown.items, shown.next), reload: () => read([], null) };
}

/** Something to do when a button is pressed: `{isBusy, problem, done, run, clear}`; one at a time. */
export function useAction(work) {
  const [state, setState] = useState({ isBusy: false, problem: null, done: null });
  const current = useRef(work);
  current.current = work;
  const busy = useRef(false);
  const run = useCallback(async (...given) => {
    if (busy.current) return undefined;
    busy.current = true;
    setState({ isBusy: true, problem: null, done: null });
    try {
      const done = await current.current(...given);
      setState({ isBusy: false, problem: null, done: done === undefined ? true : done });
      return done;
    } catch (problem) {
      if (!(problem instanceof Problem)) console.error(problem);
      const shown = problem instanceof Problem ? problem : new Problem(-1, { code: "page", detail: `This page failed: ${problem.message}` });
      setState({ isBusy: false, problem: shown, done: null });
      return undefined;
    } finally {
      busy.current = false;
    }
  }, []);
  const clear = useCallback(() => setState({ isBusy: false, problem: null, done: null }), []);
  return { ...state, run, clear };
}
