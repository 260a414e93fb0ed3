//! kvmc as its users run it. Every test is in a network namespace of its own, on a state folder of its
//! own, and leaves neither.

mod bad_input;
mod guests;
mod support;
