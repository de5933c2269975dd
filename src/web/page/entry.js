// The ways in: signing in, and setting a password by a one-time link.

import { request, signIn } from "./api.js";
import { tell } from "./notices.js";
import { stamp, t } from "./texts.js";

/** Shows the form to sign in, with a sentence about what was before. `onSession` gets the session. */
export function showSignIn(main, { done, error } = {}, onSession) {
  main.replaceChildren(stamp("sign-in"));
  const form = main.querySelector("form");
  tell(form.querySelector(".done"), done);
  tell(form.querySelector(".error"), error);
  form.mailbox.dataset.first = "";
  onSubmit(form, async () => {
    tell(form.querySelector(".done"), null);
    const mailbox = form.mailbox.value.trim();
    const password = form.password.value;
    if (!mailbox || !password) throw complaint(mailbox ? form.password : form.mailbox, t("sign_in.empty"));
    try {
      await onSession(await signIn(mailbox, password, form.plan.value.trim()));
    } catch (refusal) {
      form.password.value = "";
      throw complaint(form.password, refusal.message);
    }
  });
}

/** Shows the form of a one-time link. `onDone` is called when the password is set. */
export function showLink(main, token, onDone) {
  main.replaceChildren(stamp("link"));
  const form = main.querySelector("form");
  onSubmit(form, async () => {
    const password = newPassword(form);
    await request("POST", `/links/${encodeURIComponent(token)}/password`, { password });
    onDone();
  });
}

/** The password that a form's fields `new` and `again` agree on; a complaint else. */
export function newPassword(form) {
  if (!form.new.value) throw complaint(form.new, t("password.empty"));
  if (form.new.value !== form.again.value) throw complaint(form.again, t("password.differ"));
  return form.new.value;
}

/** An error about one field. */
export function complaint(field, text) {
  return Object.assign(new Error(text), { field });
}

/** Runs `action` when the form is sent, once at a time; what goes wrong is said in the form, at the field it is about. */
export function onSubmit(form, action) {
  const error = form.querySelector(".error");
  const button = form.querySelector("[type=submit]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    button.setAttribute("aria-disabled", "true");
    tell(error, null);
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    try {
      await action();
    } catch (problem) {
      tell(error, problem.message);
      problem.field?.setAttribute("aria-invalid", "true");
      problem.field?.focus();
    } finally {
      form.ariaBusy = "false";
      button.removeAttribute("aria-disabled");
    }
  });
}
