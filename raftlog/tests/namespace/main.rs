//! The namespace from outside: commands in, queries out.

mod objects;
mod support;
