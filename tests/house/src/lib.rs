//! Reads the sources of a crate and checks their structure: imports between files, circles of imports, and lengths.
//!
//! Each path in the code (in `use`, in expressions, types and patterns, in the arguments of macros) counts as an import of
//! the file that defines the item, through any number of re-exports. A `mod x;` does not count, and a re-export from a
//! module below the file does not count either. Test code is left out: items under `#[cfg(test)]`, modules named
//! `tests`, and files named `tests.rs` or `…_tests.rs`.
//!
//! Files are named by their paths below the folder, such as `dns/zone.rs`.
#![allow(clippy::panic, reason = "for tests only")]

mod circle;
mod imports;
mod length;
mod modules;
mod names;
mod skip;
mod strings;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub use modules::File;

/// Most lines of a file.
pub const FILE_LINES: usize = 400;
/// Most lines of a function outside test code.
pub const FUNCTION_LINES: usize = 80;

/// The files that each file imports.
///
/// # Panics
/// A file cannot be read or is not Rust.
#[must_use]
pub fn imports(src: &Path) -> BTreeMap<File, BTreeSet<File>> {
    imported_names(src)
        .into_iter()
        .map(|(file, imported)| (file, imported.into_keys().collect()))
        .collect()
}

/// The files that each file imports, with the paths that its code uses.
///
/// # Panics
/// A file cannot be read or is not Rust.
#[must_use]
pub fn imported_names(src: &Path) -> BTreeMap<File, BTreeMap<File, BTreeSet<String>>> {
    imports::of(&modules::Modules::read(src))
}

/// The sets of files that import each other, directly or by way of others of the set.
///
/// # Panics
/// A file cannot be read or is not Rust.
#[must_use]
pub fn circles(src: &Path) -> Vec<Vec<File>> {
    circle::circles(&imports(src))
}

/// The files of more than `limit` lines, with their number of lines.
///
/// # Panics
/// A file cannot be read.
#[must_use]
pub fn long_files(src: &Path, limit: usize) -> Vec<(File, usize)> {
    length::files(src, limit)
}

/// The functions outside test code of more than `limit` lines from signature to closing brace, as `file: name`, with
/// their number of lines.
///
/// # Panics
/// A file cannot be read or is not Rust.
#[must_use]
pub fn long_functions(src: &Path, limit: usize) -> Vec<(String, usize)> {
    length::functions(&modules::Modules::read(src), limit)
}

/// The values of all string literals of a source, also in the arguments of macros, without documentation.
///
/// # Panics
/// The text is not Rust.
#[must_use]
pub fn strings(source: &str) -> Vec<String> {
    let tokens = source.parse();
    strings::strings(tokens.unwrap_or_else(|e| panic!("not Rust: {e}")))
}

/// All faults of the sources below `src`, one sentence for each: circles of imports, files over [`FILE_LINES`], functions
/// over [`FUNCTION_LINES`].
///
/// # Panics
/// A file cannot be read or is not Rust.
#[must_use]
pub fn faults(src: &Path) -> Vec<String> {
    let names = imported_names(src);
    let circle = |files: Vec<File>| {
        let mut text = format!("files import each other in a circle: {}", files.join(", "));
        for (from, imported) in files.iter().filter_map(|f| Some((f, names.get(f)?))) {
            for (to, by) in imported.iter().filter(|(to, _)| files.contains(to)) {
                let by: Vec<_> = by.iter().map(String::as_str).collect();
                text += &format!("\n  {from} -> {to}: {}", by.join(", "));
            }
        }
        text
    };
    let long_file = |(file, lines)| format!("{file} has {lines} lines; the limit is {FILE_LINES}");
    let long_function =
        |(name, lines)| format!("{name} has {lines} lines; the limit is {FUNCTION_LINES}");
    let circles = circles(src).into_iter().map(circle);
    let files = long_files(src, FILE_LINES).into_iter().map(long_file);
    let functions = long_functions(src, FUNCTION_LINES).into_iter();
    circles
        .chain(files)
        .chain(functions.map(long_function))
        .collect()
}

#[cfg(test)]
mod tests;
