//! Cluster files from the files of other programs, without I/O. What cannot be carried over is listed.

mod boxes;
mod draft;
mod hosts;
mod libvirt;
mod roles;
mod spans;
#[cfg(test)]
mod tests;
mod vagrant;
mod xml;

pub(crate) use draft::Carried;
pub(crate) use libvirt::from_libvirt;
pub(crate) use vagrant::from_vagrant;
