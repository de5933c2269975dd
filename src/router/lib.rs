//! The call router: redirects, proxies, touches no media.
