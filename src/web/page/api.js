// The web services as this page asks them: JSON in and out, the session's token on every change, refusals in words.

import { hasText, spoken, t } from "./texts.js";

const ROOT = "/api/v1";
const ANSWER_MS_MAX = 20_000;
/** Beyond this a wait is not worth naming. */
const WAIT_SECS_MAX = 3600;

let csrf = null;
let onSignedOut = () => {};

/** What the service said no to; `message` is a sentence for the user. */
export class Refusal extends Error {
  constructor(status, code, message, retryAfterSecs) {
    super(message);
    Object.assign(this, { status, code, retryAfterSecs });
  }
}

/** Whom to tell when the session has ended. */
export function whenSignedOut(callback) {
  onSignedOut = callback;
}

/** The session of the browser's cookie, or null. */
export async function session() {
  try {
    return keep(await ask("GET", "/session"));
  } catch (refusal) {
    if (refusal.status === 401) return null;
    throw refusal;
  }
}

export async function signIn(mailbox, password, plan) {
  return keep(await ask("POST", "/session", plan ? { mailbox, password, plan } : { mailbox, password }));
}

export async function signOut() {
  await request("DELETE", "/session");
  csrf = null;
}

/** Asks for what needs a session. A session that has ended is reported besides being refused. */
export async function request(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (refusal) {
    if (refusal.status === 401 && refusal.code === "signed_out") onSignedOut();
    // Another tab has signed in again since: what is shown here may be another mailbox's.
    if (refusal.status === 403 && method !== "GET" && (await isAnotherSession())) location.reload();
    throw refusal;
  }
}

/** Where a message's or greeting's audio is, for players and downloads. */
export function url(path) {
  return ROOT + path;
}

async function ask(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  let answer;
  try {
    answer = await fetch(ROOT + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
      cache: "no-store",
    });
  } catch {
    throw new Refusal(0, "unreachable", t("error.unreachable"));
  }
  const content = await answer.json().catch(() => null);
  if (!answer.ok) throw refusal(answer, content);
  return content;
}

function refusal(answer, content) {
  const code = content?.error ?? "unknown";
  const retryAfterSecs = Number(answer.headers.get("Retry-After")) || null;
  return new Refusal(answer.status, code, sentence(answer.status, code, content?.message, retryAfterSecs), retryAfterSecs);
}

function sentence(status, code, message, retryAfterSecs) {
  if (code === "locked") {
    return retryAfterSecs && retryAfterSecs <= WAIT_SECS_MAX
      ? t("error.locked", { wait: spoken(retryAfterSecs) })
      : t("error.locked_long");
  }
  if (hasText(`error.${code}`) && code !== "unknown") return t(`error.${code}`);
  return message ?? t("error.unknown", { status });
}

function keep(session) {
  csrf = session.csrf;
  return session;
}

async function isAnotherSession() {
  const shown = csrf;
  const current = await session().catch(() => null);
  return current !== null && current.csrf !== shown;
}
