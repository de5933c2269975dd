//! The table of rules names tests that exist.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Names of all test functions in the Rust files below a folder.
fn collect_tests(folder: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_tests(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let after_mark = text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            names.extend(after_mark.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_rule_names_tests_that_exist() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = HashSet::new();
    collect_tests(room, &mut tests);
    let table = fs::read_to_string(room.join("tests/README.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule ")).collect();
    assert!(rows.len() > 40);
    for row in rows {
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(tests.contains(name), "no test is called {name}: {row}");
        }
    }
}
