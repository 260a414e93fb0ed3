//! kvmc-qmp
