// Play on Phone: the question which phone to ring, the call's state while it lives, and hanging it up.

import { request } from "./api.js";
import { complaint, onSubmit } from "./entry.js";
import { say, tell } from "./notices.js";
import { t } from "./texts.js";

const POLL_MS = 1000;
/** In this order; a late answer never takes a call back. */
const STATES = ["idle", "connecting", "alerted", "connected", "disconnected"];
const FAILURES = ["busy", "no_answer", "unavailable", "other"];

const bar = document.getElementById("call");
const title = document.getElementById("call-title");
const words = document.getElementById("call-state");
const hangUp = document.getElementById("call-hang-up");
const done = document.getElementById("call-close");
const dialog = document.getElementById("phone");

/** The calls of who is signed in. `onEnded` hears of each call that has ended. */
export function createCalls(signedIn, onEnded) {
  let current = null;
  let opener = null;
  let timer = null;
  const listeners = new AbortController();

  const { signal } = listeners;
  hangUp.addEventListener("click", endCall, { signal });
  done.addEventListener("click", hide, { signal });
  window.addEventListener("hashchange", () => isLive() && remember(), { signal });
  resume();

  return { isPossible: () => signedIn.session.play_on_phone, ask, onEvent, refresh, close };

  /**
   * Asks for the phone, then rings it. `what` is the body's part that says what is to be done there, `title` and
   * `intro` what the dialog says of it.
   */
  function ask(what, { title, intro }) {
    opener = document.activeElement;
    const form = fresh(dialog.querySelector("form"));
    const stored = signedIn.options.play_on_phone_number ?? "";
    document.getElementById("phone-title").textContent = title;
    document.getElementById("phone-intro").textContent = intro;
    form.to.value = stored;
    form.keep.checked = stored === "";
    form.querySelector("[data-do=cancel]").addEventListener("click", () => dialog.close());
    onSubmit(form, async () => {
      const to = form.to.value.trim();
      if (!to) throw complaint(form.to, t("phone.empty"));
      await place(what, to, stored, form.keep.checked).catch((refusal) => {
        throw refusal.code === "not_allowed" ? complaint(form.to, refusal.message) : refusal;
      });
    });
    dialog.showModal();
    form.to.select();
  }

  async function place(what, to, stored, isKept) {
    const call = await request("POST", "/calls", to === stored ? what : { ...what, to });
    dialog.close();
    current = { id: call.id, state: null, number: to };
    remember();
    show(call);
    bar.focus();
    if (isKept && to !== stored) {
      await signedIn.changeOptions({ play_on_phone_number: to }).catch((refusal) => say(refusal.message));
    }
    // A state may have come as an event before this page knew the call's id.
    await refresh();
  }

  /** An event of any call of this mailbox, also of one that another page or a reload has left behind. */
  function onEvent(call) {
    if (!isLive() && call.id !== current?.id && call.state !== "disconnected") {
      current = { id: call.id, state: null, number: null };
      remember();
    }
    if (call.id === current?.id) show(call);
  }

  function show(call) {
    if (!current || STATES.indexOf(call.state) < STATES.indexOf(current.state)) return;
    if (call.state === current.state) return;
    current.state = call.state;
    bar.hidden = false;
    bar.dataset.state = call.state;
    title.textContent = current.number ? t("call.ringing_up", { number: current.number }) : t("call.elsewhere");
    words.textContent = sentence(call);
    if (isLive()) {
      showButton(hangUp, done);
      poll();
    } else {
      showButton(done, hangUp);
      clearTimeout(timer);
      forget();
      onEnded(call);
    }
  }

  function isLive() {
    return current !== null && current.state !== "disconnected";
  }

  /** Only while no events come: they are faster. */
  function poll() {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (!signedIn.events.isOpen()) await refresh();
      if (isLive()) poll();
    }, POLL_MS);
  }

  async function refresh() {
    if (!isLive()) return;
    const { id } = current;
    try {
      const call = await request("GET", `/calls/${encodeURIComponent(id)}`);
      if (current?.id === id) show(call);
    } catch (refusal) {
      if (refusal.status === 404 && current?.id === id) lose();
    }
  }

  async function endCall() {
    if (!current) return;
    hangUp.setAttribute("aria-disabled", "true");
    try {
      await request("DELETE", `/calls/${encodeURIComponent(current.id)}`);
      await refresh();
    } catch (refusal) {
      if (refusal.status === 404) await refresh();
      else words.textContent = refusal.message;
    } finally {
      hangUp.removeAttribute("aria-disabled");
    }
  }

  function lose() {
    show({ id: current.id, state: "disconnected", cause: "lost" });
  }

  function hide() {
    if (isLive()) return;
    current = null;
    const hadFocus = bar.contains(document.activeElement);
    bar.hidden = true;
    const back = opener?.isConnected ? opener : document.querySelector("#main h1");
    if (hadFocus) back?.focus();
  }

  /** A call outlives a reload of the page: its id stays with the history's entry, and nowhere else. */
  function remember() {
    history.replaceState({ call: current.id, number: current.number, owner: owner() }, "");
  }

  /** Entries further back are out of reach: whoever signs in next must not take theirs for his own. */
  function owner() {
    const { plan, address } = signedIn.session.mailbox;
    return `${plan} ${address}`;
  }

  function forget() {
    if (history.state?.call) history.replaceState(null, "");
  }

  function resume() {
    if (!history.state?.call || history.state.owner !== owner()) return;
    current = { id: history.state.call, state: null, number: history.state.number };
    // After this turn: the session's parts are not all there yet.
    queueMicrotask(refresh);
  }

  function close() {
    clearTimeout(timer);
    listeners.abort();
    forget();
    current = null;
    bar.hidden = true;
  }
}

/** Puts one button in the place of another, and the focus with it. */
function showButton(shown, gone) {
  const hadFocus = document.activeElement === gone;
  shown.hidden = false;
  if (hadFocus) shown.focus();
  gone.hidden = true;
}

function sentence(call) {
  if (call.state !== "disconnected") return t(`call.${call.state}`);
  if (call.cause === "lost") return t("call.lost");
  const status = call.sip_status ? t("call.status", { status: call.sip_status }) : "";
  return FAILURES.includes(call.cause) ? t(`call.${call.cause}`, { status }) : t("call.disconnected");
}

/** The dialog's form without the listeners and the words of the last time. */
function fresh(form) {
  const copy = form.cloneNode(true);
  form.replaceWith(copy);
  tell(copy.querySelector(".error"), null);
  for (const field of copy.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  copy.ariaBusy = "false";
  return copy;
}
