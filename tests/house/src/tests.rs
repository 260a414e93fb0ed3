use tempfile::TempDir;

use super::*;

/// A crate with these files; `lib.rs` is one of them.
fn sources(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// `from -> to` of each import, one a line.
fn arrows(files: &[(&str, &str)]) -> String {
    let folder = sources(files);
    let mut text = String::new();
    for (from, imported) in imports(folder.path()) {
        for to in imported {
            text += &format!("{from} -> {to}\n");
        }
    }
    text
}

#[test]
fn an_import_leads_to_the_file_that_the_module_path_names() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod c; mod d; pub struct Top;"),
        (
            "a/c.rs",
            "use super::d::X; use super::Top; fn f(_: Top, _: X) {}",
        ),
        ("a/d.rs", "pub struct X;"),
        ("b.rs", "mod e; use crate::a::Top; fn f() -> Top { Top }"),
        ("b/e.rs", "fn f() -> u8 { crate::a::d::X; 0 }"),
    ]);
    assert_eq!(
        found,
        "a/c.rs -> a/d.rs\na/c.rs -> a/mod.rs\nb.rs -> a/mod.rs\nb/e.rs -> a/d.rs\n"
    );
}

#[test]
fn an_import_by_way_of_reexports_leads_to_the_file_that_defines_the_item() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; pub use a::X; pub use b::*;"),
        (
            "a/mod.rs",
            "mod c; mod d; mod e; pub(crate) use c::{Y as X, Z}; use e::Hidden; pub use self::d::d;",
        ),
        ("a/c.rs", "pub struct Y; pub struct Z;"),
        (
            "a/d.rs",
            "use super::{X, Hidden}; pub fn d(_: X, _: Hidden) {}",
        ),
        ("a/e.rs", "pub struct Hidden; fn f(_: crate::W) {}"),
        ("b.rs", "pub struct W; fn f(_: crate::X) { crate::a::d() }"),
    ]);
    assert_eq!(
        found,
        "a/d.rs -> a/c.rs\na/d.rs -> a/e.rs\na/e.rs -> b.rs\na/mod.rs -> a/e.rs\nb.rs -> a/c.rs\nb.rs -> a/d.rs\n"
    );
}

#[test]
fn a_module_that_only_declares_and_offers_those_below_it_imports_nothing() {
    let files = |rest: &'static str| {
        arrows(&[
            ("lib.rs", "mod a; mod b; pub use a::X;"),
            ("a/mod.rs", rest),
            ("a/c.rs", "pub struct X;"),
            ("b.rs", "pub struct Y;"),
        ])
    };
    assert_eq!(files("mod c; pub use c::X;"), "");
    assert_eq!(
        files("mod c; pub use c::X; fn f(_: X) {}"),
        "a/mod.rs -> a/c.rs\n"
    );
    assert_eq!(
        files("mod c; pub use c::X; use c::X as _;"),
        "a/mod.rs -> a/c.rs\n"
    );
    let from_elsewhere = "mod c; pub use c::X; pub use crate::b::Y;";
    assert_eq!(files(from_elsewhere), "a/mod.rs -> b.rs\n");
}

#[test]
fn paths_count_wherever_they_stand() {
    let other = "pub enum E { V } pub fn f() {} pub const C: u8 = 0; pub trait T {} pub mod m { pub fn g() {} } macro_rules! q { () => {} } pub(crate) use q;";
    for used in [
        "fn f() { super::o::f(); }",
        "use super::o; fn f() { o::m::g(); }",
        "use super::*; fn f() { o::f(); }",
        "use super::o::*; fn g() { f() }",
        "use super::o::E::*;",
        "use crate::{o::{self as p}}; fn f() { p::f(); }",
        "fn f() { use super::o; o::f() }",
        "fn f(e: &u8) { match e { &crate::o::C => {} _ => {} } }",
        "fn f() { let _: Vec<crate::o::E>; }",
        "fn f() { println!(\"{}\", crate::o::C); }",
        "use super::o; fn f() { println!(\"{}\", { o::f(); 0 }); }",
        "fn f() { super::o::q!(); }",
        "use super::o::q; fn f() { q!(); }",
        "struct S; impl super::o::T for S {}",
        "fn f(_: impl crate::o::T) {}",
        "struct S { #[serde(default = \"crate::o::f\")] s: u8 }",
        "mod inline { fn f() { super::super::o::f() } }",
        "use super::o::T as _;",
    ] {
        let found = arrows(&[("lib.rs", "mod n; mod o;"), ("n.rs", used), ("o.rs", other)]);
        assert_eq!(found, "n.rs -> o.rs\n", "{used}");
    }
    for unused in [
        "use super::o;",
        "pub(in crate::n) fn f() {}",
        "use ::o::f; fn g() { ::o::f() }",
        "use std::o::f; fn g() { x.o::<u8>() }",
        "fn f() { println!(\"{}\", x.f()); }",
        "/// See [`crate::o::f`].\nfn f() { \"crate::o::f\"; }",
    ] {
        let found = arrows(&[
            ("lib.rs", "mod n; mod o;"),
            ("n.rs", unused),
            ("o.rs", other),
        ]);
        assert_eq!(found, "", "{unused}");
    }
}

#[test]
fn test_code_is_left_out() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod c; mod tests;"),
        (
            "a.rs",
            "#[cfg(test)] use super::b::X; #[cfg(all(test, unix))] fn f(_: super::b::X) {}
            mod tests { use crate::b::X; } #[cfg(test)] #[path = \"gone.rs\"] mod gone;
            struct S; impl S { #[cfg(test)] fn f(_: super::b::X) {} }
            #[cfg(test)] impl S { fn f(_: super::b::X) {} }
            fn g() { #[cfg(test)] use super::b::X; }
            #[path = \"a_tests.rs\"] mod checks;",
        ),
        ("b.rs", "pub struct X;"),
    ]);
    assert_eq!(found, "");
}

#[test]
fn a_circle_is_found_and_told_with_its_names() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "pub struct A; fn f(_: crate::b::B) {}"),
        ("b.rs", "pub struct B; fn f(_: crate::c::C) {}"),
        ("c.rs", "pub struct C; use crate::a::A;"),
        ("d.rs", "fn f(_: crate::a::A) {}"),
    ];
    let folder = sources(&files);
    assert_eq!(circles(folder.path()), [["a.rs", "b.rs", "c.rs"]]);
    let told = "files import each other in a circle: a.rs, b.rs, c.rs\n  a.rs -> b.rs: crate::b::B\n  \
        b.rs -> c.rs: crate::c::C\n  c.rs -> a.rs: A";
    assert_eq!(faults(folder.path()), [told]);
    std::fs::write(folder.path().join("c.rs"), "pub struct C;").unwrap();
    assert!(circles(folder.path()).is_empty());
}

#[test]
fn reexports_that_lead_in_a_circle_end() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub use crate::b::*; fn f(_: X) {}"),
        (
            "b.rs",
            "pub use crate::a::*; pub use crate::a::Y; fn f(_: X, _: Y) {}",
        ),
    ]);
    assert_eq!(found, "");
}

#[test]
fn long_files_and_functions_are_counted_by_lines() {
    let body = "\n".repeat(80);
    let folder = sources(&[
        (
            "lib.rs",
            &format!("mod a;\n/// Doc.\nfn f() {{{}}}", &body[1..]),
        ),
        (
            "a.rs",
            &format!(
                "impl S {{\n#[must_use]\nfn g(\n) {{{body}}} }}\n#[test]\nfn h() {{{body}}}\nfn i() {{ fn j() {{{body}}} }}"
            ),
        ),
        ("a/b.rs", &"\n".repeat(401)),
    ]);
    let src = folder.path();
    assert_eq!(long_files(src, 400), [("a/b.rs".to_owned(), 401)]);
    let functions = [("a.rs: g", 82), ("a.rs: i", 81), ("a.rs: j", 81)];
    let functions = functions.map(|(name, lines)| (name.to_owned(), lines));
    assert_eq!(long_functions(src, 80), functions);
    let told = faults(src);
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[1], "a.rs: g has 82 lines; the limit is 80");
}

#[test]
fn this_crate_keeps_to_what_it_judges() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let none: [String; 0] = [];
    assert_eq!(faults(&src), none);
}

#[test]
fn strings_are_found_in_macros_and_not_in_documentation() {
    let source =
        "/// a `doc`\nfn f() -> String { bail!(\"one {x}\", 'c', 1); format!(\"two\\n\") }";
    assert_eq!(strings(source), ["one {x}", "two\n"]);
}
