// A recording to listen to: play, seek by pointer or keys, speed, its waveform. One plays at a time.

import { tell } from "./notices.js";
import { clock, spoken, stamp, t } from "./texts.js";

const SEEK_SECS = 5;
const PAGE_SECS = 15;
const SPEEDS = [0.75, 1, 1.25, 1.5, 2];
const WAVE_WIDTH = 800;
const WAVE_HEIGHT = 100;
const PEAKS_MAX = 200;

let playing = null;
/** Speed of every player from the last choice on, while the page is open. */
let speed = 1;
const open = new Set();

/** Ends all playing, when the view that held the players goes. */
export function stopPlayers() {
  for (const player of open) player.close();
}

/**
 * A player for `audioUrl`. `peaks` promises heights 0 to 1, or nothing. `onHeard` is called once, as soon as something
 * was heard; `onState` with true while it plays.
 */
export function createPlayer({ audioUrl, durationSecs, label, peaks, onHeard = () => {}, onState = () => {} }) {
  const element = stamp("player").firstElementChild;
  const audio = element.querySelector("audio");
  const slider = element.querySelector("input");
  const toggle = element.querySelector("[data-do=toggle]");
  const failed = element.querySelector(".error");
  let wasHeard = false;

  element.setAttribute("aria-label", label);
  element.querySelector(".download").href = audioUrl;
  slider.max = durationSecs;
  fillSpeeds();
  drawWave(element, []);
  peaks?.then((heights) => drawWave(element, heights)).catch(() => {});
  showPosition();
  showState(false);

  const player = { element, play, pause: () => audio.pause(), isPlaying: () => !audio.paused, close };
  open.add(player);

  toggle.addEventListener("click", () => (audio.paused ? play() : audio.pause()));
  slider.addEventListener("input", () => seek(Number(slider.value)));
  slider.addEventListener("keydown", onKey);
  audio.addEventListener("play", () => showState(true));
  audio.addEventListener("pause", () => showState(false));
  audio.addEventListener("ended", () => {
    showState(false);
    audio.currentTime = 0;
  });
  audio.addEventListener("error", () => audio.getAttribute("src") && tell(failed, t("player.failed")));
  audio.addEventListener("timeupdate", () => {
    showPosition();
    if (!wasHeard && !audio.paused && audio.currentTime > 0) {
      wasHeard = true;
      onHeard();
    }
  });
  return player;

  function load() {
    if (audio.getAttribute("src")) return;
    audio.src = audioUrl;
    audio.playbackRate = speed;
  }

  async function play() {
    if (playing && playing !== player) playing.pause();
    playing = player;
    tell(failed, null);
    if (audio.error) audio.removeAttribute("src");
    load();
    try {
      await audio.play();
    } catch (problem) {
      // AbortError: paused before it began, which is no failure.
      if (problem.name !== "AbortError") tell(failed, t("player.failed"));
    }
  }

  function close() {
    audio.pause();
    audio.removeAttribute("src");
    audio.load();
    open.delete(player);
    if (playing === player) playing = null;
  }

  function length() {
    return Number.isFinite(audio.duration) && audio.duration > 0 ? audio.duration : durationSecs;
  }

  function seek(secs) {
    load();
    audio.currentTime = Math.min(Math.max(secs, 0), length());
    showPosition();
    sayPosition();
  }

  function onKey(event) {
    const to = {
      ArrowLeft: audio.currentTime - SEEK_SECS,
      ArrowDown: audio.currentTime - SEEK_SECS,
      ArrowRight: audio.currentTime + SEEK_SECS,
      ArrowUp: audio.currentTime + SEEK_SECS,
      PageDown: audio.currentTime - PAGE_SECS,
      PageUp: audio.currentTime + PAGE_SECS,
      Home: 0,
      End: length(),
    }[event.key];
    if (event.key === " ") toggle.click();
    else if (to !== undefined) seek(to);
    else return;
    event.preventDefault();
  }

  function showPosition() {
    const position = Math.min(audio.currentTime, length());
    slider.max = length();
    slider.value = position;
    element.querySelector(".clock").textContent = `${clock(position)} / ${clock(length())}`;
    element.querySelector(".wave-played").style.clipPath = `inset(0 ${100 - (100 * position) / length()}% 0 0)`;
    if (audio.paused) sayPosition();
  }

  /** Not while it plays: a screen reader would talk over the message. */
  function sayPosition() {
    slider.setAttribute("aria-valuetext", t("player.at", { position: spoken(slider.value), length: spoken(length()) }));
  }

  function showState(plays) {
    toggle.setAttribute("aria-label", t(plays ? "player.pause" : "player.play"));
    toggle.querySelector("use").setAttribute("href", plays ? "#icon-pause" : "#icon-play");
    sayPosition();
    onState(plays);
  }

  function fillSpeeds() {
    const select = element.querySelector("select");
    for (const value of SPEEDS) select.add(new Option(`${value}×`, value, false, value === speed));
    select.addEventListener("change", () => {
      speed = Number(select.value);
      audio.playbackRate = speed;
    });
  }
}

/** Bars around the middle, as one path twice: what is to come, and over it what was played, cut at the position. */
function drawWave(element, heights) {
  const peaks = heights.length > 0 ? heights.slice(0, PEAKS_MAX) : new Array(PEAKS_MAX).fill(0);
  const step = WAVE_WIDTH / peaks.length;
  const loudest = Math.max(...peaks, 0.05);
  const path = peaks
    .map((peak, index) => {
      const height = Math.max(4, (peak / loudest) * WAVE_HEIGHT);
      const x = (index * step + step * 0.2).toFixed(1);
      return `M${x} ${((WAVE_HEIGHT - height) / 2).toFixed(1)}h${(step * 0.6).toFixed(1)}v${height.toFixed(1)}h-${(step * 0.6).toFixed(1)}z`;
    })
    .join("");
  for (const part of element.querySelectorAll(".wave path")) part.setAttribute("d", path);
}
