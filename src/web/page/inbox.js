// The messages: new, saved and deleted ones, each with its player and what can be done with it.

import { request, url } from "./api.js";
import { add, say, tell } from "./notices.js";
import { createPlayer } from "./player.js";
import { clock, spoken, stamp, t, when } from "./texts.js";

const FOLDERS = ["new", "saved", "deleted"];
const ACTIONS = {
  new: ["phone", "save", "delete"],
  saved: ["phone", "new", "delete"],
  deleted: ["restore"],
};
/** Action -> the state it brings, and what is said then. */
const MOVES = {
  save: { state: "saved", said: "message.is_saved" },
  new: { state: "new", said: "message.is_new" },
  delete: { state: "deleted", said: "message.is_deleted" },
  restore: { state: "saved", said: "message.is_restored" },
};

/** Shows one folder of the inbox. */
export function showInbox(main, signedIn, [wanted]) {
  const folder = FOLDERS.includes(wanted) ? wanted : "new";
  main.replaceChildren(stamp("inbox"));
  const list = main.querySelector(".messages");
  const rows = new Map();
  let messages = [];
  let isKnown = false;
  let opened = null;
  let asked = 0;

  for (const link of main.querySelectorAll(".folders a")) {
    if (link.dataset.folder === folder) link.setAttribute("aria-current", "page");
  }
  load();
  return { onMessages: load };

  async function load() {
    const turn = ++asked;
    try {
      const [kept, deleted] = await Promise.all([
        request("GET", "/messages"),
        folder === "deleted" ? request("GET", "/messages?state=deleted") : null,
      ]);
      // An answer that was overtaken by a later question is old.
      if (turn !== asked || !main.contains(list)) return;
      const before = messages;
      messages = [...kept.messages, ...(deleted?.messages ?? [])];
      tell(main.querySelector(".error"), null);
      if (isKnown) announce(before);
      isKnown = true;
      show();
    } catch (refusal) {
      if (turn === asked) tell(main.querySelector(".error"), refusal.message);
    }
  }

  function announce(before) {
    const known = new Set(before.map((message) => message.id));
    const count = messages.filter((message) => message.state === "new" && !known.has(message.id)).length;
    if (count > 0) add(t("inbox.arrived", { count }));
  }

  function show() {
    for (const link of main.querySelectorAll(".folders a")) {
      const count = messages.filter((message) => message.state === link.dataset.folder).length;
      const isCounted = link.dataset.folder !== "deleted" || folder === "deleted";
      link.querySelector(".count").textContent = isCounted ? count : "";
    }
    // What is being heard stays in sight, though hearing it made it a saved one.
    const visible = messages
      .filter((message) => message.state === folder || (message.id === opened && message.state !== "deleted"))
      .sort((one, other) => Date.parse(other.received) - Date.parse(one.received));
    reconcile(visible);
    const empty = main.querySelector(".empty");
    tell(empty, visible.length === 0 ? t(`inbox.empty_${folder}`) : null);
  }

  /** Rows stay as they are while their messages do: playing and focus go on. */
  function reconcile(visible) {
    const ids = new Set(visible.map((message) => message.id));
    const focused = [...rows.values()].find((row) => row.element.contains(document.activeElement));
    const place = focused ? [...list.children].indexOf(focused.element) : -1;
    for (const [id, row] of rows) {
      if (ids.has(id)) continue;
      row.close();
      rows.delete(id);
    }
    visible.forEach((message, index) => {
      const row = rows.get(message.id) ?? createRow(message);
      rows.set(message.id, row);
      row.update(message);
      if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
    });
    if (focused && !focused.element.isConnected) {
      const next = list.children[Math.min(place, list.children.length - 1)];
      (next?.querySelector("[data-do=play]") ?? main.querySelector("h1")).focus();
    } else if (focused?.element.contains(document.activeElement) && document.activeElement.hidden) {
      focused.element.querySelector("[data-do=play]").focus();
    }
  }

  function createRow(first) {
    const element = stamp("message").firstElementChild;
    const button = element.querySelector("[data-do=play]");
    const caller = callerOf(first);
    const received = new Date(first.received);
    let message = first;
    let player = null;
    let isPlaying = false;

    element.querySelector(".caller-name").textContent = caller;
    element.querySelector(".caller-number").textContent = first.caller.name ? (first.caller.number ?? "") : "";
    const time = element.querySelector("time");
    time.dateTime = first.received;
    element.querySelector(".length").textContent = clock(first.duration_secs);
    element.querySelector(".length").setAttribute("aria-label", spoken(first.duration_secs));
    element.querySelector(".partial").hidden = !first.partial;
    button.addEventListener("click", () => (player?.isPlaying() ? player.pause() : open()));
    for (const action of element.querySelectorAll(".actions button")) {
      action.addEventListener("click", () => (action.dataset.do === "phone" ? phone() : act(action.dataset.do)));
    }
    return { element, update, close, shut };

    function update(current) {
      message = current;
      time.textContent = when(received);
      const words = { caller, when: time.textContent };
      nameButton();
      element.classList.toggle("is-new", message.state === "new");
      element.querySelector(".tag").hidden = message.state !== "new";
      for (const action of element.querySelectorAll(".actions button")) {
        const name = action.dataset.do;
        const isPossible = name !== "phone" || signedIn.calls.isPossible();
        action.hidden = !ACTIONS[message.state].includes(name) || !isPossible;
        action.setAttribute("aria-label", t("message.action", { action: action.textContent.trim(), ...words }));
      }
    }

    function open() {
      if (!player) {
        const path = `/messages/${encodeURIComponent(message.id)}`;
        player = createPlayer({
          audioUrl: url(`${path}/audio`),
          durationSecs: message.duration_secs,
          label: t("message.player", { caller }),
          peaks: request("GET", `${path}/waveform`).then((waveform) => waveform.peaks),
          onHeard: heard,
          onState: (plays) => {
            isPlaying = plays;
            nameButton();
          },
        });
        element.querySelector(".message-player").replaceChildren(player.element);
        button.setAttribute("aria-expanded", "true");
        const former = opened;
        opened = message.id;
        if (former && former !== opened) rows.get(former)?.shut();
        show();
      }
      player.play();
    }

    function nameButton() {
      const key = isPlaying ? "message.pause" : "message.play";
      button.setAttribute("aria-label", t(key, { caller, when: time.textContent }));
      button.querySelector("use").setAttribute("href", isPlaying ? "#icon-pause" : "#icon-play");
    }

    function shut() {
      player?.close();
      player = null;
      element.querySelector(".message-player").replaceChildren();
      button.setAttribute("aria-expanded", "false");
    }

    /** As by phone: a new message of which something was heard is a saved one. */
    async function heard() {
      if (message.state !== "new") return;
      try {
        await move(message.id, "saved");
      } catch {
        // It stays new, which is true; hearing goes on.
      }
    }

    async function act(name) {
      const from = message.state;
      const { state, said } = MOVES[name];
      if (opened === message.id) opened = null;
      try {
        await move(message.id, state);
        say(t(said, { caller }), async () => {
          await move(message.id, from);
        });
      } catch (refusal) {
        say(refusal.message);
        load();
      }
    }

    function phone() {
      signedIn.calls.ask(
        { play: { message: message.id } },
        { title: t("phone.title_message"), intro: t("phone.intro_message", { caller }) },
      );
    }

    function close() {
      shut();
      element.remove();
    }
  }

  async function move(id, state) {
    const changed = await request("PATCH", `/messages/${encodeURIComponent(id)}`, { state });
    // A question asked before the change has an old answer.
    asked += 1;
    const index = messages.findIndex((message) => message.id === id);
    if (index >= 0) messages[index] = changed;
    else messages.push(changed);
    if (main.contains(list)) show();
  }
}

function callerOf(message) {
  return message.caller.name ?? message.caller.number ?? t("inbox.unknown");
}
