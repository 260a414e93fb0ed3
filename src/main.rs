//! kvmc
fn main() {}
