//! The UM service: starts two worker slots, redirects calls to the active one.
