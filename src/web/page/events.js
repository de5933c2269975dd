// What changes while the page is open: the service's events, or asking again where events do not come through.

const POLL_MS = 10_000;

/**
 * Watches until closed. `handlers` has a function per event: `messages`, `options`, `call`; and `missed` for calls that
 * may have changed unheard. Whenever events begin to come, and with every poll while they do not, all is reported as
 * changed.
 */
export function watch(handlers) {
  let source = null;
  const listeners = new AbortController();

  function connect() {
    source = new EventSource("/api/v1/events");
    source.addEventListener("open", missed);
    source.addEventListener("messages", () => handlers.messages());
    source.addEventListener("options", () => handlers.options());
    source.addEventListener("call", (event) => {
      const call = parsed(event.data);
      if (call) handlers.call(call);
    });
  }

  function missed() {
    handlers.messages();
    handlers.options();
    handlers.missed();
  }

  const timer = setInterval(() => {
    if (document.visibilityState === "hidden") return;
    // A browser gives up after an answer that is no stream; a service that restarts gives such answers.
    if (source.readyState === EventSource.CLOSED) connect();
    if (source.readyState === EventSource.OPEN) handlers.missed();
    else missed();
  }, POLL_MS);

  // A stream holds one of the few connections that a browser has for all its tabs: a hidden one gives it back.
  document.addEventListener(
    "visibilitychange",
    () => {
      source.close();
      if (document.visibilityState === "visible") connect();
    },
    { signal: listeners.signal },
  );
  connect();

  return {
    isOpen: () => source.readyState === EventSource.OPEN,
    close() {
      listeners.abort();
      clearInterval(timer);
      source.close();
    },
  };
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
