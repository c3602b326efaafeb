//! The rules of the tree, over this tree. Runs in a second, without a server; see docs/TESTING.md.

use std::fs;
use strata_tests::tidy::{edges, glossary, licences, map, promises, shape, tree, words};

fn files() -> Vec<tree::TreeFile> {
    tree::read(&tree::root()).expect("the tree is text")
}

fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn crates_use_only_what_stands_left_of_them() {
    let mut found = Vec::new();
    let mut manifests = 0;
    for file in files() {
        if let Some(folder) = file.path.strip_suffix("/Cargo.toml") {
            manifests += 1;
            found.extend(edges::check_manifest(folder, &file.text));
        }
    }
    assert!(
        manifests >= 7,
        "only {manifests} manifests found: is this the tree?"
    );
    report("crate edges", &found);
}

#[test]
fn files_and_functions_are_short() {
    let found: Vec<String> = files().iter().flat_map(shape::check_lengths).collect();
    report("lengths", &found);
}

#[test]
fn files_are_named_for_what_lies_inside() {
    let found: Vec<String> = files().iter().flat_map(shape::check_names).collect();
    report("names", &found);
}

#[test]
fn no_word_stands_where_it_may_not() {
    let files = files();
    let found: Vec<String> = files.iter().flat_map(words::check).collect();
    report("words", &found);
    for decoder in words::DECODERS {
        let exists = files.iter().any(|file| file.path.starts_with(decoder));
        assert!(
            exists,
            "the list of decoders names {decoder}, which is not in the tree"
        );
    }
}

#[test]
fn the_module_map_is_the_tree() {
    let document = fs::read_to_string(tree::root().join("docs/ARCHITECTURE.md"));
    let document = document.expect("docs/ARCHITECTURE.md holds the module map");
    report("module map", &map::check(&document, &files()));
}

#[test]
fn licences_are_on_the_list() {
    let deny = fs::read_to_string(tree::root().join("deny.toml")).expect("deny.toml");
    let found = licences::check(&tree::root(), &deny).expect("cargo metadata");
    report("licences", &found);
}

#[test]
fn promises_name_their_tests() {
    let document = fs::read_to_string(tree::root().join("docs/SEMANTICS.md"));
    let document = document.expect("docs/SEMANTICS.md holds the promises");
    report("promises", &promises::check(&document, &files()));
}

#[test]
fn terms_stand_in_the_heads_of_their_modules() {
    let document = fs::read_to_string(tree::root().join("docs/GLOSSARY.md"));
    let document = document.expect("docs/GLOSSARY.md holds the terms");
    report("glossary", &glossary::check(&document, &files()));
}
