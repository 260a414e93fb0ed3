//! kvmc-images
