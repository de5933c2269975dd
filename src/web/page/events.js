// What changes while the page is open: the service's events, or asking again where events do not come through.

const POLL_MS = 10_000;

/**
 * Watches until closed. `handlers` has a function per event: `messages`, `options`, `call`. After each reconnection,
 * and with every poll while there are no events, what may have been missed is reported as changed.
 */
export function watch(handlers) {
  let source = null;
  let opened = false;

  function connect() {
    source = new EventSource("/api/v1/events");
    source.addEventListener("open", () => {
      if (opened) missed();
      opened = true;
    });
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
  }

  const timer = setInterval(() => {
    // A browser gives up after an answer that is no stream; a service that restarts gives such answers.
    if (source.readyState === EventSource.CLOSED) connect();
    if (source.readyState !== EventSource.OPEN) {
      opened = true;
      missed();
    }
  }, POLL_MS);
  connect();

  return {
    isOpen: () => source.readyState === EventSource.OPEN,
    close() {
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
