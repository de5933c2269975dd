// Greetings: which one callers hear, and the recordings to listen to or to make by phone.

import { request, url } from "./api.js";
import { say, tell } from "./notices.js";
import { createPlayer } from "./player.js";
import { clock, stamp, t } from "./texts.js";

/** Shows the greetings. */
export function showGreetings(main, signedIn) {
  main.replaceChildren(stamp("greetings"));
  const list = main.querySelector(".recordings");
  const error = main.querySelector(".error");
  const radios = [...main.querySelectorAll("[name=greeting]")];
  const rows = new Map();
  /** Counts the calls that may have recorded anew: the browser must not play what it fetched before. */
  let edition = 0;

  main.querySelector(".no-phone").hidden = signedIn.calls.isPossible();
  for (const radio of radios) radio.addEventListener("change", () => use(radio.value));
  showUsed();
  load();
  return { onOptions: refresh, onCallEnded };

  async function onCallEnded() {
    edition += 1;
    await refresh();
  }

  async function refresh() {
    showUsed();
    await load();
  }

  async function load() {
    try {
      const { greetings } = await request("GET", "/greetings");
      if (!main.contains(list)) return;
      for (const greeting of greetings) showRecording(greeting);
      for (const radio of radios) {
        const recording = greetings.find((greeting) => greeting.kind === radio.value);
        radio.disabled = recording ? !recording.recorded && !radio.checked : false;
      }
      tell(error, null);
    } catch (refusal) {
      tell(error, refusal.message);
    }
  }

  function showUsed() {
    for (const radio of radios) radio.checked = radio.value === signedIn.options.greeting;
  }

  async function use(greeting) {
    try {
      await signedIn.changeOptions({ greeting });
      say(t("greetings.now", { greeting: t(`greetings.${greeting}`) }));
      tell(error, null);
    } catch (refusal) {
      showUsed();
      tell(error, refusal.message);
    }
  }

  function showRecording(greeting) {
    const shown = rows.get(greeting.kind);
    const row = shown?.element ?? createRow(greeting.kind);
    const isSame =
      shown &&
      shown.edition === edition &&
      shown.recorded === greeting.recorded &&
      shown.duration_secs === greeting.duration_secs;
    rows.set(greeting.kind, { ...greeting, element: row, edition, player: shown?.player });
    if (isSame) return;
    const length = greeting.recorded ? clock(greeting.duration_secs ?? 0) : null;
    row.querySelector(".recording-state").textContent = greeting.recorded
      ? t("greetings.recorded", { length })
      : t("greetings.missing");
    const again = greeting.recorded ? "greetings.record_again" : "greetings.record";
    row.querySelector(".record-words").textContent = t(again);
    for (const action of row.querySelectorAll(".actions button")) {
      const name = t(`greetings.${greeting.kind}`);
      const isPossible = action.dataset.do === "record" || greeting.recorded;
      action.hidden = !signedIn.calls.isPossible() || !isPossible;
      action.setAttribute("aria-label", t("greetings.action", { action: action.textContent.trim(), greeting: name }));
    }
    showPlayer(row, greeting, shown?.player);
  }

  function showPlayer(row, greeting, former) {
    former?.close();
    const place = row.querySelector(".recording-player");
    if (!greeting.recorded) {
      place.replaceChildren();
      return;
    }
    const player = createPlayer({
      audioUrl: `${url(`/greetings/${greeting.kind}/audio`)}?edition=${edition}`,
      durationSecs: greeting.duration_secs ?? 0,
      label: t("greetings.player", { greeting: t(`greetings.${greeting.kind}`) }),
    });
    rows.get(greeting.kind).player = player;
    place.replaceChildren(player.element);
  }

  function createRow(kind) {
    const row = stamp("recording").firstElementChild;
    const greeting = t(`greetings.${kind}`);
    row.dataset.kind = kind;
    row.querySelector(".recording-name").textContent = greeting;
    row.querySelector("[data-do=phone]").addEventListener("click", () => {
      const intro = t("phone.intro_greeting", { greeting });
      signedIn.calls.ask({ play: { greeting: kind } }, { title: t("phone.title_greeting"), intro });
    });
    row.querySelector("[data-do=record]").addEventListener("click", () => {
      const intro = t("phone.intro_record", { greeting });
      signedIn.calls.ask({ record: { greeting: kind } }, { title: t("phone.title_record"), intro });
    });
    list.append(row);
    return row;
  }
}
