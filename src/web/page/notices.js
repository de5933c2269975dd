// What the page tells about the last action: one line that stays until the next one, with a way back where there is one.

import { t } from "./texts.js";

const region = document.getElementById("notice");
const words = document.getElementById("notice-words");
const undo = document.getElementById("notice-undo");

let onUndo = null;

document.getElementById("notice-close").addEventListener("click", clear);
undo.addEventListener("click", async () => {
  const back = onUndo;
  if (!back) return;
  onUndo = null;
  undo.hidden = true;
  try {
    await back();
    say(t("message.undone"));
  } catch (refusal) {
    say(refusal.message);
  }
});

/** Says what was done. `back`, an async function, is offered as Undo. */
export function say(text, back = null) {
  region.hidden = false;
  words.textContent = text;
  onUndo = back;
  undo.hidden = back === null;
}

/** Adds news that nobody asked for: what may still be undone stays on offer. */
export function add(text) {
  if (region.hidden || !onUndo) say(text);
  else words.textContent = `${words.textContent} ${text}`;
}

export function clear() {
  if (region.contains(document.activeElement)) document.getElementById("main").focus();
  region.hidden = true;
  words.textContent = "";
  onUndo = null;
}

/** Puts a sentence into an element that is hidden while it has none. */
export function tell(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

/** Asks before what cannot be undone. True if the user agrees. */
export function confirmed(title, text, yes) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-words").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
