// What the page says: texts by key from texts.<language>.json, numbers and dates by Intl in the same language.

const FALLBACK = "en";
const MINUTE_SECS = 60;

/** Languages that a texts file is served for, named by the document. */
const languages = document.documentElement.dataset.languages.split(" ");

let language = FALLBACK;
let texts = {};

/** Loads the texts of a language, or of the nearest one there is. */
export async function setLanguage(wanted) {
  const short = wanted.split("-")[0];
  const chosen = [wanted, short].find((name) => languages.includes(name)) ?? FALLBACK;
  if (chosen !== language || Object.keys(texts).length === 0) {
    const answer = await fetch(`/assets/texts.${chosen}.json`);
    if (!answer.ok) throw new Error(`texts of ${chosen}: status ${answer.status}`);
    texts = await answer.json();
    language = chosen;
  }
  document.documentElement.lang = language;
  fill(document);
}

/** The text of a key. With `count` among the values the key's plural form is taken (`key.one`, `key.other`). */
export function t(key, values = {}) {
  if ("count" in values) key = `${key}.${new Intl.PluralRules(language).select(values.count)}`;
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

export function hasText(key) {
  return key in texts;
}

/** Writes the texts that a part of the document names: `data-text` as its content, `data-label` as its accessible name. */
export function fill(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  return root;
}

/** A copy of a template of the document, in words. */
export function stamp(id) {
  return fill(document.getElementById(id).content.cloneNode(true));
}

/** "3:05", as players show it. */
export function clock(secs) {
  const whole = Math.max(0, Math.floor(secs));
  return `${Math.floor(whole / MINUTE_SECS)}:${String(whole % MINUTE_SECS).padStart(2, "0")}`;
}

/** "3 minutes 5 seconds", as a screen reader should say it. */
export function spoken(secs) {
  const whole = Math.max(0, Math.round(secs));
  const parts = [
    [Math.floor(whole / MINUTE_SECS), "minute"],
    [whole % MINUTE_SECS, "second"],
  ].filter(([count], index) => count > 0 || (index === 1 && whole < MINUTE_SECS));
  return parts
    .map(([count, unit]) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(count))
    .join(" ");
}

/** When it was, as near as it matters: "today, 14:05", "yesterday, 9:30", else the date. */
export function when(instant, now = new Date()) {
  const time = new Intl.DateTimeFormat(language, { timeStyle: "short" }).format(instant);
  const days = Math.round((midnight(instant) - midnight(now)) / 86_400_000);
  const day =
    days === 0 || days === -1
      ? new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(days, "day")
      : new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(instant);
  return t("time.day", { day, time });
}

/** A language's name in itself. */
export function languageName(code) {
  return new Intl.DisplayNames([code], { type: "language" }).of(code) ?? code;
}

function midnight(instant) {
  return new Date(instant.getFullYear(), instant.getMonth(), instant.getDate());
}
