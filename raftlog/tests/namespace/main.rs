//! The namespace from outside: commands in, queries out.

mod listing;
mod model;
mod objects;
mod support;
