// The page as a whole: who is signed in, which view is shown, and what the service's events mean to it.

import { request, session as readSession, signOut, whenSignedOut } from "./api.js";
import { createCalls } from "./calls.js";
import { showLink, showSignIn } from "./entry.js";
import { watch } from "./events.js";
import { showGreetings } from "./greetings.js";
import { showInbox } from "./inbox.js";
import { clear, say } from "./notices.js";
import { showOptions } from "./options.js";
import { stopPlayers } from "./player.js";
import { setLanguage, t } from "./texts.js";

const VIEWS = { inbox: showInbox, greetings: showGreetings, options: showOptions };
const LINK = "#/link/";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const account = document.getElementById("account");

/** The session of who is signed in, its options, its events and its calls; null while nobody is. */
let signedIn = null;
/** The view shown: its hooks `onMessages`, `onOptions`, `onCallEnded`, each optional. */
let view = {};
let shown = null;
let isFirst = true;

await setLanguage(navigator.language).catch((error) => {
  document.getElementById("broken").hidden = false;
  throw error;
});
whenSignedOut(() => signedIn && leave(t("sign_in.signed_out")));
window.addEventListener("hashchange", route);
document.getElementById("sign-out").addEventListener("click", async () => {
  try {
    await signOut();
    leave(t("sign_in.bye"));
  } catch (refusal) {
    // Who clicked means to be gone: a session that has ended already is what was asked for.
    if (refusal.status !== 401) say(refusal.message);
  }
});
document.getElementById("skip").addEventListener("click", (event) => {
  // The address holds the view, so it cannot hold the target as well.
  event.preventDefault();
  main.focus();
});

if (location.hash.startsWith(LINK)) {
  route();
} else {
  await start();
}

async function start() {
  try {
    const session = await readSession();
    if (session) await enter(session);
    else showEntry();
  } catch (refusal) {
    showEntry({ error: refusal.message });
  }
}

/** Shows the mailbox of a session that has just begun or was there already. */
async function enter(session) {
  await setLanguage(session.mailbox.language);
  const options = await request("GET", "/options");
  signedIn = { session, options };
  signedIn.calls = createCalls(signedIn, (call) => view.onCallEnded?.(call));
  signedIn.events = watch({
    messages: () => view.onMessages?.(),
    options: reloadOptions,
    call: (call) => signedIn?.calls.onEvent(call),
    missed: () => signedIn?.calls.refresh(),
  });
  Object.assign(signedIn, { changeOptions, leave });
  nameAccount();
  route();
}

function leave(done) {
  signedIn?.events.close();
  signedIn?.calls.close();
  signedIn = null;
  clear();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close("no");
  showEntry({ done });
}

function showEntry(said = {}) {
  show(t("sign_in.title"), () => showSignIn(main, said, enter));
}

function route() {
  if (location.hash.startsWith(LINK)) {
    const token = location.hash.slice(LINK.length);
    show(t("link.title"), () => showLink(main, token, onPasswordSet));
    return;
  }
  if (!signedIn) {
    if (!isFirst) showEntry();
    return;
  }
  const [name, ...rest] = location.hash.replace(/^#\//, "").split("/");
  const chosen = Object.hasOwn(VIEWS, name) ? name : "inbox";
  if (chosen !== shown) clear();
  shown = chosen;
  for (const link of nav.children) {
    if (link.dataset.view === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  show(t(`nav.${chosen}`), () => VIEWS[chosen](main, signedIn, rest));
}

/** The link's token leaves the address and the history: it is of no more use, and nobody's business. Who was signed in
 * here has no session any more. */
function onPasswordSet() {
  history.replaceState(null, "", "#/");
  leave(t("sign_in.password_set"));
}

function show(title, build) {
  stopPlayers();
  view.close?.();
  main.replaceChildren();
  document.title = t("title", { view: title });
  nav.hidden = account.hidden = signedIn === null || location.hash.startsWith(LINK);
  view = build() ?? {};
  // Whoever goes on by keyboard or hears the page starts at the new view, not where the old one was.
  if (!isFirst) (main.querySelector("[data-first]") ?? main.querySelector("h1"))?.focus();
  isFirst = false;
}

function nameAccount() {
  const { name, address } = signedIn.session.mailbox;
  document.getElementById("account-name").textContent = name
    ? t("account.name", { name, address })
    : t("account.address", { address });
}

async function changeOptions(change) {
  await takeOptions(await request("PATCH", "/options", change));
}

async function reloadOptions() {
  if (!signedIn) return;
  try {
    await takeOptions(await request("GET", "/options"));
  } catch {
    // The next event or poll asks again; what is shown stays.
  }
}

async function takeOptions(options) {
  if (!signedIn) return;
  const isOtherLanguage = options.language !== signedIn.options.language;
  signedIn.options = options;
  if (isOtherLanguage) {
    await setLanguage(options.language);
    nameAccount();
    route();
  } else {
    view.onOptions?.();
  }
}
