// Options of the mailbox, a new PIN, and the password of this page.

import { Refusal, request } from "./api.js";
import { complaint, newPassword, onSubmit } from "./entry.js";
import { confirmed, say, tell } from "./notices.js";
import { languageName, stamp, t } from "./texts.js";

/** Shows the options. */
export function showOptions(main, signedIn) {
  main.replaceChildren(stamp("options"));
  const form = main.querySelector("[data-form=options]");
  const mailHint = main.querySelector("#options-mail-hint");

  form.missed_call_mail.disabled = !signedIn.session.mail;
  mailHint.textContent = t(signedIn.session.mail ? "options.mail_hint" : "options.no_mail");
  showStored();
  onSubmit(form, async () => {
    const change = changed();
    if (Object.keys(change).length > 0) await signedIn.changeOptions(change);
    say(t("options.saved"));
  });
  setUpPin(main.querySelector("[data-do=pin]"));
  setUpPassword(main.querySelector("[data-form=password]"));
  return { onOptions: showStored };

  function showStored() {
    const { options } = signedIn;
    form.play_on_phone_number.value = options.play_on_phone_number ?? "";
    form.missed_call_mail.checked = options.missed_call_mail;
    const languages = options.languages.map((code) => {
      return new Option(languageName(code), code, code === options.language, code === options.language);
    });
    form.language.replaceChildren(...languages);
  }

  /** Only what differs: another page's change of the rest stays. */
  function changed() {
    const entered = {
      play_on_phone_number: form.play_on_phone_number.value.trim() || null,
      missed_call_mail: form.missed_call_mail.checked,
      language: form.language.value,
    };
    return Object.fromEntries(Object.entries(entered).filter(([name, value]) => value !== signedIn.options[name]));
  }
}

function setUpPin(button) {
  const card = button.closest(".card");
  button.addEventListener("click", async () => {
    tell(card.querySelector(".error"), null);
    tell(card.querySelector(".done"), null);
    if (!(await confirmed(t("pin.confirm_title"), t("pin.confirm"), t("pin.yes")))) return;
    try {
      const { sent_to: address } = await request("POST", "/pin");
      tell(card.querySelector(".done"), t("pin.sent", { address }));
    } catch (refusal) {
      tell(card.querySelector(".error"), refusal.message);
    }
  });
}

function setUpPassword(form) {
  onSubmit(form, async () => {
    tell(form.querySelector(".done"), null);
    if (!form.old.value) throw complaint(form.old, t("password.empty"));
    const password = newPassword(form);
    try {
      await request("PUT", "/password", { old: form.old.value, new: password });
    } catch (refusal) {
      if (refusal instanceof Refusal && refusal.code === "wrong") throw complaint(form.old, t("error.wrong_old"));
      if (refusal.code === "weak") throw complaint(form.new, refusal.message);
      throw refusal;
    }
    form.reset();
    tell(form.querySelector(".done"), t("password.changed"));
  });
}
